"""To which addresses webhooks go: each form in which one that is not public can be written."""

from ipaddress import ip_address, ip_network

import pytest

from api.webhooks.addresses import LONGEST, checked, permitted, trusted
from textmill.errors import InvalidWebhook

INSIDE = [ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")]

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1",
    "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip

PUBLIC = [
    "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "168.63.129.17", "198.20.0.1",
    "2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not permitted(ip_address(address), [])
    assert not permitted(ip_address(address), [ip_network("192.168.99.0/24")])


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_taken_and_not_trusted(address: str) -> None:
    assert permitted(ip_address(address), [])
    assert not trusted(ip_address(address), INSIDE)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00:1::5"])
def test_networks_of_the_settings_are_taken_and_trusted(address: str) -> None:
    assert not permitted(ip_address(address), [])
    assert permitted(ip_address(address), INSIDE)
    assert trusted(ip_address(address), INSIDE)
    assert not permitted(ip_address("10.2.0.1"), INSIDE)


WRONG = [
    "", "example.org", "//example.org/", "ftp://example.org/", "file:///etc/passwd", "https://", "https:///path",
    "http://example.org/", "https://user@example.org/", "https://user:pass@example.org/", "https://example.org/#part",
    "https://exa mple.org/", "https://example.org/\n", "https://example.org:99999/", "https://example.org:0/",
    "https://0177.0.0.1/", "https://./", "https://[::1", "https://\ud800/",
    f"https://example.org/{'x' * LONGEST}",
    *(f"https://[{address}]/" if ":" in address else f"https://{address}/" for address in NOT_PUBLIC),
]  # fmt: skip


@pytest.mark.parametrize("given", WRONG)
def test_what_is_refused_at_the_door(given: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        checked(given, [])
    assert "example" not in refused.value.message, "what was given may be a secret, and errors are shown"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://example.org", "https://example.org"),
        ("https://example.org:8443/a?token=b", "https://example.org:8443/a?token=b"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
        ("https://xn--a/", "https://xn--a/"),
        ("https://xn--i-7iq.ws/", "https://xn--i-7iq.ws/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
    ],
)
def test_what_is_kept(given: str, kept: str) -> None:
    assert checked(given, []) == kept


def test_http_is_for_networks_of_the_settings() -> None:
    assert checked("http://10.1.2.3:8080/x", INSIDE) == "http://10.1.2.3:8080/x"
    assert checked("http://inside.example/", INSIDE) == "http://inside.example/"  # looked at when it is sent
    with pytest.raises(InvalidWebhook):
        checked("http://10.1.2.3:8080/x", [])
