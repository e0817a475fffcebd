"""Webhooks as a producer meets them: by HTTP, from Python, from the command line, and in a receiver of its own."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from standardwebhooks.webhooks import WebhookVerificationError

from store import keys
from store.session import Store, db_time
from store.tables import deliveries as table
from tests.conftest import free_port
from tests.integration.ledger_steps import change
from tests.integration.receivers import Reply, receiving
from tests.integration.serving import Running, serving, work
from tests.integration.test_api_process import api as api_process
from tests.integration.test_pages import blocks
from textmill import AsyncClient, Client
from textmill.cli import main
from textmill.errors import DeliveryNotFound, InvalidRequest, InvalidWebhook, JobNotFound, WebhookSecretMissing
from textmill.webhooks import Delivery

ROOT = Path(__file__).parents[2]
PATIENCE = 240


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: what differs between the databases lies behind the api, and is tested in test_webhooks.py."""
    return str(request.param)


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    quick = {"webhook_networks": "127.0.0.1/32", "webhook_retries": "0,0", "webhook_poll_seconds": 0.02}
    quick |= {"webhook_seconds": PATIENCE}
    with serving(store, **quick) as running:
        yield running


@pytest.fixture
def mill(api: Running) -> Iterator[Client]:
    with Client(api.url, api.secret) as client:
        yield client


def until(found: Callable[[], bool]) -> None:
    """Return when it is so."""
    for _ in range(PATIENCE * 50):
        if found():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to be so")


def settled(ask: Callable[[], list[Delivery]]) -> Delivery:
    """The newest delivery, when its attempt is in the log: the receiver has it a moment earlier."""
    until(lambda: ask()[0].state != "pending")
    return ask()[0]


COUNTED = (
    'textmill_webhook_attempts_total{outcome="refused"} 1.0',
    'textmill_webhook_attempts_total{outcome="delivered"} 2.0',
    'textmill_webhooks_ended_total{state="delivered"} 2.0',
    "textmill_webhooks_overdue_seconds 0.0",
)


def test_a_producer_is_told_and_can_look_and_ask_again(api: Running, mill: Client) -> None:
    made = mill.new_webhook_secret()
    assert made.secret.startswith("whsec_")
    with receiving(Reply(500), Reply()) as receiver:
        job = mill.submit("summarization", ["a", "fail b"], model="echo", webhook=receiver.url)
        assert job.info.webhook == receiver.url
        assert job.deliveries() == []
        work(api.store)
        came = [receiver.take(), receiver.take()]
        event = came[1].event(made.secret)
        assert (event.data.id, event.data.state) == (job.id, "completed_with_errors")
        delivery = settled(job.deliveries)
        assert (delivery.id, delivery.url, delivery.type) == (came[0].id, receiver.url, "job.completed_with_errors")
        assert [attempt.status for attempt in delivery.attempts] == [500, 204]
        assert job.resend().id == delivery.id
        assert receiver.take().id == delivery.id
        until(lambda: len(job.deliveries()[0].attempts) == 3)
        with api.http() as http:
            assert http.get(f"/v1/jobs/{job.id}").json()["webhook"] == receiver.url
            until(lambda: all(line in http.get("/metrics").text for line in COUNTED))
    with pytest.raises(DeliveryNotFound):
        job.resend("msg_0")
    with pytest.raises(DeliveryNotFound):
        mill.submit("ner", ["a"], model="echo").resend()
    with pytest.raises(JobNotFound):
        mill._run(mill._flows.deliveries("0"))


def test_what_is_refused(api: Running, mill: Client) -> None:
    with pytest.raises(WebhookSecretMissing):
        mill.submit("ner", ["a"], model="echo", webhook="https://example.org/")
    mill.new_webhook_secret()
    for wrong in ("https://10.0.0.1/", "https://[::1]/", "ftp://example.org/", "https://user:pass@example.org/"):
        with pytest.raises(InvalidWebhook):
            mill.submit("ner", ["a"], model="echo", webhook=wrong)
    with pytest.raises(InvalidRequest):
        mill.new_webhook_secret(-1)
    with api.http() as http:
        body = {"task": "ner", "model": "echo", "callback_url": "https://example.org/"}
        assert http.post("/v1/jobs", json=body).json()["webhook"] == "https://example.org/"
        answer = http.post("/v1/jobs", json=body | {"webhook": "https://example.org/"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert len(list(mill.jobs())) == 1


def test_an_installation_that_sends_none_says_so(store: Store) -> None:
    with serving(store, webhook_senders=0) as api, api.http() as http:
        assert http.post("/v1/webhooks/secrets").status_code == 201
        asked = {"task": "ner", "model": "echo", "webhook": "https://example.org/"}
        answer = http.post("/v1/jobs", json=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_supported")


def test_secrets_are_shown_once_and_are_a_keys_own(api: Running, mill: Client) -> None:
    first, second = mill.new_webhook_secret(), mill.new_webhook_secret(60)
    with api.http() as http:
        listed = http.get("/v1/webhooks/secrets")
        assert first.secret not in listed.text
        assert second.secret not in listed.text
    assert [secret.id for secret in mill.webhook_secrets()] == [second.id, first.id]
    assert [secret.expires_at is None for secret in mill.webhook_secrets()] == [True, False]
    with Client(api.url, api.store.write(keys.create, "stranger").secret) as stranger:
        assert stranger.webhook_secrets() == []
        with pytest.raises(WebhookSecretMissing):
            stranger.submit("ner", ["a"], model="echo", webhook="https://example.org/")
        stranger.new_webhook_secret(0)
    assert len(mill.webhook_secrets()) == 2, "another key's rotation ends none of these"


def test_the_asynchronous_client_does_the_same(api: Running) -> None:
    async def use(url: str) -> tuple[str, Delivery, int]:
        async with AsyncClient(api.url, api.secret) as mill:
            secret = (await mill.new_webhook_secret()).secret
            job = await mill.submit("summarization", ["a"], model="echo", webhook=url)
            await asyncio.to_thread(work, api.store)
            await job.wait()
            return secret, await job.resend(), len(await mill.webhook_secrets())

    with receiving() as receiver:
        secret, delivery, secrets = asyncio.run(use(receiver.url))
        came = receiver.take()
    assert came.event(secret).type == "job.completed"
    assert (came.id, secrets) == (delivery.id, 1)


def command(api: Running, *arguments: str) -> Result:
    return CliRunner(env={"TEXTMILL_URL": api.url, "TEXTMILL_API_KEY": api.secret}).invoke(main, arguments)


def test_from_the_command_line(api: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a text\n")
    secret = command(api, "webhooks", "rotate").stdout.strip()
    command(api, "webhooks", "rotate", "--overlap-hours", "2")
    listed = command(api, "webhooks", "secrets").stdout.splitlines()
    assert [line.split("UTC  ")[1].split()[0] for line in listed] == ["signs", "signs"]
    assert "signs until" in listed[1]
    with receiving(Reply(500), Reply(500), Reply(500), Reply()) as receiver:
        asked = ("ner", "a.txt", "-m", "echo", "--webhook", receiver.url)
        job = command(api, "submit", *asked).stdout.strip()
        work(api.store)
        for _ in range(3):
            receiver.take()
        with Client(api.url, api.secret) as mill:
            settled(mill.job(job).deliveries)
            head, *attempts = command(api, "webhooks", "deliveries", job).stdout.splitlines()
            assert head.split()[1:3] == ["job.completed", "failed"]
            assert [attempt.count("refused (500) after") for attempt in attempts] == [1, 1, 1]
            sent = command(api, "webhooks", "resend", job)
            assert (sent.exit_code, sent.stdout.split()[2]) == (0, "pending")
            assert receiver.take().event(secret).data.id == job
            settled(mill.job(job).deliveries)
        assert '"state":"delivered"' in command(api, "webhooks", "deliveries", job, "--json").stdout
        unknown = command(api, "webhooks", "resend", job, "msg_0")
        assert (unknown.exit_code, "delivery_not_found" in unknown.output) == (2, True)


def test_a_run_has_a_webhook_too(api: Running, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a text\n")
    command(api, "webhooks", "rotate")
    arguments = ["run", "ner", "a.txt", "-m", "echo", "-o", "out.jsonl", "-q"]
    with receiving() as receiver:
        run = subprocess.Popen(
            [sys.executable, "-c", "from textmill.cli import main; main()", *arguments, "--webhook", receiver.url],
            cwd=tmp_path,
            env={**os.environ, "TEXTMILL_URL": api.url, "TEXTMILL_API_KEY": api.secret, "PYTHONPATH": str(ROOT)},
        )
        try:
            until(lambda: work(api.store) > 0)
            assert run.wait(PATIENCE) == 0
            assert receiver.take().body
        finally:
            run.kill()
            run.wait(PATIENCE)


def test_a_process_that_is_killed_while_it_sends_loses_nothing(store: Store) -> None:
    settings = {"TEXTMILL_WEBHOOK_NETWORKS": "127.0.0.1/32", "TEXTMILL_WEBHOOK_SECONDS": str(PATIENCE)}
    key, _ = api_process(store, "keys", "create", "producer").communicate(timeout=PATIENCE)
    port = free_port()
    process = api_process(store, TEXTMILL_PORT=str(port), **settings)
    try:
        with Client(f"http://127.0.0.1:{port}", key, first_patience=PATIENCE) as mill:
            secret = mill.new_webhook_secret().secret
            # It is killed with the request sent and the answer not yet there.
            with receiving(Reply(before=lambda: process.send_signal(signal.SIGKILL)), Reply()) as receiver:
                job = mill.submit("summarization", ["a"], model="echo", webhook=receiver.url)
                work(store)
                first = receiver.take()
                process.communicate(timeout=PATIENCE)
                change(store, table, table.c.uuid == first.id, due_at=db_time(-1))  # as if its time were over
                quick = {"webhook_networks": "127.0.0.1/32", "webhook_poll_seconds": 0.02}
                quick |= {"webhook_seconds": PATIENCE}
                with serving(store, secret=key.strip(), **quick) as other:
                    second = receiver.take()
                    with Client(other.url, key) as again:
                        delivery = settled(again.job(job.id).deliveries)
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)
    assert (first.id, first.body) == (second.id, second.body)
    assert second.event(secret).data.id == job.id
    assert (delivery.id, len(delivery.attempts)) == (second.id, 1)


def test_the_receiver_of_the_page(api: Running, mill: Client) -> None:
    (program,) = blocks("docs/http.md", "python", "standardwebhooks")
    page: dict[str, Any] = {}
    exec(program, page)
    secret = mill.new_webhook_secret().secret
    with receiving() as receiver:
        job = mill.submit("summarization", ["a"], model="echo", webhook=receiver.url)
        work(api.store)
        came = receiver.take()
    assert page["ended_job"](secret, came.body, came.headers)["id"] == job.id
    with pytest.raises(WebhookVerificationError):
        page["ended_job"](secret, came.body.replace(b"completed", b"cancelled"), came.headers)


def test_the_receiver_of_the_examples(api: Running, mill: Client) -> None:
    secret = mill.new_webhook_secret().secret
    with subprocess.Popen(
        [sys.executable, "examples/webhook_receiver.py", "0"],
        cwd=ROOT,
        env={**os.environ, "WEBHOOK_SECRET": secret},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[-1]
            job = mill.submit("summarization", ["a"], model="echo", webhook=url)
            work(api.store)
            assert process.stdout.readline().split() == [job.id, "completed", "1", "of", "1"]
            assert settled(job.deliveries).attempts[-1].status == 204
            forged = httpx.post(
                url, content=b"{}", headers={"webhook-id": "msg_1", "webhook-timestamp": "1"}, timeout=PATIENCE
            )
            assert forged.status_code == 400
        finally:
            process.kill()
