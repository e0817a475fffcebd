"""Whoever waits for a job's end is woken, and not only when a poll comes round; without Redis the poll finds it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis

from api.waiting import Waiters
from store import leases
from store.dispatcher import Dispatcher
from store.hints import Ended, channel
from store.queue import celery_app
from store.session import Store
from tests.conftest import ValkeyProcess
from tests.integration.serving import Running, echo, serving
from tests.integration.test_api_events import listening, until_listening
from tests.worker_process import wait_until
from workers.shards.ledger import Ledger

NEVER = 100_000.0
"""Seconds between two polls: what is noticed, a hint told of."""


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: hints come by Redis."""
    return str(request.param)


@pytest.fixture
def dispatcher(store: Store) -> Iterator[Dispatcher]:
    """A worker's."""
    made = Dispatcher(celery_app(store.settings.redis_url))
    made.start()
    yield made
    made.stop()


def metric(api: Running, name: str) -> float:
    lines = httpx.get(f"{api.url}/metrics", timeout=60).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def until_hearing(api: Running, hearing: bool = True) -> None:
    wait_until(lambda: metric(api, "textmill_hints_up") == hearing, f"hints arrive: {hearing}", 120)


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store, wait_poll_seconds=NEVER, events_poll_seconds=NEVER, max_wait_seconds=600) as running:
        until_hearing(running)
        yield running


def submitted(http: httpx.Client) -> str:
    body = {"task": "summarization", "model": "echo", "documents": [{"text": "one"}]}
    return str(http.post("/v1/jobs", json=body).json()["id"])


def settle(store: Store, dispatcher: Dispatcher, shard: int = 1) -> None:
    """As a worker does."""
    lease = store.write(leases.claim, shard, "tester")
    assert lease is not None
    ledger = Ledger(store, dispatcher, lease)
    ledger.settle([echo(text.position, text.text) for text in ledger.undecided(-1, 10)], close=True)


def waiting(api: Running, pool: ThreadPoolExecutor, job: str) -> Callable[[], str]:
    def get() -> str:
        with api.http() as http:
            return str(http.get(f"/v1/jobs/{job}?wait=600", timeout=900).json()["state"])

    answer = pool.submit(get)
    wait_until(lambda: metric(api, "textmill_http_waiting") == 1, "it waits")
    return answer.result


def test_a_waiter_is_woken_by_the_last_settle(api: Running, store: Store, dispatcher: Dispatcher) -> None:
    with api.http() as http, ThreadPoolExecutor() as pool:
        state = waiting(api, pool, submitted(http))
        settle(store, dispatcher)
        assert state() == "completed"


@pytest.mark.parametrize(
    ("action", "state"), [("cancel", "cancelled"), ("matching", "cancelled"), ("close", "completed")]
)
def test_a_waiter_is_woken_by_another_request(api: Running, action: str, state: str) -> None:
    with api.http() as http, ThreadPoolExecutor() as pool:
        body = {"task": "summarization", "model": "echo", "open": True}
        job = http.post("/v1/jobs", json=body).json()["id"]
        answer = waiting(api, pool, job)
        if action == "matching":
            http.post("/v1/jobs/cancel", json={"expected": 1}).raise_for_status()
        else:
            http.post(f"/v1/jobs/{job}/{action}").raise_for_status()
        assert answer() == state


def test_streams_hear_of_ends(api: Running, store: Store, dispatcher: Dispatcher) -> None:
    with api.http() as http:
        job = submitted(http)
        with listening(http, f"/v1/jobs/{job}/events") as of_job, api.http() as other:
            with listening(other, "/v1/events") as of_key:
                of_job.next()
                of_key.until(job, "queued")
                settle(store, dispatcher)
                assert of_job.until(job, "completed").counts.succeeded == 1
                assert of_key.until(job, "completed").counts.succeeded == 1
    until_listening(api, 0)


def test_what_somebody_else_sends_is_no_hint(api: Running, store: Store, dispatcher: Dispatcher) -> None:
    client = redis.Redis.from_url(store.settings.redis_url)
    for message in (b"", b"\xff\xfe", b"job", b"job key", b"job " + b"9" * 100):
        assert Ended.read(message) is None
        assert client.publish(channel(client), message) == 1, "it is heard"
    client.close()
    with api.http() as http, ThreadPoolExecutor() as pool:
        state = waiting(api, pool, submitted(http))
        settle(store, dispatcher)
        assert state() == "completed"


def test_databases_of_one_redis_have_channels_of_their_own() -> None:
    names = [channel(redis.Redis.from_url(f"redis://localhost:1/{number}")) for number in (0, 1)]
    assert names == ["textmill.ended.0", "textmill.ended.1"]


def test_without_redis_the_poll_finds_it_and_hints_come_back_with_it(
    make_store: Callable[..., Store], own_valkey: ValkeyProcess
) -> None:
    store = make_store()
    own = Store(store.url, store.settings.model_copy(update={"redis_url": own_valkey.url}))
    dispatcher = Dispatcher(celery_app(own_valkey.url))
    dispatcher.longest_pause = 0.05
    dispatcher.start()
    try:
        with (
            serving(own, wait_poll_seconds=0.02, max_wait_seconds=600) as api,
            api.http() as http,
            ThreadPoolExecutor() as pool,
        ):
            until_hearing(api)
            own_valkey.kill()
            until_hearing(api, False)
            state = waiting(api, pool, submitted(http))
            settle(own, dispatcher)
            assert state() == "completed"
            own_valkey.start()
            until_hearing(api)
    finally:
        dispatcher.stop()
        own.close()


def test_a_job_that_is_not_there_yet_has_not_ended(store: Store) -> None:
    """Expected, and not waited for yet: the poll for others does not take it for one that is gone."""

    async def look() -> list[bool]:
        waiters = Waiters(store, 0.001)
        polling = asyncio.create_task(waiters.run())
        with waiters.expecting("not-there-yet") as early, waiters.expecting("gone") as gone:
            await gone.within(60)
            found = [early.woken.is_set()]
            await early.within(60)
            polling.cancel()
            return [*found, early.woken.is_set()]

    assert asyncio.run(look()) == [False, True]


def test_more_hints_than_are_kept_cost_the_oldest(redis_url: str) -> None:
    dispatcher = Dispatcher(celery_app(redis_url))
    dispatcher.hint(Ended(str(number), 1) for number in range(dispatcher.most_hints + 5))
    heard: list[bytes] = []
    client = redis.Redis.from_url(redis_url)
    hints = client.pubsub(ignore_subscribe_messages=True)
    hints.subscribe(channel(client))

    def listen() -> None:
        for message in hints.listen():
            heard.append(message["data"])
            if len(heard) == dispatcher.most_hints:
                return

    listener = threading.Thread(target=listen)
    listener.start()
    wait_until(lambda: dict(client.pubsub_numsub(channel(client)))[channel(client).encode()] == 1, "it listens")
    dispatcher.start()
    dispatcher.stop(60)
    listener.join(60)
    hints.close()
    client.close()
    assert heard[0] == b"5 1"
