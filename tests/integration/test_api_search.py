"""Finding jobs, results and documents, and acting on all that match; each key its own alone."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from store import keys, search, tallies
from store.bulk import DocumentOutcome
from store.session import Store, db_minute
from store.tables import error_counts, minutes
from tests.integration.ledger_steps import change
from tests.integration.serving import Running, echo, serving, work
from tests.integration.test_api import job_of, problem, texts
from textmill import Client, tasks, wire


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store) as running:
        yield running


@pytest.fixture
def http(api: Running) -> Iterator[httpx.Client]:
    with api.http() as client:
        yield client


@pytest.fixture
def theirs(api: Running, store: Store) -> Iterator[httpx.Client]:
    """Another key's client."""
    with api.http(store.write(keys.create, "other").secret) as client:
        yield client


def submit(http: httpx.Client, count: int = 1, **fields: Any) -> str:
    return str(http.post("/v1/jobs", json=job_of(texts(count), **fields)).raise_for_status().json()["id"])


def found(http: httpx.Client, query: str) -> list[str]:
    """All that match, page by page."""
    ids: list[str] = []
    cursor = ""
    while True:
        page = http.get(f"/v1/jobs?limit=2&{query}{cursor}").raise_for_status().json()
        assert len(page["jobs"]) <= 2
        ids += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            return ids
        cursor = f"&cursor={page['next_cursor']}"


def test_jobs_are_found_by_what_they_are(api: Running, http: httpx.Client, theirs: httpx.Client) -> None:
    done = submit(http, metadata={"batch": "a", "run": 1, "deep": {"batch": "b"}})
    work(api.store)
    other_task = submit(http, task="ner", metadata={"batch": 'quoted " and 100%', "flag": True})
    waiting = submit(http, metadata={"batch": "A"})
    submit(theirs, metadata={"batch": "a"})
    cancelled = submit(http)
    http.post(f"/v1/jobs/{cancelled}/cancel")
    accepted = http.get(f"/v1/jobs/{waiting}").json()["created_at"].replace("+", "%2B")
    expected = {
        "": [cancelled, waiting, other_task, done],
        "state=queued": [waiting, other_task],
        "state=completed&state=cancelled": [cancelled, done],
        "state=queued,completed&task=summarization": [waiting, done],
        "task=token-classification": [other_task],
        "model=echo&state=cancelled": [cancelled],
        "model=nothing": [],
        f"id={done[:3]}&state=completed": [done],
        f"id={waiting[:11].upper()}": [waiting],
        f"id={waiting}": [waiting],
        "metadata.batch=a": [done],
        "metadata.batch=a&metadata.run=1": [done],
        "metadata.run=2": [],
        "metadata.batch=b": [],
        "metadata.batch=quoted%20%22%20and%20100%25": [other_task],
        "metadata.batch=%25": [],
        "metadata.flag=true&task=ner": [other_task],
        f"created_after={accepted}": [cancelled, waiting],
        f"created_before={accepted}": [other_task, done],
        f"created_after={accepted}&created_before={accepted}": [],
        "created_after=2999-01-01T00:00:00": [],
        "created_before=1999-01-01": [],
    }
    for query, ids in expected.items():
        assert found(http, query) == ids, query
    for query in ("state=lost", "id=xyz", "id=12345678_", "created_after=soon", "task=parsing", "model=%00"):
        problem(http.get(f"/v1/jobs?{query}"), 422, "invalid_request")


def test_a_search_goes_no_further_than_it_may_and_misses_nothing(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [submit(http, metadata={"odd": n % 2}, task=("ner", "summarization")[n % 3 > 0]) for n in range(9)]
    for n in (1, 4):
        http.post(f"/v1/jobs/{ids[n]}/cancel")
    monkeypatch.setattr(search, "LOOKED_AT", 3)
    first = http.get("/v1/jobs?metadata.odd=2").json()
    assert first["jobs"] == []
    assert first["next_cursor"] is not None
    assert found(http, "metadata.odd=2") == []
    assert found(http, "metadata.odd=1") == ids[7::-2]
    assert found(http, "state=queued,cancelled&metadata.odd=0") == ids[8::-2]
    assert found(http, "task=ner&metadata.odd=0") == [ids[6], ids[0]]


def test_documents_and_results_show_their_texts(api: Running, http: httpx.Client, theirs: httpx.Client) -> None:
    documents = [{"id": "a/b", "text": "fail ü"}, {"id": "c", "text": "ok"}, {"id": "d", "text": "fail too"}]
    job = http.post("/v1/jobs", json=job_of(documents)).json()["id"]
    path = f"/v1/jobs/{job}"
    first = http.get(f"{path}/documents", params={"limit": 2}).json()
    assert first["documents"][0] == {"id": "a/b", "position": 0, "text": "fail ü", "fields": {}}
    rest = http.get(f"{path}/documents", params={"cursor": first["next_cursor"]}).json()
    assert ([document["id"] for document in rest["documents"]], rest["next_cursor"]) == (["d"], None)
    assert http.get(f"{path}/documents/a%2Fb").json()["text"] == "fail ü"
    problem(http.get(f"{path}/documents/x"), 404, "document_not_found")
    problem(http.get(f"{path}/documents", params={"cursor": "bm9uZQ"}), 422, "invalid_cursor")
    work(api.store)
    results = http.get(f"{path}/results", params={"include": "text"}).json()["results"]
    assert [result["text"] for result in results] == [document["text"] for document in documents]
    failed = http.get(f"{path}/results", params={"code": "processing_failed", "include": "text"}).json()["results"]
    assert [result["text"] for result in failed] == ["fail ü", "fail too"]
    assert http.get(f"{path}/results", params={"code": "worker_lost"}).json()["results"] == []
    assert http.get(f"{path}/results.jsonl", params={"code": "processing_failed"}).text.count("\n") == 2
    assert '"text":"ok"' in http.get(f"{path}/results.jsonl", params={"include": "text"}).text
    problem(http.get(f"{path}/results", params={"code": "x", "state": "succeeded"}), 422, "invalid_request")
    problem(http.get(f"{path}/results", params={"include": "tokens"}), 422, "invalid_request")
    for foreign in ("/documents", "/documents/c", "/results?include=text"):
        problem(theirs.get(f"{path}{foreign}"), 404, "job_not_found")


def test_with_the_text_comes_what_a_document_has_beside(store: Store) -> None:
    body = {"task": "question-answering", "model": "echo", "documents": [{"text": "t", "question": "who?"}]}
    with serving(store) as api, api.http() as http:
        path = f"/v1/jobs/{http.post('/v1/jobs', json=body).json()['id']}"
        work(store, outcome=lambda position, _: DocumentOutcome(position, '{"answers":[]}'))
        [result] = http.get(f"{path}/results?include=text").json()["results"]
        assert (result["text"], result["fields"]) == ("t", {"question": "who?"})
        assert "fields" not in http.get(f"{path}/results").json()["results"][0]
        with Client(api.url, api.secret) as mill:
            [read] = mill.job(path.rpartition("/")[2]).results(text=True)
        assert read.fields == {"question": "who?"}


def test_a_page_of_texts_ends_at_its_limit_of_bytes(store: Store) -> None:
    with serving(store, page_bytes=2_500) as api, api.http() as http:
        job = http.post("/v1/jobs", json=job_of(texts(5, "x" * 1_000))).json()["id"]
        assert len(http.get(f"/v1/jobs/{job}/documents").json()["documents"]) == 3
        work(store, outcome=lambda position, _: DocumentOutcome(position, "{}"))
        assert len(http.get(f"/v1/jobs/{job}/results").json()["results"]) == 5
        assert len(http.get(f"/v1/jobs/{job}/results?include=text").json()["results"]) == 3


def failing(code: str) -> Callable[[int, str], DocumentOutcome]:
    return lambda position, text: echo(position, text)._replace(error_code=code if text.startswith("fail") else None)


def test_errors_are_counted_by_code_and_a_retry_mends_them(api: Running, http: httpx.Client, store: Store) -> None:
    job = http.post("/v1/jobs", json=job_of(open=True)).json()["id"]
    path = f"/v1/jobs/{job}"
    for code in ("empty_document", "processing_failed"):
        http.post(f"{path}/documents", json={"documents": [{"text": "fail"}, {"text": "ok"}, {"text": "fail"}]})
        work(store, outcome=failing(code))
    both = {"empty_document": 2, "processing_failed": 2}
    assert http.post(f"{path}/close").json()["errors"] == both
    assert http.get("/v1/jobs").json()["jobs"][0]["errors"] == both
    assert http.post(f"{path}/retry", json={"codes": ["empty_document"]}).json()["errors"] == {"processing_failed": 2}
    work(store, outcome=failing("processing_failed"))
    assert http.get(path).json()["errors"] == {"processing_failed": 4}
    assert http.post(f"{path}/retry").json()["errors"] == {}
    work(store, outcome=lambda position, text: echo(position, "ok"))
    assert http.get(path).json()["errors"] == {}


def test_all_that_match_are_cancelled_or_retried_if_they_are_as_many_as_expected(
    api: Running, http: httpx.Client, theirs: httpx.Client, store: Store
) -> None:
    mine = [submit(http, metadata={"batch": "a"}) for _ in range(3)]
    rest = submit(http, metadata={"batch": "b"})
    foreign = submit(theirs, metadata={"batch": "a"})
    body = {"metadata": {"batch": "a"}}
    assert http.post("/v1/jobs/cancel", json=body).json() == {"matched": 3, "done": [], "left": 3}
    refused = problem(http.post("/v1/jobs/cancel", json={**body, "expected": 4}), 409, "match_changed")
    assert refused.details == {"matched": 3, "expected": 4}
    assert found(http, "state=cancelled") == []
    done = http.post("/v1/jobs/cancel", json={**body, "expected": 3}).json()
    assert (done["matched"], sorted(done["done"]), done["left"]) == (3, sorted(mine), 0)
    assert found(http, "state=queued") == [rest]
    assert theirs.get(f"/v1/jobs/{foreign}").json()["state"] == "queued"
    assert http.post("/v1/jobs/cancel", json={**body, "expected": 0}).json()["matched"] == 0
    assert http.post("/v1/jobs/cancel", json={"state": ["completed"]}).json()["matched"] == 0
    work(store, outcome=lambda position, text: echo(position, "fail"))
    codes = {"codes": ["processing_failed"], "state": ["failed"]}
    assert http.post("/v1/jobs/retry", json={"codes": ["worker_lost"], "state": ["failed"]}).json()["matched"] == 0
    assert http.post("/v1/jobs/retry", json={**codes, "expected": 1}).json()["done"] == [rest]
    assert http.post("/v1/jobs/retry", json={"id": mine[0], "expected": 1}).json()["done"] == [mine[0]]
    assert sorted(found(http, "state=queued")) == sorted([rest, mine[0]])
    assert theirs.post("/v1/jobs/retry", json={}).json()["matched"] == 1
    for wrong in ({"state": ["lost"]}, {"expected": -1}, {"jobs": []}, {"id": "x"}):
        problem(http.post("/v1/jobs/cancel", json=wrong), 422, "invalid_request")
    problem(http.post("/v1/jobs/cancel", json={"model": "\0"}), 422, "invalid_text")


def test_acting_on_many_goes_in_steps(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.v1.search.STEP_SECONDS", 0.0)
    for _ in range(3):
        submit(http)
    left = 3
    for expected in (2, 1, 0):
        answer = http.post("/v1/jobs/cancel", json={"expected": left}).json()
        left = answer["left"]
        assert (len(answer["done"]), left) == (1, expected)
    monkeypatch.setattr("api.v1.search.MOST_MATCHED", 1)
    for _ in range(2):
        submit(http)
    problem(http.post("/v1/jobs/cancel", json={}), 422, "invalid_request")


def test_stats_say_what_waits_and_what_was_settled_of_this_key(
    api: Running, http: httpx.Client, theirs: httpx.Client, store: Store
) -> None:
    empty = http.get("/v1/stats").json()
    assert (empty["queued"], empty["bucket_seconds"], len(empty["buckets"])) == ([], 60, 60)
    http.post("/v1/jobs", json=job_of([{"text": "fail"}, {"text": "ok"}, {"text": "ok"}]))
    submit(theirs, 2)
    work(store)
    submit(http, 4)
    for hours in (1, 24):
        stats = wire.Stats.model_validate(http.get("/v1/stats", params={"hours": hours}).json())
        assert [(q.model, q.task, q.documents, q.shards) for q in stats.queued] == [("echo", "summarization", 4, 1)]
        assert stats.queued[0].oldest_seconds >= 0
        assert sum(bucket.documents_succeeded for bucket in stats.buckets) == 2
        assert sum(bucket.documents_failed for bucket in stats.buckets) == 1
        assert [bucket.errors for bucket in stats.buckets if bucket.errors] == [{"processing_failed": 1}]
        starts = [bucket.start.timestamp() for bucket in stats.buckets]
        assert starts == [starts[0] + n * stats.bucket_seconds for n in range(len(starts))]
        assert starts[-1] <= stats.now.timestamp() < starts[-1] + stats.bucket_seconds
        assert len(starts) <= 120
    theirs_now = wire.Stats.model_validate(theirs.get("/v1/stats").json())
    assert sum(bucket.documents_succeeded for bucket in theirs_now.buckets) == 2
    assert [bucket.errors for bucket in theirs_now.buckets if bucket.errors] == []
    problem(http.get("/v1/stats?hours=0"), 422, "invalid_request")
    change(store, minutes, minutes.c.minute > 0, minute=db_minute(-25 * 3600))
    store.write(tallies.forget_minutes)
    assert store.read(lambda tx: tx.execute(minutes.select()).all()) == []


def test_counts_go_with_their_job(api: Running, http: httpx.Client, store: Store) -> None:
    from store import sweep

    job = http.post("/v1/jobs", json=job_of([{"text": "fail"}])).json()["id"]
    work(store)
    assert len(store.read(lambda tx: tx.execute(error_counts.select()).all())) == 1
    http.delete(f"/v1/jobs/{job}")
    while store.write(sweep.purge):
        pass
    assert store.read(lambda tx: tx.execute(error_counts.select()).all()) == []


def test_tasks_describe_their_options(http: httpx.Client) -> None:
    described = [wire.TaskInfo.model_validate(task) for task in http.get("/v1/tasks").json()["tasks"]]
    assert [task.name for task in described] == list(tasks.NAMES)
    for task in described:
        for name, option in task.options["properties"].items():
            assert option["description"], (task.name, name)
        assert task.output["properties"]
        assert "text" in task.document["properties"]
    assert "token-classification" in next(task for task in described if task.name == "ner").aliases
    assert {"licence", "limitations"} <= set(http.get("/v1/models").json()["models"][0])
