"""Ports on the loopback address."""

import socket

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now (one that just ended does not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(usual: int) -> int:
    """The usual port, or any other where that is taken."""
    if is_free(usual):
        return usual
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


class Port:
    """A port that a process keeps over restarts, once it has held it."""

    def __init__(self, usual: int) -> None:
        self.number = usual
        self._settled = False

    def choose(self) -> int:
        """The port for the next start: before the first success a free one, later always the same."""
        if not self._settled:
            self.number = free_port(self.number)
        return self.number

    def settle(self) -> None:
        """Others know this port now."""
        self._settled = True
