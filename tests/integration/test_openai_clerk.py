"""Batches whose process dies in the middle of a step, or that two processes come upon: each line once, none is stuck.

Steps are made one by one, as the clerk's thread makes them."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from api.openai import clerk as clerk_module
from api.openai.answers import answered
from api.openai.clerk import Clerk
from api.settings import ApiSettings
from store import jobs, orders
from store.dispatcher import Dispatcher
from store.queue import celery_app
from store.session import Store, db_time
from store.tables import documents, file_chunks
from store.tables import jobs as jobs_table
from store.tables import keys as keys_table
from store.tables import orders as orders_table
from tests.integration.openai_files import line, ordered, rows, stored, texts
from tests.integration.serving import ECHO_ONLY, echo, work
from textmill.errors import LeaseLost, ResultNotReady

LINES = [*texts(6), line("long", {"input": "x", "max_length": 9}), "{", *texts(5, "more")]
"""The last five have ids that are there already."""

GOOD = {*(f"r{number}" for number in range(6)), "long"}


class Died(BaseException):
    """The process, in the middle of something. No code that handles errors sees it."""


@pytest.fixture
def made(store: Store, key_id: int) -> orders.Order:
    return ordered(store, key_id, stored(store, key_id, LINES))


@pytest.fixture
def dispatcher(store: Store) -> Dispatcher:
    return Dispatcher(celery_app(store.settings.redis_url))


def a_clerk(store: Store, dispatcher: Dispatcher, **settings: Any) -> Clerk:
    return Clerk(ApiSettings(**settings), store, ECHO_ONLY, dispatcher)


def due_again(store: Store) -> None:
    """A minute later: what a dead process had taken is anybody's."""
    store.write(lambda tx: tx.execute(sa.update(orders_table).values(due_at=db_time(-1))))


def to_its_end(store: Store, clerk: Clerk, order: orders.Order) -> orders.Order:
    for _ in range(20):
        due_again(store)
        clerk.work()
        work(store, outcome=echo)
        found = store.read(orders.get, order.key_id, order.uuid)
        if found.ended_at is not None:
            return found
    raise AssertionError(f"still {found.state}")


def is_whole(store: Store, order: orders.Order) -> None:
    """Each line has its one place in the files, and each document was run once."""
    assert (order.state, order.total, order.succeeded, order.failed) == ("completed", 13, 7, 6)
    found = [(one.part, json.loads(one.line)["custom_id"]) for one in answered(store, order, 1_000_000, lambda: None)]
    assert Counter(custom_id for part, custom_id in found if part == "output") == Counter(GOOD)
    assert Counter(part for part, _ in found) == {"output": 7, "errors": 6}
    assert rows(store, documents, jobs_table) == [7, 2]


DEATHS: dict[str, tuple[Any, str, int]] = {
    "while lines are looked at": (clerk_module.files, "chunk", 2),
    "before what they come to is written": (clerk_module.orders, "validated", 0),
    "before its jobs are made": (clerk_module.orders, "add_jobs", 0),
    "before documents are written": (clerk_module.jobs, "append", 0),
    "between two writes of documents": (clerk_module.jobs, "append", 1),
    "between two jobs that are closed": (clerk_module.jobs, "close", 1),
    "when all is written but the batch does not know": (clerk_module.orders, "fed", 0),
    "when its jobs have ended": (clerk_module.orders, "finalize", 0),
    "before its files are named": (clerk_module.orders, "finish", 0),
}
"""What is called for the n-th time when the process dies."""


@pytest.mark.parametrize("death", DEATHS)
def test_a_process_that_dies_costs_nothing_but_time(
    store: Store, made: orders.Order, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, death: str
) -> None:
    module, name, times = DEATHS[death]
    real, calls = getattr(module, name), iter(range(times))

    def dying(*arguments: Any, **more: Any) -> Any:
        if next(calls, None) is None:
            raise Died
        return real(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, dying)
        patched.setattr("api.openai.reading.AT_ONCE_BYTES", 1_500)  # a few lines at once
        with pytest.raises(Died):
            to_its_end(store, a_clerk(store, dispatcher), made)
    assert store.read(orders.get, made.key_id, made.uuid).ended_at is None
    assert a_clerk(store, dispatcher).work() is False, "it is the dead one's for a while"
    is_whole(store, to_its_end(store, a_clerk(store, dispatcher), made))


class Interrupted:
    """A store whose transaction `work` begins only when something else has been done, once."""

    def __init__(self, store: Store, work: Any, first: Callable[[], Any]) -> None:
        self._store, self._work, self._first = store, work, first
        self.was = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, work: Any, *arguments: Any) -> Any:
        if work is self._work and not self.was:
            self.was = True
            self._first()
        return self._store.write(work, *arguments)

    write_once = write


@pytest.mark.parametrize("at", [orders.validated, orders.add_jobs, jobs.append, orders.fed], ids=lambda at: at.__name__)
def test_of_two_that_work_on_a_batch_one_takes_effect(
    store: Store, made: orders.Order, dispatcher: Dispatcher, at: Any
) -> None:
    """The first one was thought dead, and comes back when the second has done its work."""
    other, ended = a_clerk(store, dispatcher), []
    late: Any = Interrupted(store, at, lambda: ended.append(to_its_end(store, other, made)))
    clerk = a_clerk(late, dispatcher)
    while not late.was:
        assert clerk.work() is True
    is_whole(store, ended[0])
    is_whole(store, store.read(orders.get, made.key_id, made.uuid))


def test_a_claim_is_one_processs_until_it_ends(store: Store, made: orders.Order) -> None:
    first = store.write(orders.claim, 60)
    assert first is not None
    assert store.write(orders.claim, 60) is None
    due_again(store)
    second = store.write(orders.claim, 60)
    assert second is not None
    with pytest.raises(LeaseLost):
        store.write(orders.renew, first, 60)
    store.write(orders.renew, second, 60)
    store.write(orders.cancel, made.key_id, made.uuid)
    with pytest.raises(LeaseLost):
        store.write(orders.renew, second, 60)


@pytest.mark.parametrize("at", [orders.validated, orders.add_jobs, jobs.append, orders.fed], ids=lambda at: at.__name__)
def test_a_cancel_in_the_middle_of_a_step_ends_it(
    store: Store, made: orders.Order, dispatcher: Dispatcher, at: Any
) -> None:
    other = a_clerk(store, dispatcher)

    def cancel() -> None:
        assert store.write(orders.cancel, made.key_id, made.uuid).state == "cancelling"
        while other.work():
            pass

    late: Any = Interrupted(store, at, cancel)
    clerk = a_clerk(late, dispatcher)
    while not late.was:
        assert clerk.work() is True
    assert store.read(orders.get, made.key_id, made.uuid).state == "cancelled"
    states = store.read(lambda tx: tx.execute(sa.select(jobs_table.c.state)).scalars().all())
    assert set(states) <= {"cancelled"}
    assert store.read(orders.due) is False


def test_an_error_that_nobody_expected_ends_with_the_batchs_time(
    store: Store, made: orders.Order, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> Iterator[Any]:
        raise ZeroDivisionError

    clerk = a_clerk(store, dispatcher)
    monkeypatch.setattr("api.openai.reading.lines.numbered", broken)
    assert clerk.work() is True
    assert store.read(orders.get, made.key_id, made.uuid).state == "validating"
    monkeypatch.setattr("api.openai.clerk.answered", broken)
    store.write(lambda tx: tx.execute(sa.update(orders_table).values(expires_at=db_time(-1))))
    found = to_its_end(store, clerk, made)
    assert found.state == "failed"
    assert [error["code"] for error in json.loads(found.errors or "[]")] == ["internal_error"]


def test_a_job_that_is_cancelled_while_the_file_is_read_fails_the_batch(
    store: Store, made: orders.Order, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = a_clerk(store, dispatcher)
    real = clerk_module.orders.add_jobs

    def cancelled(tx: sa.Connection, *arguments: Any) -> Any:
        job_ids, released = real(tx, *arguments)
        jobs.cancel(tx, made.key_id, job_ids[0])
        return job_ids, released

    monkeypatch.setattr(clerk_module.orders, "add_jobs", cancelled)
    found = to_its_end(store, clerk, made)
    assert found.state == "failed"
    assert [error["code"] for error in json.loads(found.errors or "[]")] == ["job_not_found"]


def test_a_batch_waits_while_its_key_may_submit_no_more_today(
    store: Store, made: orders.Order, dispatcher: Dispatcher
) -> None:
    limit = sa.update(keys_table).where(keys_table.c.id == made.key_id)
    store.write(lambda tx: tx.execute(limit.values(documents_per_day=3)))
    clerk = a_clerk(store, dispatcher)
    for _ in range(5):
        due_again(store)
        assert clerk.work() is True
    assert store.read(orders.get, made.key_id, made.uuid).state == "in_progress"
    assert store.read(orders.due) is False
    assert rows(store, documents) == [3], "as many as the day has"
    store.write(lambda tx: tx.execute(limit.values(documents_per_day=None)))
    is_whole(store, to_its_end(store, clerk, made))


def test_a_key_that_may_have_no_open_jobs_has_its_lines_refused(
    store: Store, made: orders.Order, dispatcher: Dispatcher
) -> None:
    limit = sa.update(keys_table).where(keys_table.c.id == made.key_id)
    store.write(lambda tx: tx.execute(limit.values(open_jobs=0)))
    found = to_its_end(store, a_clerk(store, dispatcher), made)
    assert found.state == "failed"
    assert {error["code"] for error in json.loads(found.errors or "[]")} >= {"invalid_request"}


def test_a_batch_that_cannot_have_all_of_its_jobs_takes_none(
    store: Store, made: orders.Order, dispatcher: Dispatcher
) -> None:
    """It has two, and one is free: with one of them it would be in the way of whoever else waits for two."""
    limit = sa.update(keys_table).where(keys_table.c.id == made.key_id)
    store.write(lambda tx: tx.execute(limit.values(open_jobs=2)))
    other = store.write(jobs.submit, jobs.NewJob(made.key_id, "summarization", "echo", open=True), []).job.id
    clerk = a_clerk(store, dispatcher)
    for _ in range(3):
        due_again(store)
        assert clerk.work() is True
    assert store.read(orders.get, made.key_id, made.uuid).state == "in_progress"
    assert rows(store, jobs_table) == [1]
    store.write(jobs.cancel, made.key_id, other)
    assert to_its_end(store, clerk, made).state == "completed"


@pytest.mark.parametrize("steps", [0, 1], ids=["looked at", "read"])
def test_a_batch_whose_file_has_lost_a_part_fails(
    store: Store, made: orders.Order, dispatcher: Dispatcher, steps: int
) -> None:
    clerk = a_clerk(store, dispatcher)
    for _ in range(steps):
        assert clerk.work() is True
    store.write(lambda tx: tx.execute(sa.delete(file_chunks).where(file_chunks.c.number == 2)))
    found = to_its_end(store, clerk, made)
    assert found.state == "failed"
    assert [error["code"] for error in json.loads(found.errors or "[]")] == ["file_not_found"]


def test_while_a_job_is_retried_a_batch_is_neither_measured_nor_read(
    store: Store, key_id: int, dispatcher: Dispatcher
) -> None:
    lines = [line("bad", {"input": "fail"}), *texts(6)]
    order, clerk = ordered(store, key_id, stored(store, key_id, lines)), a_clerk(store, dispatcher)

    def state() -> str:
        due_again(store)
        clerk.work()
        work(store, outcome=echo)
        return store.read(orders.get, key_id, order.uuid).state

    def retry() -> None:
        job_id = store.read(orders.groups, order.id)[0].job_uuid
        assert job_id is not None
        store.write(jobs.retry, key_id, job_id, None)

    assert any(state() == "finalizing" for _ in range(20))
    retry()
    due_again(store)
    assert clerk.work() is True
    assert store.read(orders.get, key_id, order.uuid).state == "finalizing", "put off"
    work(store, outcome=echo)
    found = to_its_end(store, clerk, order)
    assert (found.state, found.succeeded, found.failed) == ("completed", 6, 1)
    retry()
    with pytest.raises(ResultNotReady):
        list(answered(store, found, 1_000_000, lambda: None))
    work(store, outcome=echo)
    assert len(list(answered(store, found, 1_000_000, lambda: None))) == 7
