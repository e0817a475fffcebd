"""A task thread that hangs in a step of its own is told from one that waits."""

import threading

import pytest

from workers.engine.inbox import Inbox
from workers.engine.ticket import Ticket
from workers.engine.watchdog import Watchdog
from workers.shards.progress import Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("what", "seconds", "overdue"),
    [("prepare", 9, False), ("prepare", 11, True), ("assemble", 11, True), ("open", 11, False), ("open", 31, True)],
)
def test_each_step_has_its_limit(what: str, seconds: float, overdue: bool) -> None:
    clock = Clock()
    progress = Progress(10, 30, clock)
    ticket = Inbox(lambda *_: 1).ticket("model", 1)
    with progress.step(ticket, what):
        clock.now += seconds
        assert progress.overdue() == ({ticket: what} if overdue else {})
    assert progress.overdue() == {}, "it has ended"


@pytest.mark.parametrize(("what", "at_fault"), [("prepare", True), ("assemble", True), ("open", False)])
def test_a_model_that_does_not_open_is_no_documents_fault(what: str, at_fault: bool) -> None:
    clock = Clock()
    progress = Progress(10, 10, clock)
    ticket = Inbox(lambda *_: 1).ticket("model", 1)
    found: list[set[Ticket]] = []
    bitten = threading.Event()

    def bite(tickets: set[Ticket]) -> None:
        found.append(tickets)
        bitten.set()

    watchdog = Watchdog("progress", progress, bite, check_seconds=0.001)
    with progress.step(ticket, what):
        watchdog.start()
        clock.now += 11
        assert bitten.wait(30)
    watchdog.stop()
    assert found == [{ticket} if at_fault else set()]
