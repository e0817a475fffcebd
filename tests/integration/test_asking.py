"""`ask`: the results are the answer, and no job is left behind, whatever happens. Shards are done in the store."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Body, Request

from api.faces import Face
from api.inference.asking import hung_up
from api.services import Key, KeyLimits, Services
from api.v1.errors import problem
from api.v1.face import FACE as V1
from store import events, fleeting, jobs, keys, leases
from store.jobs import NewJob
from store.session import Store, db_time
from store.tables import documents, results, shards
from store.tables import jobs as jobs_table
from tests.integration.serving import Running, serving, work
from tests.worker_process import wait_until
from textmill import wire

ROUTER = APIRouter(prefix="/toy")


@ROUTER.post("")
async def toy(
    services: Services, key: Key, limits: KeyLimits, request: Request, body: Annotated[dict[str, Any], Body()]
) -> list[wire.Result]:
    texts = [wire.Document(text=text) for text in body["texts"]]
    task, model = body.get("task", "summarization"), body.get("model", "echo")
    return await services.asking.ask(key, hung_up(request), task, texts, model, body.get("options"), limits=limits)


FACES = (V1, Face("/toy", (ROUTER,), problem, lambda schema, paths: None))


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store, faces=FACES) as running:
        yield running


def rows(store: Store) -> list[int]:
    """How much of jobs there is."""

    def count(tx: sa.Connection) -> list[int]:
        tables = (jobs_table, documents, shards, results)
        return [tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in tables]

    return store.read(count)


def nothing_is_left(store: Store) -> None:
    wait_until(lambda: rows(store) == [0, 0, 0, 0], "no row of the job is left")


def asking(api: Running, pool: ThreadPoolExecutor, *texts: str, **more: Any) -> Any:
    def post() -> httpx.Response:
        with api.http() as http:
            return http.post("/toy", json={"texts": texts, **more}, timeout=900)

    answer = pool.submit(post)
    wait_until(lambda: rows(api.store)[0] == 1 or answer.done(), "the job is there")
    return answer


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as made:
        yield made


def test_results_are_the_answer_and_nothing_is_left(api: Running, pool: ThreadPoolExecutor) -> None:
    answer = asking(api, pool, "one", "fail two", "three")
    with api.http() as http:
        assert http.get("/v1/jobs").json()["jobs"] == [], "nobody sees it"
    assert work(api.store) == 1
    response = answer.result()
    assert response.status_code == 200
    found = [
        (one["output"] and one["output"]["summary_text"], one["error"] and one["error"]["code"])
        for one in response.json()
    ]
    assert found == [("one", None), (None, "processing_failed"), ("three", None)]
    nothing_is_left(api.store)


def test_it_is_first_of_its_key(api: Running, pool: ThreadPoolExecutor) -> None:
    answer = asking(api, pool, "one")
    with api.store.engine.connect() as tx:
        assert tx.execute(sa.select(jobs_table.c.priority)).scalar_one() == 0
    work(api.store)
    assert answer.result().status_code == 200


def test_who_waits_too_long_is_told(store: Store) -> None:
    with serving(store, faces=FACES, ask_seconds=0.2) as api, api.http() as http:
        response = http.post("/toy", json={"texts": ["one"]})
        assert (response.status_code, response.json()["code"]) == (504, "answer_timeout")
        assert "no live worker serves echo" in response.json()["detail"]
        nothing_is_left(store)


def test_who_hangs_up_leaves_nothing(api: Running) -> None:
    with socket.create_connection(("127.0.0.1", int(api.url.rsplit(":", 1)[1]))) as line:
        body = json.dumps({"texts": ["one"]}).encode()
        head = (
            f"POST /toy HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\nContent-Type: application/json\r\n"
        )
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: rows(api.store)[0] == 1, "the job is there")
        # A worker has it already: what it does comes to nothing.
        with api.store.engine.connect() as tx:
            shard = tx.execute(sa.select(shards.c.id)).scalar_one()
        lease = api.store.write(leases.claim, shard, "tester")
    nothing_is_left(api.store)
    assert lease is not None
    with pytest.raises(leases.LeaseLost):
        api.store.write(leases.settle, lease, [], True)


def test_what_is_refused_was_never_a_job(store: Store) -> None:
    with serving(store, faces=FACES, max_asked_documents=2) as api, api.http() as http:
        for body, status, code in (
            ({"texts": []}, 422, "invalid_request"),
            ({"texts": ["a", "b", "c"]}, 413, "too_many_documents"),
            ({"texts": ["a\0b"]}, 422, "invalid_text"),
            ({"texts": ["a"], "options": {"colour": 1}}, 422, "invalid_options"),
            ({"texts": ["a"], "model": "nobody"}, 422, "model_not_found"),
            ({"texts": ["a"], "task": "question-answering"}, 422, "invalid_document"),
        ):
            response = http.post("/toy", json=body)
            assert (response.status_code, response.json()["code"]) == (status, code)
        nothing_is_left(store)


def test_limits_of_the_key_hold(store: Store) -> None:
    secret = store.write(keys.create, "limited", "producer", keys.Limits(documents_per_day=1)).secret
    with serving(store, faces=FACES) as api, api.http(secret) as http:
        refused = http.post("/toy", json={"texts": ["one", "two"]})
        assert (refused.status_code, refused.json()["code"]) == (429, "daily_limit_reached")
    nothing_is_left(store)


def test_a_process_holds_so_many(store: Store, pool: ThreadPoolExecutor) -> None:
    other = store.write(keys.create, "other").secret
    with serving(store, faces=FACES, max_asking=2, max_asking_of_key=1) as api:
        waiting = [asking(api, pool, "one")]
        with api.http() as http, api.http(other) as http_of_other:
            refused = http.post("/toy", json={"texts": ["two"]})
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
            waiting.append(pool.submit(http_of_other.post, "/toy", json={"texts": ["three"]}, timeout=900))
            wait_until(lambda: rows(store)[0] == 2, "both are there")
            third = store.write(keys.create, "third").secret
            with api.http(third) as http_of_third:
                refused = http_of_third.post("/toy", json={"texts": ["four"]})
                assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            work(store)
            assert [each.result().status_code for each in waiting] == [200, 200]
    nothing_is_left(store)


def test_a_server_that_stops_says_so(store: Store, pool: ThreadPoolExecutor) -> None:
    with serving(store, faces=FACES) as api:
        answer = asking(api, pool, "one")
        threading.Thread(target=lambda: setattr(api.server, "should_exit", True)).start()
        response = answer.result()
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")


def test_of_jobs_that_are_given_up_one_that_cannot_be_removed_keeps_no_other(
    store: Store, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failing = fleeting.forget, iter([RuntimeError("so it is")])

    def forget(tx: sa.Connection, key_id: int, job_id: str) -> None:
        for error in failing:
            raise error
        real(tx, key_id, job_id)

    monkeypatch.setattr(fleeting, "forget", forget)
    with serving(store, faces=FACES) as api, api.http() as http:
        given_up = [pool.submit(http.post, "/toy", json={"texts": ["a text"]}, timeout=900) for _ in range(3)]
        wait_until(lambda: rows(store)[0] == 3, "the jobs are there")
        api.server.should_exit = True
        assert [answer.result().status_code for answer in given_up] == [503] * 3
    assert rows(store)[0] == 1


def test_what_a_dead_api_leaves_the_sweep_forgets(store: Store, key_id: int) -> None:
    def submit(**more: Any) -> str:
        return store.write(jobs.submit, NewJob(key_id, "ner", "echo", **more), [(None, "text")]).job.id

    kept, fleeting_job, ended = submit(), submit(expires_seconds=60), submit(expires_seconds=60)
    work(store, most=1)
    assert not store.write(fleeting.forget_expired)
    with store.engine.begin() as tx:
        tx.execute(sa.update(jobs_table).where(jobs_table.c.expires_at.is_not(None)).values(expires_at=db_time(-1)))
    assert [store.write(fleeting.forget_expired) for _ in range(3)] == [True, True, False]
    with store.engine.connect() as tx:
        assert tx.execute(sa.select(jobs_table.c.uuid)).scalars().all() == [kept]
    assert rows(store)[1:] == [1, 1, 1]
    store.write(fleeting.forget, key_id, fleeting_job)  # once more is harmless
    store.write(fleeting.forget, key_id, ended)


@pytest.mark.parametrize("most", ["NEWEST_ACTIVE", "AT_ONCE", "MOST_ENDED"])
def test_fleeting_jobs_keep_none_from_whoever_listens(
    store: Store, key_id: int, monkeypatch: pytest.MonkeyPatch, most: str
) -> None:
    def submit(**more: Any) -> str:
        return store.write(jobs.submit, NewJob(key_id, "ner", "echo", **more), [(None, "text")]).job.id

    [_, kept, _] = submit(expires_seconds=60), submit(), submit(expires_seconds=60)
    since = None
    if most == "MOST_ENDED":
        since = store.read(lambda tx: tx.execute(sa.select(db_time(-60))).scalar_one())
        work(store)
    for limit in ("NEWEST_ACTIVE", "AT_ONCE", "MOST_ENDED"):
        monkeypatch.setattr(events, limit, 1 if limit == most else 0)
    ask = events.Ask(0 if most == "AT_ONCE" else None, ended_since=since)
    heard = store.read(events.look, {key_id: ask}, []).of_keys
    assert [one.job.id for one in heard] == [kept]
