"""What somebody sends who means ill: it is refused, in bounded time and memory, and leaves nothing in the log."""

import gzip
import json
import logging
import socket
from collections.abc import Iterator

import httpx
import pytest

from api import protocol
from store.session import Store
from store.settings import StoreSettings
from tests.integration.serving import Running, serving, work
from tests.proxy import proxied

CLIENT_SIDE = ("httpx", "httpcore", "asyncio")
"""Loggers of the test's own part."""

TEXT = "a text that nobody else may read"


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """One alone: this is about what comes in front."""
    return str(request.param)


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store) as running:
        yield running


def connected(api: Running) -> socket.socket:
    host, _, port = api.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=240)


def everything(line: socket.socket) -> bytes:
    """What comes until the other end closes."""
    return b"".join(iter(lambda: line.recv(65_536), b""))


@pytest.mark.parametrize("sent", [b"", b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n", b"GET /v1/jo"])
def test_a_head_that_stalls_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with serving(store) as api, connected(api) as line:
        line.sendall(sent)
        assert everything(line).startswith(b"HTTP/1.1 408 ")


def test_a_second_request_on_the_line_has_its_time_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    with serving(store) as api, connected(api) as line:
        line.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/jobs HTTP/1.1\r\nHost: ")
        first, _, rest = everything(line).partition(b'{"status":"ok"}')
        assert first.startswith(b"HTTP/1.1 200 ")
        assert rest.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "header", [b"X-Long: " + b"x" * 1_000_000, b"\r\n".join(b"X-%d: x" % n for n in range(100_000))]
)
def test_a_head_without_an_end_is_cut(api: Running, header: bytes) -> None:
    with connected(api) as line:
        try:
            line.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + header)
            assert everything(line).startswith(b"HTTP/1.1 431 ")
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused while we were still sending
    with api.http() as http:
        assert http.get("/health/live").status_code == 200


def test_a_long_head_that_is_within_bounds_is_taken(api: Running) -> None:
    with api.http() as http:
        assert http.get("/v1/jobs", headers={"X-Long": "x" * 30_000}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"task": "ner", "documents": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"task": "ner", "metadata": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"task": "ner", "metadata": {"n": ' + b"9" * 100_000 + b"}}",
        b'{"task": "ner", "metadata": {"n": 1e999999}}',
        b"\xff\xfe" * 1_000,
    ],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_deep_or_huge_json_is_refused(api: Running, body: bytes, encoding: str) -> None:
    sent = gzip.compress(body) if encoding == "gzip" else body
    with api.http() as http:
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        assert http.post("/v1/jobs", content=sent, headers=headers).status_code == 422


def test_gzip_in_gzip_is_not_unpacked_twice(api: Running) -> None:
    bomb = gzip.compress(gzip.compress(b" " * 10_000_000))
    with api.http() as http:
        for encoding in ("gzip, gzip", "gzip,gzip", "x-gzip"):
            assert http.post("/v1/jobs", content=bomb, headers={"Content-Encoding": encoding}).status_code == 415
        assert http.post("/v1/jobs", content=bomb, headers={"Content-Encoding": "gzip"}).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/v1/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/docs/..%2f..%2fetc/passwd",
        "//etc/passwd", "/v1/jobs/..%2f..%2f", "/v1//jobs/x", "/v1/jobs/%2e%2e/models", "/v1/jobs/a%00b",
        "/v1/jobs/%ff%fe", "/v1/jobs;x=1/a", "/V1/jobs/a", "/v1/jobs/" + "a" * 20_000, "/v1/jobs/'%20OR%201=1--",
    ],
)  # fmt: skip
def test_paths_lead_nowhere_else(api: Running, path: str) -> None:
    with connected(api) as line:
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\nConnection: close\r\n\r\n"
        line.sendall(head.encode())
        answer = everything(line)
    assert answer.split(b" ", 2)[1] in (b"404", b"422"), answer[:200]
    assert b"root:" not in answer


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_path_writes_no_lines_into_the_log(
    database_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody has to have a key for that, and a request that fails is logged."""
    proxy, url = proxied(database_url)
    store = Store(url, StoreSettings(database_url=url, redis_url=redis_url, database_patience_seconds=0.1))
    with serving(store) as api, api.http() as http:
        proxy.cut()
        answer = http.get("/v1/jobs/x%0aERROR%20forged%0d%1b[31m")
    proxy.close()
    store.close()
    assert answer.status_code == 503
    logged = [record.getMessage() for record in caplog.records if record.name == "api.errors"]
    assert len(logged) == 1
    assert "forged" in logged[0]
    assert logged[0].isprintable()


def test_neither_texts_nor_keys_are_logged_measured_or_told_in_errors(
    api: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    with api.http() as http:
        good = {"task": "summarization", "model": "echo", "documents": [{"id": "a", "text": TEXT}]}
        job = http.post("/v1/jobs", json={**good, "open": True}, headers={"Idempotency-Key": TEXT}).json()["id"]
        for wrong in (
            {**good, "documents": [{"id": "a", "text": f"{TEXT}\0"}]},
            {**good, "documents": [{"id": "a", "text": TEXT}, {"id": "a", "text": TEXT}]},
            {**good, "documents": [{"id": "a", "text": [TEXT]}]},
            {**good, "documents": TEXT},
            {**good, "documents": [{"text": TEXT, "more": TEXT}]},
        ):
            told.append(http.post("/v1/jobs", content=json.dumps(wrong), headers={"Content-Type": "application/json"}))
        told.append(http.post("/v1/jobs", content=json.dumps(good)[:-2].encode()))
        told.append(http.post(f"/v1/jobs/{job}/documents", json={"documents": [{"id": "a", "text": TEXT}]}))
        told.append(
            httpx.get(f"{api.url}/v1/jobs", headers={"Authorization": f"Bearer {TEXT} {api.secret}"}, timeout=240)
        )
        work(api.store)
        assert http.get(f"/v1/jobs/{job}/results").json()["results"][0]["output"] == {"summary_text": TEXT}
        metrics = http.get("/metrics").text
    assert {answer.status_code for answer in told} <= {401, 409, 422}
    logged = "\n".join(
        logging.Formatter().format(record) for record in caplog.records if not record.name.startswith(CLIENT_SIDE)
    )
    for secret in (TEXT, api.secret):
        assert [answer.text for answer in told if secret in answer.text] == []
        assert secret not in logged
        assert secret not in metrics
