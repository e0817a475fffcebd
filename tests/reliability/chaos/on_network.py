"""Faults of the network between any two processes: cut, silent, slow, also in the middle of a transaction."""

import contextlib
import threading
from collections.abc import Iterator

from tests.reliability.chaos.system import WRITE_SECONDS, Over, System, at_once

SLOW_SECONDS = 0.2
"""How much later a slow network delivers."""

WRITES = f"SET LOCAL statement_timeout = {WRITE_SECONDS * 1000}".encode()
"""How a transaction that writes begins. Its statements cannot be seen, once they are prepared."""


@contextlib.contextmanager
def net_cut(system: System, target: str) -> Iterator[Over]:
    """Connections are ended, and new ones refused."""
    proxy = system.links[_link(target)]
    proxy.cut()
    yield at_once
    proxy.mend()


@contextlib.contextmanager
def net_silent(system: System, target: str) -> Iterator[Over]:
    """Nothing is forwarded, and nothing ended."""
    proxy = system.links[_link(target)]
    proxy.vanish()
    yield at_once
    proxy.mend()


@contextlib.contextmanager
def net_slow(system: System, target: str) -> Iterator[Over]:
    """Everything arrives later."""
    proxy = system.links[_link(target)]
    proxy.slow(SLOW_SECONDS)
    yield at_once
    proxy.mend()


@contextlib.contextmanager
def net_silent_in_transaction(system: System, target: str) -> Iterator[Over]:
    """Silent in the middle of a transaction that writes, so that its locks stay behind."""
    proxy = system.links[target, "sql"]
    proxy.at(WRITES, b"", b"", b"", act=proxy.vanish)
    yield at_once
    proxy.mend()


@contextlib.contextmanager
def commit_reply_lost(system: System, target: str) -> Iterator[Over]:
    """The COMMIT of a transaction that writes reaches the server, and its answer does not come back; again and again,
    for as long as it lasts."""
    proxy = system.links[target, "sql"]
    ends = threading.Event()

    def drop() -> None:
        proxy.drop()
        if not ends.is_set():
            again = threading.Timer(0.7, lambda: None if ends.is_set() else proxy.at(WRITES, b"COMMIT", act=drop))
            again.daemon = True
            again.start()

    proxy.at(WRITES, b"COMMIT", act=drop)
    yield at_once
    ends.set()
    proxy.mend()


def _link(target: str) -> tuple[str, str]:
    one, _, other = target.partition(">")
    return one, other
