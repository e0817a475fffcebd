"""A shard in single file, over any mix of documents: every one gets its own outcome, and nothing waits for ever.

The ledger is a real one, and so are inbox, engine and shard; a process that dies is played by an engine that ends.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import jobs, leases, results
from store.dispatcher import Dispatcher
from store.jobs import NewJob
from store.leases import Lease
from store.queue import celery_app
from store.session import Store
from store.tables import results as results_table
from store.tables import shards
from tests.unit.workers.echoes import echo
from textmill.errors import LeaseLost
from textmill.wire import ENDED_STATES
from workers.engine.budget import Budgets
from workers.engine.engine import Engine
from workers.engine.inbox import Inbox
from workers.engine.residency import Residency
from workers.engine.ticket import Ticket
from workers.engine.watchdog import Watch
from workers.settings import WorkerSettings
from workers.shards.ledger import Ledger
from workers.shards.run import ShardRun
from workers.shards.serving import Serving

SERVING = Serving(lambda model: False, lambda: None, lambda model, on: None, 60, 0)
"""Of a process in which no model fails."""

MAX_ATTEMPTS = 2
LIVES = 40
"""Processes that a test may use up: each document that kills takes two before single file and two of its own."""

OUTCOME = {
    "good": None,
    "[[echo:pieces=0]]": None,
    "[[echo:pieces=3]]": None,
    "[[echo:rounds=2]]": None,
    "[[echo:raise]]": "processing_failed",
    "[[echo:pieces=3]][[echo:raise]]": "processing_failed",
    "[[echo:too-long]]": "document_too_long",
    "[[echo:prepare-raise]]": "processing_failed",
    "[[echo:fatal]]": "worker_lost",
}
"""The error code of each kind of text; None: it succeeds."""


class _Died(BaseException):
    """The process of the engine that raises this is no more."""


@dataclass
class Process:
    """A worker process, from its start to its end or its death."""

    store: Store
    worker_id: str

    def run(self, lease: Lease) -> bool:
        """Run the shard as far as it goes; False where that killed the process."""
        budgets, watch, died = Budgets(64, 60), Watch(), threading.Event()
        inbox, residency = Inbox(budgets), Residency(echo)
        ledger = Ledger(self.store, Dispatcher(celery_app(self.store.settings.redis_url)), lease)
        run = ShardRun(ledger, inbox, residency, WorkerSettings(), SERVING)

        def die(_code: int) -> None:
            if not died.is_set():
                died.set()
                run.ticket.stop(LeaseLost())
                raise _Died

        engine = Engine(inbox, residency, budgets, watch, 60, exit=die)
        engine.start()
        said: list[str] = []
        task = threading.Thread(target=lambda: said.append(run.run()), daemon=True)
        task.start()
        task.join(240)
        assert not task.is_alive(), "the shard hangs"
        assert said, "the shard ended with an exception"
        engine.stop(10)
        return not died.is_set()


def process_all(store: Store, key_id: int, texts: list[str], single_file: bool) -> list[str | None]:
    """The documents' error codes once the job has ended, over as many processes as that takes."""
    job = store.write(jobs.submit, NewJob(key_id, "ner", "echo"), [(None, text) for text in texts]).job
    if single_file:
        store.write(lambda tx: tx.execute(sa.update(shards).where(shards.c.state == "queued").values(losses=2)))
    for life in range(LIVES):
        queued = store.read(
            lambda tx: tx.execute(sa.select(shards.c.id).where(shards.c.state == "queued")).scalars().all()
        )
        worker_id = f"{job.id[:8]}-{life}"
        for shard_id in queued:
            lease = store.write(leases.claim, shard_id, worker_id)
            assert lease is not None
            if not Process(store, worker_id).run(lease):
                break
        store.write(leases.expire_worker, worker_id)
        if store.read(jobs.get, key_id, job.id).state in ENDED_STATES:
            break
    return [row.outcome.error_code for row in store.read(results.page, key_id, job.id, 0, 1_000).rows]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*OUTCOME, *["[[echo:fatal]]"] * 4]), min_size=1, max_size=6), st.booleans())
def test_every_document_has_its_own_outcome(
    make_store: Callable[..., Store], key_id: int, texts: list[str], single_file: bool
) -> None:
    store = make_store(max_attempts=MAX_ATTEMPTS)

    assert process_all(store, key_id, texts, single_file) == [OUTCOME[text] for text in texts]


def test_a_document_is_settled_before_another_shard_may_run(
    make_store: Callable[..., Store], key_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That one may kill the process, and a document that has run and is not settled would have used up an attempt.
    store = make_store()
    settled: list[int] = []

    class Watched(Inbox):
        @contextlib.contextmanager
        def single_file(self, ticket: Ticket) -> Iterator[None]:
            with super().single_file(ticket):
                yield
                count = sa.select(sa.func.count()).select_from(results_table)
                settled.append(store.read(lambda tx: tx.execute(count).scalar_one()))

    monkeypatch.setattr(f"{__name__}.Inbox", Watched)
    process_all(store, key_id, ["good", "[[echo:too-long]]", "good"], single_file=True)

    assert settled == [1, 2, 3]


@pytest.mark.parametrize("after", ["[[echo:too-long]]", "[[echo:pieces=0]]", "good"])
def test_what_follows_a_document_that_used_up_its_attempts_is_processed(
    make_store: Callable[..., Store], key_id: int, after: str
) -> None:
    store = make_store(max_attempts=1)

    codes = process_all(store, key_id, ["good", "[[echo:fatal]]", after, "good"], single_file=True)

    assert codes == [None, "worker_lost", OUTCOME[after], None]
