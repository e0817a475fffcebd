"""The waiting room: credit, closing, dropping, draining, single file, models that are loaded."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from textmill.errors import Draining, LeaseLost
from workers.engine.inbox import Batch, Inbox
from workers.engine.ticket import Ticket
from workers.runner import Item

SOON = 10
"""Seconds after which a thread that should have gone on is taken for stuck."""


def items(*lengths: int) -> list[tuple[Item, Any]]:
    return [(Item(None, length), index) for index, length in enumerate(lengths)]


def answer(batch: Batch | None, result: object = "done") -> None:
    assert batch is not None
    for waiting in batch[1]:
        waiting.result = result
        waiting.owner.answer([waiting])


@pytest.fixture
def clock() -> list[float]:
    """Seconds; a test moves it on."""
    return [0.0]


@pytest.fixture
def inbox(clock: list[float]) -> Inbox:
    return Inbox(lambda model, shared: 10, turn_seconds=1, clock=lambda: clock[0])


@pytest.fixture
def ticket(inbox: Inbox) -> Ticket:
    return inbox.ticket("m", credit=8)


def in_thread(work: Callable[[], Any]) -> "Future[Any]":
    """Not an executor's thread: those are waited for when Python ends, and an inbox may keep its caller for ever."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - it is the answer to who asked
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_a_shard_has_credit_until_its_items_are_collected(inbox: Inbox, ticket: Ticket) -> None:
    ticket.submit(items(5))
    assert ticket.room
    ticket.submit(items(5))
    assert not ticket.room
    answer(inbox.next_batch())
    assert not ticket.room  # answered, but still in memory until its shard collects it
    assert len(ticket.collect(SOON)) == 2
    assert ticket.room


def test_an_item_larger_than_the_credit_passes(inbox: Inbox, ticket: Ticket) -> None:
    assert ticket.room
    ticket.submit(items(100))
    assert inbox.next_batch() is not None


def test_collect_ends_when_the_time_is_up(ticket: Ticket) -> None:
    assert ticket.collect(0) == []


def test_the_engine_waits_for_items(inbox: Inbox, ticket: Ticket) -> None:
    batch = in_thread(inbox.next_batch)
    assert not batch.done()
    ticket.submit(items(1))
    model, waiting = batch.result(SOON)
    assert (model, len(waiting)) == ("m", 1)


def test_closing_ends_the_loop_after_what_waits(inbox: Inbox, ticket: Ticket) -> None:
    ticket.submit(items(1))
    inbox.close()
    assert inbox.next_batch() is not None
    assert inbox.next_batch() is None
    with pytest.raises(Draining):
        ticket.submit(items(1))


def test_closing_wakes_the_engine(inbox: Inbox) -> None:
    batch = in_thread(inbox.next_batch)
    inbox.close()
    assert batch.result(SOON) is None


def test_a_stopped_shard_hears_why_after_its_results(inbox: Inbox, ticket: Ticket) -> None:
    other = inbox.ticket("m", 8)
    ticket.submit(items(10, 9))
    answer(inbox.next_batch())
    other.submit(items(1))
    ticket.stop(LeaseLost())
    ticket.stop(Draining())
    assert [waiting.result for waiting in ticket.collect(SOON)] == ["done"]
    with pytest.raises(LeaseLost):
        ticket.collect(SOON)
    with pytest.raises(LeaseLost):
        ticket.submit(items(1))
    batch = inbox.next_batch()  # the rest of it was dropped
    assert batch is not None
    assert [waiting.owner for waiting in batch[1]] == [other]


def test_stopping_wakes_a_shard_that_waits(ticket: Ticket) -> None:
    ticket.submit(items(1))
    collected = in_thread(lambda: ticket.collect(None))
    ticket.stop(Draining())
    with pytest.raises(Draining):
        collected.result(SOON)


def test_a_wait_that_could_not_end_is_refused(inbox: Inbox, ticket: Ticket) -> None:
    with pytest.raises(RuntimeError, match="nothing to wait for"):
        ticket.collect(None)
    ticket.submit(items(1))
    answer(inbox.next_batch())
    assert len(ticket.collect(None)) == 1
    with pytest.raises(RuntimeError, match="nothing to wait for"):
        ticket.collect(None)


def test_single_file_waits_for_the_batch_that_runs_and_keeps_the_device(inbox: Inbox, ticket: Ticket) -> None:
    other = inbox.ticket("m", 100)
    other.submit(items(10, 10))
    assert inbox.next_batch() is not None  # the engine is busy with one of them
    inside, leave = threading.Event(), threading.Event()

    def alone() -> None:
        with inbox.single_file(ticket):
            inside.set()
            ticket.submit(items(3, 3))
            leave.wait()

    done = in_thread(alone)
    assert not inside.is_set()
    mine = inbox.next_batch()  # says that the batch is done
    assert inside.is_set()
    assert mine is not None
    assert [waiting.owner for waiting in mine[1]] == [ticket]  # one item, though both would fit
    second = inbox.next_batch()
    assert second is not None
    assert [waiting.owner for waiting in second[1]] == [ticket]
    nothing_else = in_thread(inbox.next_batch)
    assert not nothing_else.done()  # the other shard waits, although the device is idle
    leave.set()
    done.result(SOON)
    assert [waiting.owner for waiting in nothing_else.result(SOON)[1]] == [other]


def test_what_is_left_of_a_document_does_not_run_in_the_next_ones_name(inbox: Inbox, ticket: Ticket) -> None:
    with inbox.single_file(ticket):
        ticket.submit(items(3, 3))
    assert len(inbox) == 0
    with inbox.single_file(ticket):
        assert ticket.room


def test_an_answer_that_comes_late_is_not_the_next_documents(inbox: Inbox, ticket: Ticket) -> None:
    with inbox.single_file(ticket):
        ticket.submit(items(3, 3))
        first, second = inbox.next_batch(), inbox.next_batch()
        answer(first)  # a failure: its document is decided, and the shard leaves while the second item runs
        answer(second)
    in_thread(inbox.next_batch)
    with inbox.single_file(ticket):
        ticket.submit(items(4))
        assert ticket.collect(0) == []


@pytest.mark.parametrize(("document", "batches"), [(0.0, 2), (0.25, 5)])
def test_single_file_takes_a_tenth_of_the_time(inbox: Inbox, clock: list[float], document: float, batches: int) -> None:
    first, second, other = (inbox.ticket("m", 100) for _ in range(3))
    other.submit(items(*[10] * 9))
    with inbox.single_file(first):
        clock[0] += document
        entered = in_thread(lambda: inbox.single_file(second).__enter__())
    for _ in range(batches):  # half a second each, for a turn or for nine times the document
        batch = inbox.next_batch()
        assert batch is not None
        assert [waiting.owner for waiting in batch[1]] == [other]
        assert not entered.done()
        clock[0] += 0.5
    in_thread(inbox.next_batch)
    entered.result(SOON)


def test_single_file_waits_for_nobody_where_nobody_waits(inbox: Inbox, ticket: Ticket) -> None:
    for _ in range(2):
        with inbox.single_file(ticket):
            pass


class Models:
    """Which models are loaded, and which were asked for."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.loaded: set[str] = set()
        self.asked: list[str] = []
        inbox.load_by(self.loaded.__contains__, self.asked.append)

    def load(self, model: str) -> None:
        with self.inbox.loading(model):
            pass


@pytest.fixture
def models(inbox: Inbox) -> Models:
    """Of an engine that is in a batch of the model `resident`."""
    models = Models(inbox)
    models.loaded.add("resident")
    inbox.ticket("resident", 10).submit(items(1))
    assert inbox.next_batch() is not None
    return models


def test_a_model_is_asked_for_once_when_its_first_item_arrives(inbox: Inbox, models: Models, ticket: Ticket) -> None:
    ticket.submit(items(1))
    ticket.submit(items(1))
    assert models.asked == ["m"]


def test_nothing_of_a_model_runs_before_it_has_come(inbox: Inbox, models: Models, ticket: Ticket) -> None:
    ticket.submit(items(1))
    with inbox.loading("m"):
        inbox.ticket("resident", 10).submit(items(1))
        batch = inbox.next_batch()
        assert batch is not None
        assert batch[0] == "resident"
        coming = in_thread(inbox.next_batch)
        assert not coming.done()
    assert coming.result(SOON)[0] == "m"


def test_a_model_that_was_unloaded_is_asked_for_again(inbox: Inbox, models: Models) -> None:
    ticket = inbox.ticket("resident", 100)
    ticket.submit(items(10, 10))
    assert inbox.next_batch() is not None
    models.loaded.clear()
    coming = in_thread(inbox.next_batch)
    in_thread(lambda: models.load("resident")).result(SOON)
    assert models.asked == ["resident"]
    assert coming.result(SOON)[0] == "resident"


def test_no_model_is_loaded_while_another_load_waits_to_be_completed(
    inbox: Inbox, models: Models, ticket: Ticket
) -> None:
    other = inbox.ticket("other", 10)
    ticket.submit(items(1))
    other.submit(items(1))
    models.load("m")
    second = in_thread(lambda: models.load("other"))
    batch = inbox.next_batch()
    assert batch is not None
    assert batch[0] == "m"
    assert not second.done()  # the engine may be making room for it this very moment
    coming = in_thread(inbox.next_batch)
    second.result(SOON)
    assert coming.result(SOON)[0] == "other"


def test_a_load_that_nobody_waits_for_any_more_holds_up_no_other(inbox: Inbox, models: Models, ticket: Ticket) -> None:
    ticket.submit(items(1))
    models.load("m")
    ticket.stop(LeaseLost())
    in_thread(lambda: models.load("other")).result(SOON)


def test_nothing_is_loaded_before_the_engine_serves(inbox: Inbox, ticket: Ticket) -> None:
    models = Models(inbox)  # it may be loading the ones of the setting `preload`
    ticket.submit(items(1))
    loaded = in_thread(lambda: models.load("m"))
    assert not loaded.done()
    in_thread(inbox.next_batch)
    loaded.result(SOON)


def test_single_file_and_loading_exclude_each_other(inbox: Inbox, models: Models, ticket: Ticket) -> None:
    loading, leave = threading.Event(), threading.Event()

    def load() -> None:
        with inbox.loading("other"):
            loading.set()
            leave.wait()

    in_thread(load)
    assert loading.wait(SOON)
    in_thread(inbox.next_batch)  # the device is idle
    entering = inbox.single_file(ticket)
    entered = in_thread(entering.__enter__)
    assert not entered.done()
    leave.set()
    entered.result(SOON)
    again = in_thread(lambda: models.load("another"))
    assert not again.done()
    entering.__exit__(None, None, None)
    again.result(SOON)


def test_draining_refuses_and_releases_who_waits_for_single_file(inbox: Inbox, ticket: Ticket) -> None:
    ticket.submit(items(1))
    assert inbox.next_batch() is not None

    def alone() -> None:
        with inbox.single_file(ticket):
            pass

    waiting = in_thread(alone)
    inbox.drain()
    with pytest.raises(Draining):
        waiting.result(SOON)
    with pytest.raises(Draining):
        ticket.submit(items(1))
