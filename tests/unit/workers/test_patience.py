"""Sixteen slots see one outage: it is said once, whatever order their calls end in."""

import logging
import threading
from collections.abc import Callable

import pytest

from textmill.errors import Unavailable
from workers.shards.patience import Patience

AWAY, BACK = "the work waits for the database", "the database answers again"


class Call:
    """A call to the database that ends when it is told to, and as it is told to."""

    def __init__(self, patience: Patience) -> None:
        self._begun, self._end = threading.Event(), threading.Event()
        self._answers = False
        self._thread = threading.Thread(target=patience.persist, args=(self._run,))
        self._thread.start()
        assert self._begun.wait(30)

    def _run(self) -> None:
        self._begun.set()
        assert self._end.wait(30)
        if not self._answers:
            self._answers = True  # at the next try
            raise Unavailable("away")

    def answer(self) -> None:
        self._answers = True
        self._end.set()
        self._thread.join(30)

    def fail(self) -> None:
        """Fails once, and is answered when it is tried again."""
        self._end.set()
        self._thread.join(30)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the patience itself logged: other threads of the process log, too."""
    caplog.set_level(logging.WARNING)
    return lambda: [text.split(",")[0] for name, _, text in caplog.record_tuples if name == "workers.shards.patience"]


def test_an_outage_and_its_end_are_said_once(said: Callable[[], list[str]]) -> None:
    patience = Patience()
    slots = [Call(patience) for _ in range(16)]
    for slot in slots:
        slot.fail()
    assert said() == [AWAY, BACK]


def test_what_was_answered_before_the_outage_does_not_end_it(said: Callable[[], list[str]]) -> None:
    patience = Patience()
    early = Call(patience)
    over = threading.Event()
    noticed = threading.Event()

    def away() -> None:
        if not over.is_set():
            noticed.set()
            raise Unavailable("away")

    other = threading.Thread(target=patience.persist, args=(away,))
    other.start()
    assert noticed.wait(30)
    while not said():  # it is said right after the failure
        threading.Event().wait(0.001)
    early.answer()
    assert said() == [AWAY]
    over.set()
    other.join(30)
    assert said() == [AWAY, BACK]


def test_what_the_outage_broke_off_is_not_said_after_its_end(said: Callable[[], list[str]]) -> None:
    patience = Patience()
    late = Call(patience)
    Call(patience).fail()
    assert said() == [AWAY, BACK]
    late.fail()
    assert said() == [AWAY, BACK]
