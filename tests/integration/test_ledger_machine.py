"""The ledger as a state machine: whatever producers, workers and time do in whatever order, its invariants hold.

One database for each backend in a run. Each example has keys and a model of its own, and leaves nothing unfinished.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from store import dispatch, endings, jobs, leases, retrying, sweep, tallies
from store.jobs import NewJob
from store.leases import Lease
from store.session import Store, db_time
from store.settings import StoreSettings
from store.tables import WAITING
from store.tables import documents as documents_table
from store.tables import jobs as jobs_table
from store.tables import results as results_table
from store.tables import retries as retries_table
from store.tables import shards as shards_table
from store.tables import turns as turns_table
from store.tables import waiting as waiting_table
from tests.integration.ledger_steps import documents, let_lease_run_out, new_key, outcomes
from textmill.errors import JobClosed, JobNotEnded, LeaseLost, NothingToRetry
from textmill.wire import ENDED_STATES

UNFINISHED = ("pending", "queued", "leased")
COUNTS = ("state", "open", "total", "succeeded", "failed", "cancelled", "finished_at")

_examples = itertools.count()

picks = st.integers(0, 1_000_000)
"""Which of the things that there are at that moment: taken modulo their number."""

positions = st.sets(st.integers(0, 6))


class Seen(NamedTuple):
    """All rows of this example, read at one moment."""

    jobs: dict[int, sa.RowMapping]
    shards: dict[int, list[sa.RowMapping]]
    documents: dict[int, list[int]]
    results: dict[int, dict[int, sa.RowMapping]]
    waiting: dict[int, sa.RowMapping]
    keys: set[int]
    """Those that wait."""
    retrying: set[int]
    """Jobs whose retry is under way."""
    errors: dict[int, dict[str, int]]


def read_everything(tx: sa.Connection, model: str) -> Seen:
    mine = {row["id"]: row for row in tx.execute(sa.select(jobs_table).where(jobs_table.c.model == model)).mappings()}
    shards: dict[int, list[sa.RowMapping]] = defaultdict(list)
    decided: dict[int, dict[int, sa.RowMapping]] = defaultdict(dict)
    there: dict[int, list[int]] = defaultdict(list)
    for row in tx.execute(sa.select(shards_table).where(shards_table.c.job_id.in_(mine))).mappings():
        shards[row["job_id"]].append(row)
    for row in tx.execute(sa.select(results_table).where(results_table.c.job_id.in_(mine))).mappings():
        assert row["position"] not in decided[row["job_id"]], "two outcomes of one document"
        decided[row["job_id"]][row["position"]] = row
    query = sa.select(documents_table.c.job_id, documents_table.c.position)
    for job_id, position in tx.execute(query.where(documents_table.c.job_id.in_(mine))):
        there[job_id].append(position)
    waiting = tx.execute(sa.select(waiting_table).where(waiting_table.c.model == model)).mappings()
    keys = tx.execute(sa.select(turns_table.c.key_id).where(turns_table.c.model == model, WAITING)).scalars()
    under_way = tx.execute(sa.select(retries_table.c.job_id).where(retries_table.c.job_id.in_(mine))).scalars()
    return Seen(
        mine,
        shards,
        there,
        decided,
        {row["job_id"]: row for row in waiting},
        set(keys),
        set(under_way),
        dict(tallies.errors_of(tx, mine)),
    )


class LedgerMachine(RuleBasedStateMachine):
    store: ClassVar[Store]

    @initialize(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=2))
    def begin(self, sizes: list[int]) -> None:
        self.model = f"model-{next(_examples)}"
        self.keys = [new_key(self.store), new_key(self.store)]
        self.owner: dict[str, int] = {}
        self.leases: list[Lease] = []
        """All that were ever given out, most of them stale."""
        self.ended: dict[str, tuple[Any, ...]] = {}
        """How each job ended, until it is retried."""
        self.written: dict[tuple[int, int], str] = {}
        """(job, position) -> the mark of the first outcome that was accepted."""
        self.marks = (f"<{n}>" for n in itertools.count())
        for n, size in enumerate(sizes):
            self.submit(n, set(range(size)), open_=bool(n))

    # Few rules with many actions each: of many rules Hypothesis leaves some out of every example, and here most need
    # one another.

    @rule(
        action=st.sampled_from(["submit", "append", "append", "close", "close", "cancel", "retry", "retry", "delete"]),
        pick=picks, some=positions, flag=st.booleans(),
    )  # fmt: skip
    def producer(self, action: str, pick: int, some: set[int], flag: bool) -> None:
        if action == "submit" or not self.owner:
            self.submit(pick, some, flag)
        else:
            # Most often a job of which that can be asked; otherwise any.
            fitting = [uuid for uuid in self.owner if (uuid in self.ended) == (action in ("retry", "delete"))]
            choice = fitting if fitting and pick % 4 else list(self.owner)
            uuid = choice[pick % len(choice)]
            getattr(self, action)(uuid, self.owner[uuid], some, flag)

    @rule(
        action=st.sampled_from(["claim", "run", "run", "finish", "settle", "settle_too_little", "renew", "drain"]),
        pick=picks, some=positions, failing=positions,
    )  # fmt: skip
    def worker(self, action: str, pick: int, some: set[int], failing: set[int]) -> None:
        if action == "run":
            if lease := self.claim(pick, "w0"):
                self.finish(lease, some, failing)
        elif action == "claim" or not self.leases:
            self.claim(pick, f"w{pick % 2}")
        elif action == "renew":
            self.renew(f"w{pick % 2}")
        else:
            getattr(self, action)(self._lease(pick), some, failing)

    @rule(
        action=st.sampled_from(["expire", "claim", "worker", "top_up", "abandon", "go_on"]),
        pick=picks,
        flag=st.booleans(),
    )
    def time_passes(self, action: str, pick: int, flag: bool) -> None:
        if action == "top_up":
            self.store.write(dispatch.release, self.model)
        elif action == "go_on":
            self.go_on()
        elif action == "abandon":
            self.abandon(pick)
        elif self.leases:
            self.lose(self._lease(pick), flag, action)

    # --- producers ---

    def submit(self, pick: int, some: set[int], open_: bool) -> None:
        priority = ("high", "normal", "low")[pick % 3]
        new = NewJob(self.keys[pick % 2], "ner", self.model, priority=priority, open=open_)
        job = self.store.write(jobs.submit, new, documents(len(some))).job
        self.owner[job.id] = new.key_id
        # SQLite gives the number of a purged job again, if it was the last one.
        [number] = [number for number, row in self._see().jobs.items() if row["uuid"] == job.id]
        self.written = {place: mark for place, mark in self.written.items() if place[0] != number}

    def append(self, uuid: str, key: int, some: set[int], again: bool) -> None:
        job, count = self.store.read(jobs.get, key, uuid), len(some)
        total = job.counts.total
        if not job.open:
            with pytest.raises(JobClosed):
                self.store.write(jobs.append, key, uuid, documents(1), total)
            return
        assert self.store.write(jobs.append, key, uuid, documents(count), total)[:2] == (count, total + count)
        if again and count:
            assert self.store.write(jobs.append, key, uuid, documents(count), total)[:2] == (0, total + count)

    def close(self, uuid: str, key: int, *_: object) -> None:
        assert not self.store.write(jobs.close, key, uuid).open

    def cancel(self, uuid: str, key: int, *_: object) -> None:
        assert self.store.write(jobs.cancel, key, uuid).state in ENDED_STATES

    def retry(self, uuid: str, key: int, some: set[int], _flag: bool) -> None:
        codes = [None, ["processing_failed"], ["worker_lost"]][len(some) % 3]
        try:
            retried = self.store.write(jobs.retry, key, uuid, codes)
        except JobNotEnded:
            assert uuid not in self.ended
            return
        except NothingToRetry:
            return
        assert retried.job.state == "queued"
        del self.ended[uuid]
        seen = self._see()
        self._forget_what_runs_again({row["id"] for row in seen.jobs.values() if row["uuid"] == uuid})

    def go_on(self) -> bool:
        """The next step of a retry."""
        under_way = self._see().retrying
        more = self.store.write(retrying.go_on).more
        self._forget_what_runs_again(under_way)
        return more

    def _forget_what_runs_again(self, jobs: set[int]) -> None:
        seen = self._see()
        for job, position in list(self.written):
            if job in jobs and position not in seen.results[job]:
                del self.written[job, position]

    def delete(self, uuid: str, key: int, _some: set[int], purged: bool) -> None:
        try:
            self.store.write(jobs.delete, key, uuid)
        except JobNotEnded:
            assert uuid not in self.ended
            return
        del self.ended[uuid], self.owner[uuid]
        if purged:
            self._purge()

    # --- workers ---

    def claim(self, pick: int, worker: str) -> Lease | None:
        """Prefers a queued shard; otherwise takes any, which must be refused, since its lease has not run out."""
        if not (shards := self._all_shards()):
            return None
        queued = [shard for shard in shards if shard["state"] == "queued"]
        shard = (queued or shards)[pick % len(queued or shards)]
        lease = self.store.write(leases.claim, shard["id"], worker)
        assert (lease is None) == (not queued)
        if lease is not None:
            self.leases.append(lease)
        return lease

    def settle(self, lease: Lease, some: set[int], failing: set[int]) -> None:
        """Some documents of the shard, whether they are decided or not."""
        positions = [position for position in range(lease.first, lease.last + 1) if position - lease.first in some]
        self._settle(lease, positions, failing, close=False)

    def finish(self, lease: Lease, _some: set[int], failing: set[int]) -> None:
        """All documents that are left, and the shard closed."""
        left = [text.position for text in self.store.read(leases.undecided, lease, -1, 100)]
        self._settle(lease, left, failing, close=True)

    def _settle(self, lease: Lease, positions: list[int], failing: set[int], close: bool) -> None:
        holds, mark = self._holds(lease), next(self.marks)
        wrong = [position for position in positions if position - lease.first in failing]
        try:
            self.store.write(leases.settle, lease, outcomes(positions, wrong, mark), close)
        except LeaseLost:
            assert not holds
            return
        if not holds:
            assert close, "a stale token was accepted"
            return  # the repetition of a close that was committed: nothing is written, as the invariants will see
        for position in positions:
            self.written.setdefault((lease.job_id, position), mark)

    def settle_too_little(self, lease: Lease, *_: object) -> None:
        if self._holds(lease) and self.store.read(leases.undecided, lease, -1, 100):
            with pytest.raises(RuntimeError, match="undecided"):
                self.store.write(leases.settle, lease, [], True)

    def renew(self, worker: str) -> None:
        mine = {lease.token for lease in self.leases if lease.worker_id == worker}
        leased = {shard["token"] for shard in self._all_shards() if shard["state"] == "leased"}
        assert self.store.write(leases.renew, worker, mine) == mine & leased

    def drain(self, lease: Lease, *_: object) -> None:
        holds = self._holds(lease)
        assert bool(self.store.write(leases.release, lease)) == holds

    # --- time ---

    def lose(self, lease: Lease, attempted: bool, how: str) -> None:
        """A worker dies: its lease runs out, or is taken by a second message, or is given up by its launcher."""
        if not self._holds(lease):
            return
        if attempted:
            self.store.write(leases.attempt, lease, lease.first)
        if how == "worker":
            lost = self.store.write(leases.expire_worker, lease.worker_id)
            assert lease.shard_id in {shard.shard_id for shard in lost}
            return
        let_lease_run_out(self.store, lease.shard_id)
        if how == "expire":
            assert [shard.shard_id for shard in self.store.write(leases.expire)] == [lease.shard_id]
            return
        taken = self.store.write(leases.claim, lease.shard_id, "w2")
        assert taken is not None
        assert taken.losses == lease.losses + 1
        self.leases.append(taken)

    def abandon(self, pick: int) -> None:
        if self.owner:
            uuid = list(self.owner)[pick % len(self.owner)]
            ago = sa.update(jobs_table).where(jobs_table.c.uuid == uuid).values(appended_at=db_time(-1e6))
            self.store.write(lambda tx: tx.execute(ago))
            self.store.write(endings.close_abandoned)

    # --- what always holds ---

    @invariant()
    def the_ledger_is_consistent(self) -> None:
        if not hasattr(self, "model"):
            return
        seen = self._see()
        for job_id, job in seen.jobs.items():
            if job["deleted_at"] is None:
                retried = job_id in seen.retrying
                self._check_counts(job, seen.shards[job_id], seen.documents[job_id], seen.results[job_id], retried)
                codes = [row["error_code"] for row in seen.results[job_id].values() if row["error_code"]]
                assert seen.errors.get(job_id, {}) == Counter(codes)
                self._check_nothing_orphaned(job, seen.shards[job_id], seen.documents[job_id], seen.results[job_id])
        self._check_what_waits(seen)
        self._check_ended_stays_ended(seen)
        self._check_outcomes_stay(seen)

    def _check_what_waits(self, seen: Seen) -> None:
        pending = {job for job, shards in seen.shards.items() if any(shard["state"] == "pending" for shard in shards)}
        assert set(seen.waiting) == pending
        assert seen.keys == {seen.jobs[job]["key_id"] for job in pending}
        for job_id, row in seen.waiting.items():
            job = seen.jobs[job_id]
            assert (row["key_id"], row["priority"]) == (job["key_id"], job["priority"])

    def _check_counts(
        self, job: Any, shards: list[Any], there: list[int], decided: dict[int, Any], retried: bool
    ) -> None:
        states = [row["state"] for row in decided.values()]
        assert job["total"] == len(there)
        assert sorted(there) == list(range(len(there)))
        assert (job["succeeded"], job["failed"]) == (states.count("succeeded"), states.count("failed"))
        assert job["remaining_shards"] == sum(shard["state"] in UNFINISHED for shard in shards) + retried
        if job["state"] in ENDED_STATES:
            assert not job["open"]
            assert job["remaining_shards"] == 0
            assert job["finished_at"] is not None
            assert job["succeeded"] + job["failed"] + job["cancelled"] == job["total"]
            assert job["cancelled"] == 0 or job["state"] == "cancelled"
        else:
            assert job["cancelled"] == 0
            assert job["finished_at"] is None
            assert job["open"] or job["remaining_shards"], "finished, and not ended"

    def _check_nothing_orphaned(self, job: Any, shards: list[Any], there: list[int], decided: dict[int, Any]) -> None:
        for shard in shards:
            if shard["state"] in UNFINISHED:
                assert job["state"] not in ENDED_STATES, "a shard that nobody will finish"
            if shard["state"] == "leased":
                assert shard["token"] is not None
                assert shard["lease_expires_at"] is not None
            if shard["state"] == "queued":
                assert shard["token"] is None
                assert shard["published_at"] is not None, "the sweep would never publish it again"
            later = [other for other in shards if other["id"] > shard["id"] and other["first"] <= shard["last"]]
            if shard["state"] == "done" and not later:  # else some of its documents were retried
                assert all(position in decided for position in range(shard["first"], shard["last"] + 1))
        if job["state"] not in ENDED_STATES:
            ranges = [(shard["first"], shard["last"]) for shard in shards if shard["state"] in UNFINISHED]
            at = self._retried_to(job)
            for position in {position for position in there if position not in decided and position < at}:
                assert sum(first <= position <= last for first, last in ranges) == 1, "in no shard, or in two"

    def _check_ended_stays_ended(self, seen: Seen) -> None:
        for job in seen.jobs.values():
            if job["deleted_at"] is None and job["state"] in ENDED_STATES:
                facts = tuple(job[column] for column in COUNTS)
                assert self.ended.setdefault(job["uuid"], facts) == facts
        running = {job["uuid"] for job in seen.jobs.values() if job["state"] not in ENDED_STATES}
        assert not running & set(self.ended), "an ended job runs again, though nobody retried it"

    def _check_outcomes_stay(self, seen: Seen) -> None:
        for job_id, decided in seen.results.items():
            if seen.jobs[job_id]["deleted_at"] is None:
                for position, row in decided.items():
                    assert self.written[job_id, position] in (row["output"] or row["error_message"])
                written = sum(job == job_id for job, _ in self.written)
                assert written == len(decided), "an outcome is gone"

    def teardown(self) -> None:
        """Let everything run to its end, as one worker would: every document has exactly one outcome then."""
        if not hasattr(self, "model"):
            return
        for uuid, key in self.owner.items():
            self.store.write(jobs.close, key, uuid)
        for worker in ("w0", "w1", "w2"):
            self.store.write(leases.expire_worker, worker)
        self.store.write(dispatch.release, self.model)
        while self.go_on():
            pass
        self.store.write(dispatch.release, self.model)
        while queued := [shard for shard in self._all_shards() if shard["state"] == "queued"]:
            for shard in queued:
                lease = self.store.write(leases.claim, shard["id"], "last")
                assert lease is not None
                self.leases.append(lease)
                left = [text.position for text in self.store.read(leases.undecided, lease, -1, 100)]
                mark = next(self.marks)
                self.store.write(leases.settle, lease, outcomes(left, mark=mark), True)
                self.written.update({(lease.job_id, position): mark for position in left})
        self.the_ledger_is_consistent()
        seen = self._see()
        for job_id, job in seen.jobs.items():
            assert job["state"] in ENDED_STATES, "nobody would ever finish it"
            if job["deleted_at"] is None and job["state"] != "cancelled":
                assert sorted(seen.results[job_id]) == sorted(seen.documents[job_id])
        for uuid, key in self.owner.items():
            self.store.write(jobs.delete, key, uuid)
        self._purge()
        assert self._see() == ({}, {}, {}, {}, {}, set(), set(), {}), "rows are left behind"

    # --- looking ---

    def _see(self) -> Seen:
        return self.store.read(read_everything, self.model)

    def _retried_to(self, job: Any) -> float:
        """Where its retry has come; beyond, documents without an outcome have no shard yet."""
        position = sa.select(retries_table.c.position).where(retries_table.c.job_id == job["id"])
        return float(self.store.read(lambda tx: tx.execute(position).scalar()) or "inf")

    def _all_shards(self) -> list[sa.RowMapping]:
        mine = sa.select(jobs_table.c.id).where(jobs_table.c.model == self.model)
        query = sa.select(shards_table).where(shards_table.c.job_id.in_(mine)).order_by(shards_table.c.id)
        return list(self.store.read(lambda tx: tx.execute(query).mappings().all()))

    def _lease(self, pick: int) -> Lease:
        """Most often one that holds; otherwise any that there ever was."""
        leased = {shard["token"] for shard in self._all_shards() if shard["state"] == "leased"}
        holding = [lease for lease in self.leases if lease.token in leased]
        choice = holding if holding and pick % 4 else self.leases
        return choice[pick % len(choice)]

    def _holds(self, lease: Lease) -> bool:
        held = sa.and_(shards_table.c.id == lease.shard_id, shards_table.c.state == "leased")
        token = sa.select(shards_table.c.token).where(held)
        return self.store.read(lambda tx: tx.execute(token).scalar()) == lease.token

    def _purge(self) -> None:
        deleted = sa.select(sa.func.count()).where(jobs_table.c.deleted_at.is_not(None))
        while self.store.read(lambda tx: tx.execute(deleted).scalar_one()):
            self.store.write(sweep.purge)


@pytest.fixture
def machine_store(backend: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A database with small shards and a small window, so that few documents bring much about."""
    url = request.getfixturevalue("database_url")
    store = Store(url, StoreSettings(shard_documents=2, unserved_shards=3, purge_rows=3))
    yield store
    store.close()


EXAMPLES = {"sqlite": 110, "postgresql": 20}
"""Fewer where each statement is a round trip to a server."""


def test_the_ledger_keeps_its_invariants(machine_store: Store, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "STEP", 2)

    class Machine(LedgerMachine):
        store = machine_store

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES[backend],
            stateful_step_count=40,
            derandomize=True,  # the same examples in every run
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
