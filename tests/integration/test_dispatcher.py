"""Publishing: never on the caller's time, by priority, with nothing of a text in it, and not lost with Redis."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from kombu import Connection

from store.dispatch import Released
from store.dispatcher import Dispatcher
from store.queue import RUN_SHARD, celery_app, redis_lists
from tests.conftest import ValkeyProcess
from tests.integration.interleaving import PATIENCE


def released(shard_id: int, priority: int = 3, model: str = "echo") -> Released:
    return Released(shard_id, "7d1f", "ner", model, 10, 19, priority)


@pytest.fixture
def dispatcher(redis_url: str) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(celery_app(redis_url))
    dispatcher.start()
    yield dispatcher
    dispatcher.stop()


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        threading.Event().wait(0.01)


def shards_in(client: redis.Redis, name: str) -> list[int]:
    """Shard ids in the order in which a worker takes them."""
    bodies = [json.loads(message)["body"] for message in reversed(client.lrange(name, 0, -1))]
    return [json.loads(base64.b64decode(body))[0][0] for body in bodies]


def test_a_message_names_the_shard_and_no_text(dispatcher: Dispatcher, redis_client: redis.Redis) -> None:
    dispatcher.publish([released(7)])
    wait_until(lambda: dispatcher.published == 1)
    (message,) = map(json.loads, redis_client.lrange(redis_lists("echo")[1], 0, -1))
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == ([7], {})
    headers = message["headers"]
    assert headers["task"] == RUN_SHARD
    assert headers["argsrepr"] == "job=7d1f task=ner model=echo shard=7 documents=10"
    assert headers["ignore_result"] is True
    assert message["content-type"] == "application/json"


def test_each_model_has_its_lists_and_low_goes_out_as_normal(dispatcher: Dispatcher, redis_client: redis.Redis) -> None:
    dispatcher.publish([released(1, 0), released(2, 3), released(3, 6), released(4, 3), released(5, 3, "other")])
    wait_until(lambda: dispatcher.published == 5)
    assert [shards_in(redis_client, name) for name in redis_lists("echo")] == [[1], [2, 3, 4], []]
    assert [shards_in(redis_client, name) for name in redis_lists("other")] == [[], [5], []]


def test_a_worker_takes_high_first(dispatcher: Dispatcher, redis_url: str) -> None:
    """The lists above are kombu's own: what it pops shows that the two sides agree on them."""
    dispatcher.publish([released(1, 6), released(2, 3), released(3, 0), released(4, 3)])
    wait_until(lambda: dispatcher.published == 4)
    options = celery_app(redis_url).conf.broker_transport_options
    with Connection(redis_url, transport_options=options) as connection:
        queue = connection.SimpleQueue("textmill.echo")
        taken = []
        for _ in range(4):
            message = queue.get(timeout=PATIENCE)
            taken.append(message.payload[0][0])
            message.ack()
        queue.close()
    assert taken == [3, 1, 2, 4]


def test_while_redis_is_away_publishing_returns_and_nothing_is_lost(own_valkey: ValkeyProcess) -> None:
    dispatcher = Dispatcher(celery_app(own_valkey.url))
    dispatcher.shortest_pause = 0.01
    dispatcher.longest_pause = 0.05
    dispatcher.start()
    dispatcher.publish([released(1)])
    wait_until(lambda: dispatcher.published == 1)
    assert dispatcher.healthy
    own_valkey.kill()
    for n in range(2, 102):
        dispatcher.publish([released(n)])
    wait_until(lambda: not dispatcher.healthy)
    for n in range(102, 110):
        dispatcher.publish([released(n)])
    assert dispatcher.published == 1
    own_valkey.start()
    wait_until(lambda: dispatcher.published == 109)
    assert dispatcher.healthy
    client = redis.Redis.from_url(own_valkey.url)
    assert shards_in(client, redis_lists("echo")[1]) == list(range(2, 110)), "each once, in order"
    client.close()
    dispatcher.stop()


def test_stopping_sends_what_waits(redis_url: str, redis_client: redis.Redis) -> None:
    dispatcher = Dispatcher(celery_app(redis_url))
    dispatcher.publish([released(n) for n in range(20)])
    dispatcher.start()
    dispatcher.stop(PATIENCE)
    assert shards_in(redis_client, redis_lists("echo")[1]) == list(range(20))


def test_stopping_does_not_wait_for_a_redis_that_is_away(own_valkey: ValkeyProcess) -> None:
    dispatcher = Dispatcher(celery_app(own_valkey.url))
    dispatcher.longest_pause = dispatcher.shortest_pause = 1000
    own_valkey.kill()
    dispatcher.start()
    dispatcher.publish([released(1)])
    wait_until(lambda: not dispatcher.healthy)
    dispatcher.stop(PATIENCE)
    assert not any(thread.name == "dispatcher" and thread.is_alive() for thread in threading.enumerate())
