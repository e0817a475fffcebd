"""What can happen to the system: each kind a context that begins, lasts for as long as the plan says, and ends."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.reliability.chaos.on_network import (
    commit_reply_lost,
    net_cut,
    net_silent,
    net_silent_in_transaction,
    net_slow,
)
from tests.reliability.chaos.on_servers import (
    SCRIPTS,
    messages,
    postgres_pause,
    postgres_restart,
    postgres_terminate,
    redis_flush,
    redis_kill,
    redis_pause,
    stale_messages,
)
from tests.reliability.chaos.on_services import deploy, disk_full, kill, kill_machine, kill_worker, stop, stop_worker
from tests.reliability.chaos.system import APIS, WORKERS, Over, System

Act = Callable[[System, str], AbstractContextManager[Over]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault: whom it may hit, how long it lasts (in seconds, at least and at most), how often it is chosen
    among the others, and on which databases it exists."""

    act: Act
    targets: tuple[str, ...] = ("",)
    seconds: tuple[float, float] = (0, 0)
    weight: float = 1
    databases: tuple[str, ...] = ("postgresql", "sqlite")


SERVICES = (*APIS, *WORKERS)
POSTGRES = ("postgresql",)
LINKS = tuple(f"{one}>{other}" for one in SERVICES for other in ("sql", "redis"))
TO_APIS = tuple(f"producers>{api}" for api in APIS)

KINDS: dict[str, Kind] = {
    "kill_api": Kind(kill, APIS, weight=2),
    "kill_launcher": Kind(kill, WORKERS, weight=2),
    "kill_worker": Kind(kill_worker, WORKERS, weight=4),
    "kill_machine": Kind(kill_machine, WORKERS, (1, 6)),
    "stop_api": Kind(stop, APIS, (1, 8)),
    "stop_launcher": Kind(stop, WORKERS, (1, 8)),
    "stop_worker": Kind(stop_worker, WORKERS, (1, 30), weight=2),
    "deploy": Kind(deploy, (*SERVICES, "all"), weight=2),
    "redis_kill": Kind(redis_kill, seconds=(0, 8), weight=2),
    "redis_flush": Kind(redis_flush, weight=2),
    "redis_pause": Kind(redis_pause, seconds=(1, 10)),
    "messages": Kind(messages, tuple(SCRIPTS), weight=2),
    "stale_messages": Kind(stale_messages),
    "postgres_restart": Kind(postgres_restart, ("fast", "immediate"), weight=3, databases=POSTGRES),
    "postgres_pause": Kind(postgres_pause, seconds=(1, 12), weight=2, databases=POSTGRES),
    "postgres_terminate": Kind(postgres_terminate, weight=2, databases=POSTGRES),
    "net_cut": Kind(net_cut, (*LINKS, *TO_APIS), (1, 10), weight=2, databases=POSTGRES),
    "net_silent": Kind(net_silent, (*LINKS, *TO_APIS), (1, 30), weight=2, databases=POSTGRES),
    "net_slow": Kind(net_slow, (*LINKS, *TO_APIS), (2, 10), databases=POSTGRES),
    "net_silent_in_transaction": Kind(net_silent_in_transaction, SERVICES, (2, 15), weight=2, databases=POSTGRES),
    "commit_reply_lost": Kind(commit_reply_lost, SERVICES, (2, 8), weight=2, databases=POSTGRES),
    "disk_full": Kind(disk_full, seconds=(1, 8), weight=3, databases=("sqlite",)),
}
