"""Rule 8, and who sweeps: lost messages are published again, not too early, by the one process that holds the duty."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from store import dispatch, jobs, leases, search, sweep, workers
from store.dispatch import Released
from store.dispatcher import Dispatcher
from store.queue import celery_app, redis_lists
from store.search import Wanted
from store.session import Store, db_time
from store.sweep import Sweeper
from store.tables import documents, duties, shards, turns, waiting
from store.tables import jobs as jobs_table
from store.workers import WorkerRow
from tests.conftest import ValkeyProcess
from tests.integration.interleaving import Contender
from tests.integration.ledger_steps import (
    MODEL,
    change,
    claim,
    let_lease_run_out,
    new_key,
    run,
    shard_row,
    shard_states,
    submit,
)

MakeStore = Callable[..., Store]


class Publisher(Dispatcher):
    """A dispatcher whose `publish` sends at once, on the caller's thread: the test sees Redis as it then is."""

    def publish(self, released: Any) -> None:
        for shard in released:
            self._send(shard)


@pytest.fixture
def publisher(redis_url: str) -> Publisher:
    return Publisher(celery_app(redis_url))


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


def messages(client: redis.Redis, model: str = MODEL) -> int:
    return sum(int(client.llen(name)) for name in redis_lists(model))


def test_a_model_that_nobody_serves_is_named_once(
    store: Store, key_id: int, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """Its worker is down, or it has left the catalogue: the job waits, and says why."""
    job, _ = submit(store, key_id)
    sweeper = Sweeper(store, publisher)
    for _ in range(sweep.LONELY_SWEEPS + 2):
        sweeper.sweep()
    assert [record.getMessage() for record in caplog.records if "no live worker" in record.getMessage()] == [
        "1 shards of echo are queued, and no live worker serves that model"
    ]
    notice = store.read(jobs.get, key_id, job.id).notice
    assert notice is not None
    assert "no live worker serves echo" in notice
    store.write(workers.register, WorkerRow("w", "host", 1, "cpu", ("echo",), 1, "machine"))
    assert "echo is loaded first" in str(store.read(jobs.get, key_id, job.id).notice)
    store.write(workers.heartbeat, "w", ["echo"], 0.0)
    assert store.read(jobs.get, key_id, job.id).notice is None
    store.write(workers.heartbeat, "w", [], 0.0, {}, ["echo"])
    assert "no live worker serves echo" in str(store.read(jobs.get, key_id, job.id).notice), "it could not load it"
    for draining, served in ((False, True), (True, False)):
        store.write(workers.heartbeat, "w", ["echo"], 0.0, draining=draining)
        assert (store.read(jobs.get, key_id, job.id).notice is None) == served
        assert store.read(workers.others_serve, "another", "echo") == served
    store.write(jobs.cancel, key_id, job.id)
    assert store.read(jobs.get, key_id, job.id).notice is None


def all_shards(store: Store) -> Sequence[sa.RowMapping]:
    return store.read(lambda tx: tx.execute(sa.select(shards).order_by(shards.c.id)).mappings().all())


def age(store: Store, released: list[Released], seconds: float) -> None:
    """As if the last message had been sent so long ago."""
    ids = [shard.shard_id for shard in released]
    change(store, shards, shards.c.id.in_(ids), published_at=db_time(-seconds))


# --- lost messages ----------------------------------------------------------------------------------------------------


def test_what_redis_lost_is_published_again_on_the_second_sweep(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    store = make_store(shard_documents=1)
    _, released = submit(store, key_id, 4)
    publisher.publish(released)
    assert messages(redis_client) == 4
    age(store, released, 11)
    sweeper = Sweeper(store, publisher)
    assert sweeper.sweep()
    assert messages(redis_client) == 4, "nothing is lost"
    redis_client.flushall()
    assert sweeper.sweep()
    assert messages(redis_client) == 0, "one sweep is not enough: a message may be on its way"
    assert sweeper.sweep()
    assert messages(redis_client) == 4
    for _ in range(3):
        assert sweeper.sweep()
    assert messages(redis_client) == 4, "they are back, and young"


def test_only_messages_that_are_old_enough_are_published_again(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    store = make_store(shard_documents=1)
    _, released = submit(store, key_id, 4)
    age(store, released[:2], 11)
    sweeper = Sweeper(store, publisher)
    for _ in range(4):
        sweeper.sweep()
    assert messages(redis_client) == 2
    age(store, released, 11)
    sweeper.sweep()
    sweeper.sweep()
    assert messages(redis_client) == 6, "two are there twice, which is harmless"
    for shard in released[:2]:
        run(store, shard.shard_id)
        assert store.write(leases.claim, shard.shard_id, "w") is None, "a second message finds nothing to do"


def test_a_shortage_that_passes_is_no_loss(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    store = make_store(shard_documents=1, unserved_shards=2)
    _, released = submit(store, key_id, 2)
    publisher.publish(released)
    age(store, released, 11)
    sweeper = Sweeper(store, publisher)
    redis_client.lpop(redis_lists(MODEL)[1])  # taken by a worker that has not claimed it yet
    sweeper.sweep()
    claim(store, released[0].shard_id)
    sweeper.sweep()
    redis_client.lpop(redis_lists(MODEL)[1])
    sweeper.sweep()
    assert messages(redis_client) == 0, "never short on two sweeps running"


def test_the_messages_of_all_priorities_count(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    store = make_store()
    for priority in ("low", "normal", "high"):
        _, released = submit(store, key_id, 1, priority=priority)
        publisher.publish(released)
        age(store, released, 11)
    sweeper = Sweeper(store, publisher)
    for _ in range(3):
        sweeper.sweep()
    assert [redis_client.llen(name) for name in redis_lists(MODEL)] == [1, 2, 0], "low goes out as normal"


def test_one_models_messages_do_not_stand_for_anothers(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    store = make_store()
    for model in ("one", "two"):
        _, released = submit(store, key_id, 1, model=model)
        publisher.publish(released)
        age(store, released, 11)
    redis_client.delete(*redis_lists("two"))
    sweeper = Sweeper(store, publisher)
    sweeper.sweep()
    sweeper.sweep()
    assert (messages(redis_client, "one"), messages(redis_client, "two")) == (1, 1)


def test_without_redis_the_rest_of_the_sweep_goes_on(store: Store, key_id: int, own_valkey: ValkeyProcess) -> None:
    elsewhere = Store(store.url, store.settings.model_copy(update={"redis_url": own_valkey.url}))
    job, released = submit(store, key_id)
    let_lease_run_out(store, claim(store, released[0].shard_id).shard_id)
    own_valkey.kill()
    assert Sweeper(elsewhere, Dispatcher(celery_app(own_valkey.url))).sweep()
    assert shard_states(store, job) == ["queued"]
    elsewhere.close()


# --- what else a sweep does -------------------------------------------------------------------------------------------


def test_a_sweep_tops_up_what_no_settle_releases(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    store = make_store(shard_documents=1, unserved_shards=2)
    first, _ = submit(store, key_id, 3)
    second, none = submit(store, key_id, 3)
    assert none == []
    store.write(jobs.cancel, key_id, first.id)
    Sweeper(store, publisher).sweep()
    assert shard_states(store, second) == ["queued", "queued", "pending"]
    assert messages(redis_client) == 2


def test_a_sweep_adopts_what_a_process_of_the_previous_release_adds(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    """Such a process knows neither the tables of what waits nor the size of a shard."""
    store = make_store(shard_documents=1, unserved_shards=1)
    first, _ = submit(store, key_id, 2)
    second, _ = submit(store, new_key(store), 250)
    store.write(lambda tx: [tx.execute(sa.delete(table)) for table in (waiting, turns)])
    change(store, shards, sa.true(), characters=None, state="pending", released_at=None)
    assert store.write(dispatch.release, MODEL) == []
    assert store.write(sweep.adopt), "in steps"
    Sweeper(store, publisher).sweep()
    assert not store.write(sweep.adopt)
    sizes = sa.select(shards.c.characters).distinct()
    assert store.read(lambda tx: tx.execute(sizes).scalars().all()) == [10]
    assert messages(redis_client) == 1
    served = []
    while queued := [row for row in all_shards(store) if row["state"] == "queued"]:
        served.append(queued[0]["job_id"])
        run(store, queued[0]["id"])
    assert len(set(served[:4])) == 2, "and its keys take turns"
    assert {*shard_states(store, first), *shard_states(store, second)} == {"done"}


def test_what_is_cancelled_before_it_is_adopted_waits_for_nothing(store: Store, key_id: int) -> None:
    job, _ = submit(store, key_id, 0, open=True)
    store.write(lambda tx: tx.execute(sa.insert(shards).values(job_id=1, first=0, last=0, state="pending")))
    change(store, jobs_table, jobs_table.c.uuid == job.id, state="cancelled")
    assert store.write(sweep.adopt)
    assert store.read(sweep.models_that_wait) == []


def test_a_sweep_queues_what_dead_workers_held(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    store = make_store()
    _, released = submit(store, key_id)
    let_lease_run_out(store, claim(store, released[0].shard_id).shard_id)
    Sweeper(store, publisher).sweep()
    assert shard_row(store, released[0].shard_id)["losses"] == 1
    assert messages(redis_client) == 1


def test_more_leases_run_out_than_a_statement_has_parameters(store: Store, key_id: int) -> None:
    """As after a long outage of a large cluster."""
    count = 70_000
    submit(store, key_id, 0, open=True)
    numbers = sa.select(sa.literal(0).label("n")).cte(recursive=True)
    numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < count - 1))
    row = [sa.literal(1), numbers.c.n, numbers.c.n, sa.literal("leased"), db_time(-1), sa.literal(0), sa.literal(0)]
    names = ["job_id", "first", "last", "state", "lease_expires_at", "losses", "suspect_attempts"]
    store.write(lambda tx: tx.execute(sa.insert(shards).from_select(names, sa.select(*row))))
    assert store.write(leases.spare, -1) == leases.AT_ONCE
    assert len(store.write(leases.expire)) == leases.AT_ONCE, "the next sweep takes the rest"
    change(store, shards, shards.c.state == "leased", state="queued", published_at=db_time(-60))
    assert len(store.write(sweep.stale, MODEL)) == leases.AT_ONCE


def test_a_sweep_closes_and_purges(make_store: MakeStore, key_id: int, publisher: Publisher) -> None:
    store = make_store(purge_rows=10)
    abandoned, _ = submit(store, key_id, 0, open=True)
    gone, _ = submit(store, key_id)
    store.write(jobs.cancel, key_id, gone.id)
    store.write(jobs.delete, key_id, gone.id)
    later = make_store(open_job_ttl_seconds=1e-6, purge_rows=10)
    sweeper = Sweeper(later, publisher)
    sweeper.sweep()
    sweeper.sweep()
    assert store.read(jobs.get, key_id, abandoned.id).state == "completed"
    assert submit(store, new_key(store))[0]
    assert [job.id for job in store.read(search.find, key_id, Wanted(), 9, None)[0]] == [abandoned.id]


def test_removing_much_does_not_keep_a_sweep_from_the_rest(
    make_store: MakeStore, key_id: int, publisher: Publisher
) -> None:
    store = make_store(purge_rows=2, sweep_step_seconds=0, shard_documents=1)
    gone, _ = submit(store, key_id, 6)
    store.write(jobs.cancel, key_id, gone.id)
    store.write(jobs.delete, key_id, gone.id)
    _, released = submit(store, key_id)
    sweeper = Sweeper(store, publisher)
    sweeper.sweep()
    left = [store.read(_rows, documents, gone.id)]
    let_lease_run_out(store, claim(store, released[0].shard_id).shard_id)
    sweeper.sweep()
    assert shard_row(store, released[0].shard_id)["losses"] == 1, "while there is more to remove"
    for table in (documents, documents, shards, shards, shards, jobs_table):
        left.append(store.read(_rows, table, gone.id))
        sweeper.sweep()
    assert left == [4, 2, 0, 4, 2, 0, 0]


def _rows(tx: sa.Connection, table: sa.Table, job_id: str) -> int:
    of_job = sa.select(jobs_table.c.id).where(jobs_table.c.uuid == job_id).scalar_subquery()
    column = jobs_table.c.id if table is jobs_table else table.c.job_id
    return tx.execute(sa.select(sa.func.count()).select_from(table).where(column == of_job)).scalar_one()


# --- the duty ---------------------------------------------------------------------------------------------------------


def test_of_two_sweepers_one_holds_the_duty_and_passes_it_on(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    store = make_store()
    _, released = submit(store, key_id)
    age(store, released, 11)
    one, two = Sweeper(store, publisher), Sweeper(make_store(), publisher)
    one.start()  # its first sweep is some seconds away: the test sweeps in its place
    assert [one.sweep(), two.sweep(), two.sweep()] == [True, False, False]
    assert messages(redis_client) == 0, "three sweeps, but one of them only by each who holds the duty"
    one.stop()
    assert two.sweep(), "at once, since the other one said that it stops"
    assert messages(redis_client) == 0, "what the other sweeper suspected is not known to this one"
    assert two.sweep()
    assert messages(redis_client) == 1


def test_the_duty_of_a_sweeper_that_died_runs_out(make_store: MakeStore, store: Store, publisher: Publisher) -> None:
    dead, heir = Sweeper(store, publisher), Sweeper(make_store(), publisher)
    assert dead.sweep()
    assert not heir.sweep()
    change(store, duties, duties.c.name == "sweep", held_until=db_time(-1))
    assert heir.sweep()
    assert not dead.sweep(), "it had stalled, and finds that another one took over"


def test_two_who_reach_for_a_free_duty_at_once(make_store: MakeStore, store: Store) -> None:
    with store.engine.begin() as tx:
        assert sweep.hold_duty(tx, "one")
        late = Contender(make_store(), sweep.hold_duty, "two")
    assert not late.result()


def test_the_thread_sweeps_by_itself_and_survives_an_error(
    make_store: MakeStore, key_id: int, publisher: Publisher, redis_client: redis.Redis
) -> None:
    store = make_store(sweep_seconds=0.01, unserved_shards=1, shard_documents=1)
    job, _ = submit(store, key_id, 2)
    waiting, none = submit(store, key_id, 1)
    assert none == []
    store.write(jobs.cancel, key_id, job.id)
    sweeper = Sweeper(store, publisher)
    failed: list[Any] = []
    original = store.write

    def fail_once(work: Any, *args: Any, **kwargs: Any) -> Any:
        if not failed:
            failed.append(work)
            raise OSError("the database is away")
        return original(work, *args, **kwargs)

    store.write = fail_once  # type: ignore[method-assign]
    sweeper.start()
    assert redis_client.blmove(redis_lists(MODEL)[1], "seen", 30, "LEFT", "RIGHT"), "released and published"
    sweeper.stop()
    assert failed
    assert shard_states(store, waiting) == ["queued"]
