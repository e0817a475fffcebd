"""Ends of jobs told to webhooks: real receivers on loopback, the real ledger, one sender's step at a time."""

import contextlib
import itertools
import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpcore
import pytest
import sqlalchemy as sa
import trustme
from standardwebhooks.webhooks import WebhookVerificationError

from api.metrics import Metrics
from api.settings import ApiSettings
from api.webhooks.addresses import Address
from api.webhooks.post import Forbidden, Post
from api.webhooks.sender import CUT_SHORT, Sender
from store import deliveries, endings, jobs, sweep, webhook_secrets
from store.deliveries import Attempt
from store.session import Store, db_time
from store.tables import deliveries as table
from store.tables import delivery_attempts
from store.tables import jobs as jobs_table
from store.tables import webhook_secrets as secrets_table
from tests.integration.interleaving import PATIENCE
from tests.integration.ledger_steps import change, claim, finish, new_key, submit
from tests.integration.receivers import Receiver, Reply, receiving
from textmill.errors import LeaseLost, WebhookSecretMissing
from textmill.webhooks import Delivery

LOOPBACK = "127.0.0.1/32"
OVERLAP = 86_400


@pytest.fixture
def secret(store: Store, key_id: int) -> str:
    """Of the test's key."""
    return store.write(webhook_secrets.rotate, key_id, OVERLAP).secret


def sender(store: Store, post: Post | None = None, **settings: object) -> Sender:
    """One that sends to loopback, and tries again at once."""
    given = {"webhook_networks": LOOPBACK, "webhook_retries": "0,0", "webhook_seconds": PATIENCE, **settings}
    return Sender(ApiSettings.model_validate(given), store, Metrics(), post)


def ended(store: Store, key_id: int, url: str, failing: tuple[int, ...] = (), count: int = 2) -> str:
    """A job with a webhook that has ended. Returns its id."""
    job, released = submit(store, key_id, count, webhook=url)
    for shard in released:
        finish(store, claim(store, shard.shard_id), failing=failing)
    return job.id


def told(store: Store, key_id: int, job: str) -> Delivery:
    """Its one delivery."""
    (delivery,) = store.read(deliveries.listed, key_id, job)
    return delivery


def outcomes(delivery: Delivery) -> list[tuple[str, int | None]]:
    return [(attempt.outcome, attempt.status) for attempt in delivery.attempts]


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failing", "state"), [((), "completed"), ((0,), "completed_with_errors"), ((0, 1), "failed")])
def test_an_end_is_told_signed_and_without_texts(
    store: Store, key_id: int, secret: str, failing: tuple[int, ...], state: str
) -> None:
    with receiving() as receiver:
        job = ended(store, key_id, f"{receiver.url}?token=x", failing)
        assert sender(store).work()
        came = receiver.take()
    event = came.event(secret)
    assert (event.type, event.data.id, event.data.state, event.data.task) == (f"job.{state}", job, state, "ner")
    assert event.data.counts.model_dump() == {
        "total": 2, "pending": 0, "succeeded": 2 - len(failing), "failed": len(failing), "cancelled": 0,
    }  # fmt: skip
    assert event.timestamp == event.data.finished_at == store.read(jobs.get, key_id, job).finished_at
    assert set(json.loads(came.body)["data"]) == set(type(event.data).model_fields)
    assert b"text 0000" not in came.body
    assert came.path == "/hook?token=x"
    delivery = told(store, key_id, job)
    assert (delivery.id, delivery.state, delivery.next_attempt_at) == (came.id, "delivered", None)
    assert outcomes(delivery) == [("delivered", 204)]
    assert re.fullmatch("msg_[0-9a-f]{32}", came.id)
    with pytest.raises(WebhookVerificationError):
        came.event(webhook_secrets.PREFIX + "bm90IHRoZSBzZWNyZXQ=")


def test_every_way_to_an_end_is_told_once(store: Store, key_id: int, secret: str) -> None:
    url = "http://127.0.0.1:9/"
    cancelled, _ = submit(store, key_id, 2, webhook=url)
    store.write(jobs.cancel, key_id, cancelled.id)
    store.write(jobs.cancel, key_id, cancelled.id)
    closed, released = submit(store, key_id, 1, open=True, webhook=url)
    finish(store, claim(store, released[0].shard_id))
    assert store.read(deliveries.listed, key_id, closed.id) == [], "it has not ended"
    store.write(jobs.close, key_id, closed.id)
    empty, _ = submit(store, key_id, 0, webhook=url)
    left, _ = submit(store, key_id, 0, open=True, webhook=url)
    change(store, jobs_table, jobs_table.c.uuid == left.id, appended_at=db_time(-10 * OVERLAP))
    store.write(endings.close_abandoned)
    found = {told(store, key_id, job.id).type for job in (cancelled, closed, empty, left)}
    assert found == {"job.cancelled", "job.completed"}
    silent, _ = submit(store, key_id, 1)
    store.write(jobs.cancel, key_id, silent.id)
    assert store.read(deliveries.listed, key_id, silent.id) == []


def test_each_end_of_a_job_is_an_event_of_its_own(store: Store, key_id: int, secret: str) -> None:
    with receiving() as receiver:
        job = ended(store, key_id, receiver.url, failing=(0,))
        again = store.write(jobs.retry, key_id, job, None)
        for shard in again.released:
            finish(store, claim(store, shard.shard_id))
        one = sender(store)
        assert [one.work(), one.work(), one.work()] == [True, True, False]
        came = [receiver.take(), receiver.take()]
    assert [received.event(secret).type for received in came] == ["job.completed_with_errors", "job.completed"]
    assert came[0].id != came[1].id
    assert [delivery.id for delivery in store.read(deliveries.listed, key_id, job)] == [came[1].id, came[0].id]


def test_an_end_that_a_process_of_the_previous_release_brought_about_is_told(
    store: Store, key_id: int, secret: str
) -> None:
    old, _ = submit(store, key_id, 1, webhook="http://127.0.0.1:9/")
    running, _ = submit(store, key_id, 1, webhook="http://127.0.0.1:9/")
    retried, _ = submit(store, key_id, 1, webhook="http://127.0.0.1:9/")
    store.write(jobs.cancel, key_id, retried.id)
    store.write(lambda tx: tx.execute(sa.delete(table)))
    for job in (old, retried):
        by_old = {"state": "cancelled", "finished_at": db_time(), "webhook_owed": True}
        change(store, jobs_table, jobs_table.c.uuid == job.id, **by_old)
    store.write(jobs.retry, key_id, retried.id, None)
    while store.write(deliveries.adopt):
        pass
    assert [told(store, key_id, job.id).type for job in (old, retried)] == ["job.cancelled"] * 2
    assert store.read(deliveries.listed, key_id, running.id) == []


def test_a_job_with_a_webhook_wants_a_secret(store: Store, key_id: int) -> None:
    with pytest.raises(WebhookSecretMissing):
        submit(store, key_id, 1, webhook="https://example.org/")
    assert store.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(jobs_table)).scalar_one()) == 0


def test_deliveries_go_with_their_job(store: Store, key_id: int, secret: str) -> None:
    with receiving(Reply(500)) as receiver:
        job = ended(store, key_id, receiver.url)
        kept = ended(store, key_id, receiver.url)
        one = sender(store)
        assert one.work()
        assert one.work()
        store.write(jobs.delete, key_id, job)
        while store.write(sweep.purge):
            pass
    left = store.read(lambda tx: tx.execute(sa.select(table.c.uuid)).scalars().all())
    assert left == [told(store, key_id, kept).id]
    attempts = store.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(delivery_attempts)).scalar_one())
    assert attempts == len(told(store, key_id, kept).attempts)


# --- attempts ---------------------------------------------------------------------------------------------------------


def test_after_an_error_it_is_tried_again_under_the_same_id(store: Store, key_id: int, secret: str) -> None:
    with receiving(Reply(500), Reply(404), Reply(200)) as receiver:
        job = ended(store, key_id, receiver.url)
        one = sender(store)
        assert [one.work(), one.work()] == [True, True]
        assert told(store, key_id, job).state == "pending"
        assert [one.work(), one.work()] == [True, False]
        came = [receiver.take() for _ in range(3)]
    assert {received.event(secret).data.id for received in came} == {job}
    assert len({(received.id, received.body) for received in came}) == 1
    delivery = told(store, key_id, job)
    assert (delivery.state, outcomes(delivery)) == (
        "delivered", [("refused", 500), ("refused", 404), ("delivered", 200)],
    )  # fmt: skip


def test_it_is_given_up_and_sent_again_on_request(store: Store, key_id: int, secret: str) -> None:
    with receiving(Reply(500), Reply(500), Reply(500), Reply(503)) as receiver:
        job = ended(store, key_id, receiver.url)
        one = sender(store)
        assert [one.work() for _ in range(4)] == [True, True, True, False]
        delivery = told(store, key_id, job)
        assert (delivery.state, delivery.next_attempt_at, len(delivery.attempts)) == ("failed", None, 3)
        again = store.write(deliveries.resend, key_id, job, delivery.id)
        assert (again.id, again.state, again.ended_at) == (delivery.id, "pending", None)
        assert [one.work() for _ in range(4)] == [True, True, True, False], "it has all of its tries again"
        assert len({receiver.take().id for _ in range(6)}) == 1
    assert outcomes(told(store, key_id, job))[2:4] == [("refused", 500), ("refused", 503)]


def test_the_schedule_says_when_the_next_attempt_is(store: Store, key_id: int, secret: str) -> None:
    date = (datetime.now(UTC) + timedelta(days=30)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    with receiving(Reply(500), Reply(429, {"Retry-After": "9000"}), Reply(503, {"Retry-After": date})) as receiver:
        job = ended(store, key_id, receiver.url)
        one = sender(store, webhook_retries="1000,2000,20000,3000")
        pauses = []
        for _ in range(3):
            assert one.work()
            assert not one.work(), "the next one is later"
            delivery = told(store, key_id, job)
            assert delivery.next_attempt_at is not None
            last = delivery.attempts[-1]
            pauses.append((delivery.next_attempt_at - last.at).total_seconds() - last.seconds)
            change(store, table, table.c.uuid == delivery.id, due_at=db_time())
        # About: between the two times that are compared lies a transaction.
        for pause, least, most in zip(pauses, (1_000, 9_000, 20_000), (1_100, 9_000, 22_000), strict=True):
            assert least - 1 <= pause <= most + PATIENCE


def test_a_receiver_that_is_gone_is_not_asked_again(store: Store, key_id: int, secret: str) -> None:
    with receiving(Reply(410)) as receiver:
        job = ended(store, key_id, receiver.url)
        one = sender(store)
        assert [one.work(), one.work()] == [True, False]
    assert (told(store, key_id, job).state, outcomes(told(store, key_id, job))) == ("failed", [("refused", 410)])


def test_what_does_not_answer_is_unreachable(store: Store, key_id: int, secret: str) -> None:
    with contextlib.closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        job = ended(store, key_id, f"http://127.0.0.1:{nobody.getsockname()[1]}/")
        assert sender(store).work()
    (attempt,) = told(store, key_id, job).attempts
    assert (attempt.outcome, attempt.status) == ("unreachable", None)
    assert "refused" in str(attempt.detail)


def test_a_name_that_no_server_can_have_is_unreachable(store: Store, key_id: int, secret: str) -> None:
    settings = ApiSettings.model_validate({"webhook_networks": LOOPBACK})
    with receiving() as receiver:
        for name in (".rebinding.test", f"{'x' * 64}.test"):
            job = ended(store, key_id, f"https://{name}:{receiver.port}/")
            resolve = Names(["127.0.0.1"], name=name) if name.startswith(".") else None
            assert sender(store, Post(settings.webhook_networks, resolve), webhook_retries="9000").work()
            assert [outcome for outcome, _ in outcomes(told(store, key_id, job))] == ["unreachable"]


def test_what_is_no_http_is_unreachable(store: Store, key_id: int, secret: str) -> None:
    def babble(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"\0\xff\xfe what?\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        babbling = threading.Thread(target=babble, args=(listening,), daemon=True)
        babbling.start()
        job = ended(store, key_id, f"http://127.0.0.1:{listening.getsockname()[1]}/")
        assert sender(store).work()
        babbling.join(PATIENCE)
    (attempt,) = told(store, key_id, job).attempts
    assert (attempt.outcome, attempt.status) == ("unreachable", None)
    assert attempt.detail == "RemoteProtocolError", "nothing of what it said"


def test_the_log_names_the_host_and_no_secret(
    store: Store, key_id: int, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(Reply(500), Reply(410)) as receiver, caplog.at_level(logging.INFO, "api.webhooks.sender"):
        job = ended(store, key_id, f"{receiver.url}/path-token?token=query-token")
        one = sender(store)
        assert [one.work(), one.work()] == [True, True]
        signature = receiver.take().headers["webhook-signature"]
    lines = [record.getMessage() for record in caplog.records if record.name == "api.webhooks.sender"]
    assert [("127.0.0.1" in line, job in line) for line in lines] == [(True, True)] * 2
    assert not [line for line in lines for hidden in (secret, signature, "-token") if hidden in line]


def test_a_redirect_is_not_followed(store: Store, key_id: int, secret: str) -> None:
    with receiving() as other, receiving(Reply(302, {"Location": other.url})) as receiver:
        job = ended(store, key_id, receiver.url)
        assert sender(store).work()
        receiver.take()
        assert other.silent
    assert outcomes(told(store, key_id, job)) == [("redirected", 302)]


def test_a_receiver_that_never_comes_to_an_end_is_left(store: Store, key_id: int, secret: str) -> None:
    """Each byte comes soon after the one before, so no read takes long."""
    stop, accepted = threading.Event(), threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        accepted.set()
        with connection, contextlib.suppress(OSError):
            for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nx: ", itertools.repeat(ord("x"))):
                connection.sendall(bytes([byte]))
                if stop.wait(0.02):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        dripping = threading.Thread(target=drip, args=(listening,), daemon=True)
        dripping.start()
        job = ended(store, key_id, f"http://127.0.0.1:{listening.getsockname()[1]}/")
        one = sender(store, webhook_seconds=2)
        while not outcomes(told(store, key_id, job)):
            assert one.work()  # or it was put back: on a machine that needed as long for the claim
        stop.set()
        assert accepted.is_set()
        dripping.join(PATIENCE)
    assert outcomes(told(store, key_id, job)) == [("timeout", None)]


def test_a_look_up_that_never_comes_to_an_end_is_left() -> None:
    stop = threading.Event()

    def looked_up(_name: str, _port: int) -> list[Address]:
        stop.wait(PATIENCE)
        return []

    with pytest.raises(httpcore.ConnectTimeout):
        Post([], looked_up).send("https://rebinding.test/", {}, b"{}", time.monotonic() + 0.2)
    stop.set()


# --- senders ----------------------------------------------------------------------------------------------------------


def test_a_sender_that_dies_leaves_its_delivery_to_the_next(store: Store, key_id: int, secret: str) -> None:
    with receiving() as receiver:
        job = ended(store, key_id, receiver.url)
        dead = store.write(deliveries.claim, PATIENCE)
        assert dead is not None
        one = sender(store)
        assert not one.work(), "it is still that one's"
        change(store, table, table.c.id == dead.id, due_at=db_time(-1))  # as if its time were over
        assert one.work()
        assert receiver.take().event(secret).data.id == job
    assert told(store, key_id, job).id == dead.uuid
    with pytest.raises(LeaseLost):  # it was not dead, but late: it changes nothing
        store.write(deliveries.note, dead, Attempt("refused", 1.0, 500), 10)
    assert (told(store, key_id, job).state, outcomes(told(store, key_id, job))) == ("delivered", [("delivered", 204)])


def test_what_was_claimed_too_late_is_put_back_and_does_not_count(store: Store, key_id: int, secret: str) -> None:
    with receiving() as receiver:
        job = ended(store, key_id, receiver.url)
        one = sender(store)
        late = store.write(deliveries.claim, PATIENCE)
        assert late is not None
        one._deliver(late, time.monotonic())
        assert receiver.silent
        assert (told(store, key_id, job).state, told(store, key_id, job).attempts) == ("pending", [])
        again = store.write(deliveries.claim, PATIENCE)
        assert again is not None
        assert (again.id, again.tries) == (late.id, late.tries)


def test_one_that_ends_its_process_every_time_is_given_up(store: Store, key_id: int, secret: str) -> None:
    with receiving() as receiver:
        job = ended(store, key_id, receiver.url)
        one = sender(store)
        for _ in range(1 + 2 + CUT_SHORT):  # the schedule of `sender` has two
            dead = store.write(deliveries.claim, PATIENCE)
            assert dead is not None
            change(store, table, table.c.id == dead.id, due_at=db_time(-1))  # as if its time were over
        assert [one.work(), one.work()] == [True, False]
        assert receiver.silent
    assert (told(store, key_id, job).state, outcomes(told(store, key_id, job))) == ("failed", [("timeout", None)])


def test_what_nobody_expected_ends_no_thread(
    store: Store, key_id: int, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    def looked_up(name: str, _port: int) -> list[Address]:
        if name == "wrong.test":
            raise ZeroDivisionError
        return [ip_address("127.0.0.1")]

    with receiving() as receiver, caplog.at_level(logging.ERROR, "api.webhooks.sender"):
        for name in ("wrong.test", "right.test"):
            ended(store, key_id, f"http://{name}:{receiver.port}/", count=1)
        networks = ApiSettings.model_validate({"webhook_networks": LOOPBACK}).webhook_networks
        one = sender(store, Post(networks, looked_up), webhook_senders=1)
        one.start()
        assert receiver.take().headers["host"] == f"right.test:{receiver.port}"
        one.stop(PATIENCE)
    said = [record for record in caplog.records if record.name == "api.webhooks.sender"]
    assert [record.exc_info[0] for record in said if record.exc_info] == [ZeroDivisionError]


def test_one_that_is_being_sent_is_not_sent_again_on_request(store: Store, key_id: int, secret: str) -> None:
    job = ended(store, key_id, "http://127.0.0.1:9/")
    claimed = store.write(deliveries.claim, PATIENCE)
    assert claimed is not None
    store.write(deliveries.resend, key_id, job, claimed.uuid)
    assert store.write(deliveries.claim, PATIENCE) is None
    store.write(deliveries.note, claimed, Attempt("delivered", 1.0, 200), None)
    assert told(store, key_id, job).state == "delivered"


def test_senders_side_by_side_send_each_once(store: Store, key_id: int, secret: str) -> None:
    with receiving() as receiver:
        made = {ended(store, key_id, receiver.url, count=1) for _ in range(12)}
        both = [sender(store, webhook_senders=2, webhook_poll_seconds=0.05) for _ in range(2)]
        for one in both:
            one.start()
        came = [receiver.take().event(secret).data.id for _ in made]
        for one in both:
            one.stop(PATIENCE)
        assert receiver.silent
    assert sorted(came) == sorted(made)
    assert {told(store, key_id, job).state for job in made} == {"delivered"}


def test_a_key_with_dead_receivers_keeps_no_other_waiting(store: Store, key_id: int, secret: str) -> None:
    other = new_key(store, "other")
    store.write(webhook_secrets.rotate, other, OVERLAP)
    for _ in range(4):
        ended(store, key_id, "http://127.0.0.1:9/", count=1)
    late = ended(store, other, "http://127.0.0.1:9/", count=1)
    first, second = store.write(deliveries.claim, PATIENCE), store.write(deliveries.claim, PATIENCE)
    assert first is not None
    assert second is not None
    assert (first.key_id, second.key_id, second.job) == (key_id, other, late)


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_while_a_secret_is_rotated_both_sign(store: Store, key_id: int, secret: str) -> None:
    with receiving() as receiver:
        new = store.write(webhook_secrets.rotate, key_id, OVERLAP).secret
        ended(store, key_id, receiver.url)
        one = sender(store)
        assert one.work()
        both = receiver.take()
        assert both.event(secret) == both.event(new)
        assert len(both.headers["webhook-signature"].split()) == 2
        listed = store.read(webhook_secrets.listed, key_id)
        assert [row.expires_at is None for row in listed] == [True, False]
        old = sa.and_(secrets_table.c.key_id == key_id, secrets_table.c.secret == secret)
        change(store, secrets_table, old, expires_at=db_time(-1))  # as if the overlap were over
        ended(store, key_id, receiver.url)
        assert one.work()
        late = receiver.take()
    assert late.event(new)
    with pytest.raises(WebhookVerificationError):
        late.event(secret)
    assert len(store.read(webhook_secrets.listed, key_id)) == 1


def test_a_secret_that_leaked_ends_at_once(store: Store, key_id: int, secret: str) -> None:
    store.write(webhook_secrets.rotate, key_id, OVERLAP)
    newest = store.write(webhook_secrets.rotate, key_id, 0).secret
    assert store.read(webhook_secrets.signing, key_id) == [newest]
    for _ in range(webhook_secrets.MOST + 2):
        newest = store.write(webhook_secrets.rotate, key_id, OVERLAP).secret
    signing = store.read(webhook_secrets.signing, key_id)
    assert (signing[0], len(signing)) == (newest, webhook_secrets.MOST)


def test_nothing_is_sent_unsigned(store: Store, key_id: int, secret: str) -> None:
    with receiving() as receiver:
        job = ended(store, key_id, receiver.url)
        store.write(lambda tx: tx.execute(sa.delete(secrets_table)))
        assert sender(store).work()
        assert receiver.silent
        assert outcomes(told(store, key_id, job)) == [("unsigned", None)]
        new = store.write(webhook_secrets.rotate, key_id, OVERLAP).secret
        assert sender(store).work()
        assert receiver.take().event(new)


# --- where to ---------------------------------------------------------------------------------------------------------


NAMES = ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.1", "[::ffff:127.0.0.1]", "0.0.0.0"]
"""All of them are this machine to the system's resolver."""


@pytest.mark.parametrize("name", NAMES)
def test_this_machine_is_not_sent_to_however_it_is_written(name: str) -> None:
    with receiving() as receiver:
        # Straight to the part that sends: some of these are refused at the door, too.

        with pytest.raises(Forbidden):
            Post([]).send(f"https://{name}:{receiver.port}/", {}, b"{}", time.monotonic() + PATIENCE)
        assert receiver.silent


def test_a_name_that_leads_inside_is_noted_as_forbidden(store: Store, key_id: int, secret: str) -> None:
    with receiving() as receiver:
        job = ended(store, key_id, f"https://localhost:{receiver.port}/")
        assert sender(store, webhook_networks="10.0.0.0/8").work()
        assert receiver.silent
    assert outcomes(told(store, key_id, job)) == [("forbidden", None)]


class Names:
    """A resolver whose answer is another one each time: the system's knows none of these names."""

    def __init__(self, *answers: list[str], name: str = "rebinding.test") -> None:
        self._answers = list(answers)
        self._name = name
        self.asked = 0

    def __call__(self, name: str, _port: int) -> list[Address]:
        assert name == self._name
        self.asked += 1
        return [ip_address(address) for address in self._answers.pop(0)]


def post(networks: list[str], names: Names) -> Callable[[str], int]:
    settings = ApiSettings.model_validate({"webhook_networks": networks})
    one = Post(settings.webhook_networks, names)
    return lambda url: one.send(url, {}, b"{}", time.monotonic() + PATIENCE).status


def test_what_is_connected_to_is_what_was_looked_at() -> None:
    """A name that is good when it is checked and leads elsewhere when it is connected to."""
    with receiving() as good, receiving(host="127.0.0.2", port=good.port) as bad:
        names = Names(["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2", "127.0.0.1"])
        send = post([LOOPBACK], names)
        url = f"http://rebinding.test:{good.port}/"
        assert send(url) == 204
        assert names.asked == 1, "asked twice, it would have been sent elsewhere"
        assert good.take().headers["host"] == f"rebinding.test:{good.port}"
        with pytest.raises(Forbidden):
            send(url)
        assert send(url) == 204, "of several addresses the good one alone is taken"
        good.take()
        assert bad.silent


def test_a_dead_address_is_passed_over() -> None:
    with receiving() as receiver:
        send = post([LOOPBACK, "127.0.0.3/32"], Names(["127.0.0.3", "127.0.0.1"]))
        assert send(f"http://rebinding.test:{receiver.port}/") == 204


def test_an_address_that_swallows_packets_leaves_time_for_the_next() -> None:
    with receiving() as receiver, contextlib.ExitStack() as stack:
        swallowing = stack.enter_context(socket.socket())
        swallowing.bind(("127.0.0.3", receiver.port))
        swallowing.listen(0)
        for _ in range(4):  # more than wait for `accept`: what comes after them is not answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.3", receiver.port))
        one = Post([ip_network(LOOPBACK), ip_network("127.0.0.3/32")], Names(["127.0.0.3", "127.0.0.1"]))
        assert one.send(f"http://rebinding.test:{receiver.port}/", {}, b"{}", time.monotonic() + 4).status == 204


def test_in_the_clear_only_to_networks_of_the_settings() -> None:

    with pytest.raises(Forbidden, match="https"):
        post([LOOPBACK], Names(["8.8.8.8"]))("http://rebinding.test/")


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver that speaks TLS, with a certificate of an authority that the environment names."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("rebinding.test").configure_cert(context)
    asked: list[str] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with receiving(tls=context) as receiver:
        receiver.url = f"https://rebinding.test:{receiver.port}/hook"
        yield receiver
    assert asked
    assert set(asked) == {"rebinding.test"}, "the name, and not the address that is connected to"


def test_over_tls_the_certificate_is_that_of_the_name(certified: Receiver) -> None:
    assert post([LOOPBACK], Names(["127.0.0.1"]))(certified.url) == 204
    assert certified.take().headers["host"] == f"rebinding.test:{certified.port}"


def test_another_names_certificate_is_refused(
    store: Store, key_id: int, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("another.test").configure_cert(context)
    with receiving(tls=context) as receiver:
        job = ended(store, key_id, f"https://rebinding.test:{receiver.port}/")
        settings = ApiSettings.model_validate({"webhook_networks": LOOPBACK})
        assert sender(store, Post(settings.webhook_networks, Names(["127.0.0.1"]))).work()
        assert receiver.silent
    (attempt,) = told(store, key_id, job).attempts
    assert attempt.outcome == "unreachable"
    assert "certificate" in str(attempt.detail)
