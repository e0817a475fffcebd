"""To which addresses webhooks are sent: pure rules, over what a producer gave and what its name led to.

What is refused is listed here and not left to `ipaddress`: what that calls private differs between Python's versions.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from textmill.errors import InvalidWebhook

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]

LONGEST = 2_048
"""Characters of an address that is taken."""

LARGEST_PORT = 65_535

_NOT_PUBLIC = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # between a provider and its customers
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's own, to its machines
        "169.254.0.0/16",  # link-local, with the metadata of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
    )
]
_PUBLIC6 = IPv6Network("2000::/3")
"""All else is unspecified, loopback, local, multicast, mapped, or nobody's."""
_NOT_PUBLIC6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address, by way of whoever says that it is on the way
        "3fff::/20",
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")


def permitted(address: Address, networks: Networks) -> bool:
    """Whether webhooks are sent there: a public address, or one of the networks of the settings."""
    if trusted(address, networks):
        return True
    reached = _reached(address)
    if isinstance(reached, IPv4Address):
        return not any(reached in network for network in _NOT_PUBLIC)
    return reached in _PUBLIC6 and not any(reached in network for network in _NOT_PUBLIC6)


def trusted(address: Address, networks: Networks) -> bool:
    """Whether it is in one of the networks of the settings: there, what is sent need not be encrypted."""
    return any(one in network for network in networks for one in (address, _reached(address)))


def _reached(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for: mapped, or by way of NAT64, as networks without IPv4 have it."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def checked(given: str, networks: Networks) -> str:
    """The webhook of a job as it is kept. What its name leads to is looked at when it is sent, and every time.

    Raises InvalidWebhook.
    """
    url = _parsed(given)
    if url.scheme != "https" and not (url.scheme == "http" and networks):
        raise InvalidWebhook("webhook: the address has to begin with https://")
    host = url.raw_host.decode("ascii")  # `url.host` raises where the name is no IDN, though servers may have it
    if not host.strip(".") or (url.port is not None and not 0 < url.port <= LARGEST_PORT):
        raise InvalidWebhook("webhook: the address names no host, or no port that there is")
    if url.userinfo or url.fragment:
        raise InvalidWebhook("webhook: the address may have neither user nor password nor a fragment")
    try:
        address = ip_address(host)
    except ValueError:
        return str(url)
    if not permitted(address, networks):
        raise InvalidWebhook("webhook: nothing is sent to addresses that are not public")
    return str(url)


def _parsed(given: str) -> httpx.URL:
    if len(given) > LONGEST or not given.isprintable() or " " in given:
        raise InvalidWebhook(f"webhook: an address of at most {LONGEST} characters, without spaces")
    try:
        url = httpx.URL(given)
        url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidWebhook("webhook: that is no address") from error
    return url
