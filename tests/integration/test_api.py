"""The HTTP contract, on the real app with a real server, SQLite and PostgreSQL."""

import gzip
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest

from store import jobs, keys
from store.bulk import DocumentOutcome
from store.catalogue import load
from store.session import Store
from tests.integration.serving import Running, echo, serving, work
from textmill import tasks, wire


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store) as running:
        yield running


@pytest.fixture
def http(api: Running) -> Iterator[httpx.Client]:
    with api.http() as client:
        yield client


def job_of(documents: list[dict[str, str]] | None = None, **fields: object) -> dict[str, object]:
    return {"task": "summarization", "model": "echo", "documents": documents or [], **fields}


def texts(count: int, text: str = "text") -> list[dict[str, str]]:
    return [{"id": f"d{number}", "text": f"{text} {number}"} for number in range(count)]


def problem(response: httpx.Response, status: int, code: str) -> wire.Problem:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = wire.Problem.model_validate_json(response.content)
    assert (found.status, found.code) == (status, code), found
    return found


def until_waiting(http: httpx.Client, count: int) -> None:
    for _ in range(2_000):
        if f"textmill_http_waiting {count}.0" in http.get("/metrics").raise_for_status().text:
            return
    raise AssertionError(f"never were {count} requests waiting")


# --- a job's life -----------------------------------------------------------------------------------------------------


def test_a_job_from_submit_to_results(api: Running, http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", json=job_of(texts(3), metadata={"batch": "a"}, priority="low"))
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert set(job) == set(wire.Job.model_fields)
    assert (job["state"], job["open"], job["priority"], job["metadata"]) == ("queued", False, "low", {"batch": "a"})
    assert job["counts"] == {"total": 3, "pending": 3, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert http.get(f"/v1/jobs/{job['id']}/results").json()["results"] == []
    assert work(api.store) == 1
    ended = http.get(f"/v1/jobs/{job['id']}", params={"wait": 30}).json()
    assert ended["state"] == "completed"
    page = http.get(f"/v1/jobs/{job['id']}/results").json()
    assert page["next_cursor"] is None
    assert [(r["id"], r["position"], r["output"]) for r in page["results"]] == [
        (f"d{n}", n, {"summary_text": f"text {n}"}) for n in range(3)
    ]
    assert set(page["results"][0]) == set(wire.Result.model_fields) - {"text", "fields"}
    one = http.get(f"/v1/jobs/{job['id']}/results/d1").json()
    assert one == page["results"][1]
    lines = http.get(f"/v1/jobs/{job['id']}/results.jsonl")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == page["results"]


def test_an_open_job_takes_documents_until_it_is_closed(api: Running, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=job_of(open=True)).json()
    path = f"/v1/jobs/{job['id']}"
    assert job["open"] is True
    first = http.post(f"{path}/documents", json={"documents": texts(2)}, headers={"Upload-Offset": "0"})
    assert first.json() == {"accepted": 2, "total": 2}
    lines = b'{"text": "third"}\n\n{"text": "fail: fourth", "id": "x/../y z"}'
    ndjson = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip", "Upload-Offset": "2"}
    second = http.post(f"{path}/documents", content=gzip.compress(lines), headers=ndjson)
    assert second.json() == {"accepted": 2, "total": 4}
    again = http.post(f"{path}/documents", content=gzip.compress(lines), headers=ndjson)
    assert (again.status_code, again.json()) == (200, {"accepted": 0, "total": 4})
    gap = http.post(f"{path}/documents", json={"documents": texts(1)}, headers={"Upload-Offset": "7"})
    assert problem(gap, 409, "upload_offset_mismatch").details == {"total": 4}
    work(api.store)
    assert http.get(path).json()["state"] == "running"
    assert http.post(f"{path}/close").json()["state"] == "completed_with_errors"
    late = http.post(f"{path}/documents", json={"documents": texts(1)}, headers={"Upload-Offset": "4"})
    problem(late, 409, "job_closed")
    result = http.get(f"{path}/results/x%2F..%2Fy%20z").json()
    assert (result["state"], result["position"], result["output"]) == ("failed", 3, None)
    assert result["error"] == {"code": "processing_failed", "message": "as asked"}
    assert http.get(f"{path}/results/2").json()["output"] == {"summary_text": "third"}  # its position is its id


def test_results_while_the_job_runs_end_before_the_first_undecided_document(api: Running, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=job_of(texts(1_000))).json()  # two shards of 500
    path = f"/v1/jobs/{job['id']}/results"
    assert work(api.store, most=1) == 1
    seen: list[int] = []
    cursor: str | None = None
    for _ in range(20):
        page = http.get(path, params={"limit": 150, **({"cursor": cursor} if cursor else {})}).json()
        seen += [result["position"] for result in page["results"]]
        if page["next_cursor"] == cursor:
            break
        cursor = page["next_cursor"]
    assert seen == list(range(500))
    assert cursor is not None
    problem(http.get(f"{path}/d700"), 409, "result_not_ready")
    problem(http.get(f"{path}/nobody"), 404, "document_not_found")
    work(api.store)
    while cursor is not None:
        page = http.get(path, params={"limit": 150, "cursor": cursor}).json()
        seen += [result["position"] for result in page["results"]]
        cursor = page["next_cursor"]
    assert seen == list(range(1_000))


def test_results_can_be_asked_for_by_state(api: Running, http: httpx.Client) -> None:
    mixed = [{"text": "fail" if number % 3 == 0 else "fine"} for number in range(250)]
    job = http.post("/v1/jobs", json=job_of(mixed)).json()
    work(api.store)
    path = f"/v1/jobs/{job['id']}"
    failed = http.get(f"{path}/results", params={"state": "failed", "limit": 1_000}).json()
    assert [result["position"] for result in failed["results"]] == list(range(0, 250, 3))
    assert failed["next_cursor"] is None
    lines = http.get(f"{path}/results.jsonl", params={"state": "succeeded"}).text.splitlines()
    assert len(lines) == 250 - 84
    problem(http.get(f"{path}/results", params={"state": "odd"}), 422, "invalid_request")


def test_a_page_ends_at_its_bytes(store: Store) -> None:
    with serving(store, page_bytes=1) as api, api.http() as http:
        job = http.post("/v1/jobs", json=job_of(texts(250))).json()
        work(api.store)
        page = http.get(f"/v1/jobs/{job['id']}/results", params={"limit": 1_000}).json()
        assert len(page["results"]) == 1
        assert page["next_cursor"] is not None
        lines = http.get(f"/v1/jobs/{job['id']}/results.jsonl").text.splitlines()
        assert len(lines) == 250, "a stream goes on"


def test_cancel_retry_delete(api: Running, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=job_of([{"text": "fail"}, {"text": "fine"}])).json()
    path = f"/v1/jobs/{job['id']}"
    problem(http.delete(path), 409, "job_not_ended")
    problem(http.post(f"{path}/retry"), 409, "job_not_ended")
    work(api.store)
    problem(http.post(f"{path}/retry", json={"codes": ["worker_lost"]}), 409, "nothing_to_retry")
    problem(http.post(f"{path}/retry", json={"codes": []}), 422, "invalid_request")
    problem(http.post(f"{path}/retry", json={"code": "x"}), 422, "invalid_request")
    problem(http.post(f"{path}/retry", json={"codes": ["\0"]}), 422, "invalid_text")
    again = http.post(f"{path}/retry", json={"codes": ["processing_failed"]}).json()
    assert again["counts"] == {"total": 2, "pending": 1, "succeeded": 1, "failed": 0, "cancelled": 0}
    cancelled = http.post(f"{path}/cancel").json()
    assert (cancelled["state"], cancelled["counts"]["cancelled"]) == ("cancelled", 1)
    assert http.get(f"{path}/results").json()["results"][0]["state"] == "cancelled"
    assert http.delete(path).status_code == 204
    problem(http.get(path), 404, "job_not_found")


def test_jobs_are_listed_newest_first_in_pages(api: Running, http: httpx.Client) -> None:
    made = [http.post("/v1/jobs", json=job_of(texts(1))).json()["id"] for _ in range(5)]
    ner = http.post("/v1/jobs", json={"task": "ner", "model": "echo"}).json()
    assert ner["state"] == "completed"  # no documents, not open
    first = http.get("/v1/jobs", params={"limit": 4, "task": "summarization"}).json()
    assert [job["id"] for job in first["jobs"]] == made[:0:-1]
    rest = http.get("/v1/jobs", params={"task": "summarization", "cursor": first["next_cursor"]}).json()
    assert ([job["id"] for job in rest["jobs"]], rest["next_cursor"]) == ([made[0]], None)
    assert [job["id"] for job in http.get("/v1/jobs", params={"state": "completed"}).json()["jobs"]] == [ner["id"]]
    problem(http.get("/v1/jobs", params={"limit": 1_001}), 422, "invalid_request")
    for cursor in ("x", "", "=", "cmVzdWx0czox", "é", "a" * 10_000):
        problem(http.get("/v1/jobs", params={"cursor": cursor}), 422, "invalid_cursor")


def test_many_wait_and_all_are_woken(api: Running, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=job_of(texts(1))).json()
    found: list[str] = []

    def wait() -> None:
        with api.http() as own:
            found.append(own.get(f"/v1/jobs/{job['id']}", params={"wait": 50}).json()["state"])

    waiting = [threading.Thread(target=wait) for _ in range(20)]  # more than the api has threads
    for thread in waiting:
        thread.start()
    until_waiting(http, 20)  # all of them wait, and none takes a thread: this is still answered
    work(api.store)
    for thread in waiting:
        thread.join(240)
    assert found == ["completed"] * 20


def test_wait_ends_with_its_time(api: Running, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=job_of(texts(1))).json()
    assert http.get(f"/v1/jobs/{job['id']}", params={"wait": 0.1}).json()["state"] == "queued"
    problem(http.get(f"/v1/jobs/{job['id']}", params={"wait": -1}), 422, "invalid_request")
    problem(http.get(f"/v1/jobs/{job['id']}", params={"wait": "nan"}), 422, "invalid_request")


def test_a_stopping_server_answers_those_who_wait(store: Store) -> None:
    answers: list[httpx.Response] = []
    with serving(store) as api, api.http() as http:
        job = http.post("/v1/jobs", json=job_of(texts(1))).json()

        def wait() -> None:
            with api.http() as own:
                answers.append(own.get(f"/v1/jobs/{job['id']}", params={"wait": 50}))

        waiting = threading.Thread(target=wait)
        waiting.start()
        until_waiting(http, 1)
    waiting.join(240)
    assert [answer.json()["state"] for answer in answers] == ["queued"]


# --- keys and idempotency ---------------------------------------------------------------------------------------------


def test_a_key_is_needed_and_sees_its_own_jobs_only(api: Running, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=job_of(texts(1))).json()
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}):
        answer = httpx.post(f"{api.url}/v1/jobs", json=job_of(texts(1)), headers=header, timeout=240)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    other = api.store.write(keys.create, "other")
    with api.http(other.secret) as stranger:
        path = f"/v1/jobs/{job['id']}"
        for method, url in [
            ("GET", path), ("POST", f"{path}/cancel"), ("POST", f"{path}/close"), ("POST", f"{path}/retry"),
            ("DELETE", path), ("GET", f"{path}/results"), ("GET", f"{path}/results.jsonl"),
            ("GET", f"{path}/results/d0"),
        ]:  # fmt: skip
            problem(stranger.request(method, url), 404, "job_not_found")
        problem(stranger.post(f"{path}/documents", json={"documents": texts(1)}), 404, "job_not_found")
        assert stranger.get("/v1/jobs").json()["jobs"] == []
        api.store.write(keys.revoke, other.id)
        problem(stranger.get("/v1/jobs"), 401, "unauthorized")
    assert http.get(path).json()["state"] == "queued"


def test_good_keys_are_cached_and_bad_ones_are_not(store: Store) -> None:
    with serving(store, key_cache_seconds=600) as api, api.http() as http:
        assert http.get("/v1/jobs").status_code == 200
        secret = "chosen-elsewhere"
        with api.http(secret) as late:
            problem(late.get("/v1/jobs"), 401, "unauthorized")
            key_id = store.write(keys.add, "late", secret)
            assert late.get("/v1/jobs").status_code == 200
            store.write(keys.revoke, key_id)
            assert late.get("/v1/jobs").status_code == 200  # until the cache forgets it


def test_an_idempotency_key_makes_one_job(http: httpx.Client) -> None:
    header = {"Idempotency-Key": str(uuid.uuid4())}
    first = http.post("/v1/jobs", json=job_of(texts(2)), headers=header)
    again = http.post("/v1/jobs", json=job_of(texts(2)), headers=header)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    packed = gzip.compress(first.request.content)
    squeezed = {"Content-Encoding": "gzip", "Content-Type": "application/json", **header}
    assert http.post("/v1/jobs", content=packed, headers=squeezed).json()["id"] == first.json()["id"]
    problem(http.post("/v1/jobs", json=job_of(texts(3)), headers=header), 422, "idempotency_mismatch")
    problem(http.post("/v1/jobs", json=job_of(), headers={"Idempotency-Key": "x" * 256}), 422, "invalid_request")
    assert len(http.get("/v1/jobs").json()["jobs"]) == 1


# --- the door ---------------------------------------------------------------------------------------------------------

NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
JSON = {"Content-Type": "application/json"}


def test_what_cannot_be_stored_is_refused_with_its_place(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=job_of(open=True)).json()
    path = f"/v1/jobs/{job['id']}/documents"
    place = {"index": 1, "field": "text", "character": 2}
    for escape in (b"\\ud800", b"\\udc00", b"\\u0000", b"\xed\xa0\x80"):
        documents = b'{"text": "ok"}, {"text": "ab' + escape + b'"}'
        submit = b'{"task": "summarization", "model": "echo", "documents": [' + documents + b"]}"
        assert problem(http.post("/v1/jobs", content=submit, headers=JSON), 422, "invalid_text").details == place
        append = http.post(path, content=b'{"documents": [' + documents + b"]}", headers=JSON)
        assert problem(append, 422, "invalid_text").details == place
        lines = http.post(path, content=documents.replace(b", {", b"\n{"), headers=NDJSON)
        assert problem(lines, 422, "invalid_text").details | {"line": 2} == place | {"line": 2}
    assert http.get(f"/v1/jobs/{job['id']}").json()["counts"]["total"] == 0


def test_nothing_of_a_refused_request_is_stored(api: Running, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=job_of(texts(1), open=True)).json()
    path = f"/v1/jobs/{job['id']}/documents"
    twice = [{"id": "a", "text": "1"}, {"id": "b", "text": "2"}, {"id": "a", "text": "3"}]
    found = problem(http.post(path, json={"documents": twice}), 422, "duplicate_document_id")
    assert found.details == {"id": "a", "index": 2, "first_index": 0}
    problem(http.post(path, json={"documents": [{"id": "new", "text": ""}, *texts(1)]}), 422, "duplicate_document_id")
    broken = http.post(path, content=b'{"text": "1"}\n{"text": 2}\n', headers=NDJSON)
    assert problem(broken, 422, "invalid_request").details["line"] == 2
    broken = http.post(path, content=b'{"text": "1"}\n{"text": "2"\n', headers=NDJSON)
    assert problem(broken, 422, "invalid_request").details == {"line": 2, "column": 13, "index": 1}
    assert http.get(f"/v1/jobs/{job['id']}").json()["counts"]["total"] == 1


def test_a_document_has_the_fields_of_its_task(http: httpx.Client) -> None:
    """Also where it is appended, and its job says which task that is."""
    asked = {
        "task": "question-answering",
        "model": "echo",
        "open": True,
        "documents": [{"text": "a", "question": "Who?"}],
    }
    job = http.post("/v1/jobs", json=asked).json()
    path = f"/v1/jobs/{job['id']}/documents"
    wrong = [{"text": "b", "question": "Who?"}, {"text": "c", "question": None}]
    found = problem(http.post(path, json={"documents": wrong}), 422, "invalid_document")
    assert found.details == {"index": 1, "field": "question", "valid": ["text", "question"]}
    lines = b'{"text": "b", "question": "Who?"}\n{"text": "c", "answer": "x"}\n'
    found = problem(http.post(path, content=lines, headers=NDJSON), 422, "invalid_document")
    assert (found.details["index"], found.details["field"]) == (1, "answer")
    assert http.get(f"/v1/jobs/{job['id']}").json()["counts"]["total"] == 1
    assert http.post(path, json={"documents": wrong[:1]}).json() == {"accepted": 1, "total": 2}
    stored = http.get(path).json()["documents"]
    assert [(document["text"], document["fields"]) for document in stored] == [
        ("a", {"question": "Who?"}), ("b", {"question": "Who?"}),
    ]  # fmt: skip
    described = {task["name"]: task["document"] for task in http.get("/v1/tasks").json()["tasks"]}
    assert described["question-answering"]["properties"].keys() == {"id", "text", "question"}
    assert described["ner"]["properties"].keys() == {"id", "text"}
    said = [{"role": "user", "content": "x"}]
    talk = http.post("/v1/jobs", json=job_of([{"messages": said}], task="text-generation")).json()
    [stored] = http.get(f"/v1/jobs/{talk['id']}/documents").json()["documents"]
    assert (stored["text"], stored["fields"]) == ("", {"messages": said})
    assert described["text-generation"]["properties"].keys() == {"id", "text", "messages"}
    with_one_for_all = asked | {"options": {"question": "Why?"}, "documents": [{"text": "a"}]}
    assert http.post("/v1/jobs", json=with_one_for_all).status_code == 201


def test_a_document_that_could_not_be_read_is_taken_with_its_reason(http: httpx.Client) -> None:
    reason = {"code": "file_encrypted", "message": "a.pdf is encrypted"}
    asked = {
        "task": "question-answering", "model": "echo",  # which asks nothing of it
        "documents": [{"id": "a.pdf", "text": "", "unreadable": reason}],
    }  # fmt: skip
    job = http.post("/v1/jobs", json=asked).raise_for_status().json()
    stored = http.get(f"/v1/jobs/{job['id']}/documents").json()["documents"]
    assert stored[0]["fields"] == {"unreadable": reason}
    for wrong in (
        {"code": "file_encrypted"},
        {"code": "model_error", "message": "x"},
        "file_encrypted",
        {**reason, "x": 1},
    ):
        document = {"text": "", "unreadable": wrong}
        problem(http.post("/v1/jobs", json=asked | {"documents": [document]}), 422, "invalid_request")


WRONG: list[tuple[bytes, str]] = [
    (b"", "invalid_request"),
    (b"[]", "invalid_request"),
    (b"{", "invalid_request"),
    (b"\xff", "invalid_request"),
    (b"[" * 5_000, "invalid_request"),
    (b'{"task": "parsing"}', "invalid_request"),
    (b'{"task": "ner", "model": "echo", "documents": [{"text": "x", "texts": "y"}]}', "invalid_document"),
    (b'{"task": "question-answering", "model": "echo", "documents": [{"text": "x"}]}', "invalid_document"),
    (
        b'{"task": "question-answering", "model": "echo", "documents": [{"text": "x", "question": ["y"]}]}',
        "invalid_document",
    ),
    (
        b'{"task": "question-answering", "model": "echo", "documents": [{"text": "x", "question": "\\u0000"}]}',
        "invalid_text",
    ),
    (
        b'{"task": "ner", "model": "echo", "documents": [{"messages": [{"role": "user", "content": "x"}]}]}',
        "invalid_document",
    ),
    (b'{"task": "text-generation", "model": "echo", "documents": [{"messages": []}]}', "invalid_document"),
    (b'{"task": "text-generation", "model": "echo", "documents": [{"messages": null}]}', "invalid_request"),
    (
        b'{"task": "text-generation", "model": "echo", "documents": [{"messages": [{"role": "user"}]}]}',
        "invalid_document",
    ),
    (
        b'{"task": "text-generation", "model": "echo", "documents": [{"messages": [{"role": "tool", "content": ""}]}]}',
        "invalid_document",
    ),
    (
        b'{"task": "text-generation", "model": "echo", "documents": [{"messages": [{"role": "user", "content": 1}]}]}',
        "invalid_document",
    ),
    (
        b'{"task": "text-generation", "model": "echo", "documents": [{"text": "", "messages": [{"role": "user", '
        b'"content": "x"}]}]}',
        "invalid_request",
    ),
    (b'{"task": "zero-shot-classification", "model": "echo", "documents": [{"text": "x"}]}', "invalid_options"),
    (b'{"task": "zero-shot-classification", "model": "echo", "options": {"candidate_labels": []}}', "invalid_options"),
    (b'{"task": "text-generation", "model": "echo", "options": {"temperature": 0.5}}', "invalid_options"),
    (b'{"task": "ner", "documents": [{"id": "", "text": "x"}]}', "invalid_request"),
    (b'{"task": "ner", "metadata": {"x": NaN}}', "invalid_request"),
    (b'{"task": "ner", "metadata": {"x": "\\u0000"}}', "invalid_text"),
    (b'{"task": "ner", "metadata": {"\\udfff": 1}}', "invalid_text"),
    (b'{"task": "ner", "metadata": {"x": "' + b"y" * 20_000 + b'"}}', "invalid_request"),
    (b'{"task": "ner", "priority": "urgent"}', "invalid_request"),
    (b'{"task": "ner", "model": "echo", "callback_url": "http://example.org/"}', "invalid_webhook"),
    (b'{"task": "ner", "model": "echo", "webhook": "https://127.0.0.1/"}', "invalid_webhook"),
    (b'{"task": "ner", "model": "echo", "webhook": "https://example.org/"}', "webhook_secret_missing"),
    (b'{"task": "ner", "model": "nobody/model"}', "model_not_found"),
    (b'{"task": "ner", "model": "echo", "options": {"num_beams": 4}}', "invalid_options"),
    (b'{"task": "summarization", "model": "echo", "options": {"num_beams": "4"}}', "invalid_options"),
    (b'{"task": "summarization", "model": "echo", "options": {"do_sample": true}}', "invalid_options"),
]


def test_what_is_wrong_with_a_request(http: httpx.Client) -> None:
    for body, code in WRONG:
        problem(http.post("/v1/jobs", content=body, headers=JSON), 422, code)
    assert http.get("/v1/jobs").json()["jobs"] == []


def test_options_are_kept_under_their_canonical_names(http: httpx.Client) -> None:
    options = {"src_lang": "en", "tgt_lang": "pt", "num_beams": 2, "length_penalty": 1, "max_length": None}
    job = http.post("/v1/jobs", json={"task": "translation", "model": "echo", "options": options}).json()
    assert job["options"] == {"source_lang": "en", "target_lang": "pt", "num_beams": 2, "length_penalty": 1.0}
    wrong = http.post("/v1/jobs", json={"task": "ner", "model": "echo", "options": {"temperature": 1, "labels": "PER"}})
    found = problem(wrong, 422, "invalid_options")
    assert set(found.details["valid"]) == set(tasks.get("ner").options.model_fields)
    assert "sampling" in found.detail


CATALOGUE = """
[many]
task = "translation"
source = "hub:someone/many"
source_langs = ["en"]
target_langs = ["pt", "pt_br"]
lang_codes = { pt = "por_Latn" }
window = 512
options = { num_beams = 2, max_new_tokens = 60 }
licence = "Apache-2.0"
limitations = "A test."
default = true

[short]
task = "summarization"
source = "hub:someone/short"
window = 512
options = { min_length = 56, max_new_tokens = 200 }
licence = "Apache-2.0"
limitations = "A test."
"""

DECIDED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "translation",
        {"tgt_lang": "pt-BR"},
        {"source_lang": "en", "target_lang": "pt_br", "num_beams": 2, "max_new_tokens": 60},
    ),
    (
        "translation",
        {"target_lang": "por_Latn", "max_length": 400, "min_length": 100},
        {"source_lang": "en", "target_lang": "pt", "num_beams": 2, "max_length": 400, "min_length": 100},
    ),
    ("summarization", {"max_length": 50}, {"max_length": 50, "min_length": 25}),
    ("summarization", {}, {"max_new_tokens": 200, "min_length": 56}),
]


def test_a_jobs_options_are_decided_when_it_is_submitted(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(CATALOGUE)
    with serving(store, catalogue=load(path)) as running, running.http() as http:
        for task, asked, stored in DECIDED:
            job = http.post("/v1/jobs", json={"task": task, "options": asked}).json()
            assert job["options"] == stored
            assert http.get(f"/v1/jobs/{job['id']}").json()["options"] == stored
        lengths = {"max_length": 50, "min_length": 100}
        refused = http.post("/v1/jobs", json={"task": "summarization", "options": lengths})
        assert "min_length 100 is above max_length 50" in problem(refused, 422, "invalid_options").detail


def test_a_tasks_alias_becomes_its_name(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json={"task": "token-classification", "model": "echo"}).json()
    assert job["task"] == "ner"
    listed = http.get("/v1/jobs", params={"task": "token-classification"}).json()["jobs"]
    assert [one["id"] for one in listed] == [job["id"]]
    for refused in (http.post("/v1/jobs", json={"task": "parsing"}), http.get("/v1/jobs", params={"task": "parsing"})):
        assert "the tasks are: summarization, translation, ner" in problem(refused, 422, "invalid_request").detail


def test_bodies_have_limits(store: Store) -> None:
    limits: dict[str, Any] = {
        "max_chunk_bytes": 2_000,
        "max_chunk_documents": 5,
        "max_job_bytes": 1_000,
        "max_job_documents": 3,
    }
    with serving(store, **limits) as api, api.http() as http:
        assert problem(http.post("/v1/jobs", json=job_of(texts(4))), 413, "too_many_documents").details == {
            "maximum": 3
        }
        large = problem(http.post("/v1/jobs", json=job_of([{"text": "x" * 1_000}])), 413, "request_too_large")
        assert large.details == {"maximum": 1_000}
        job = http.post("/v1/jobs", json=job_of(open=True)).json()
        path = f"/v1/jobs/{job['id']}/documents"
        problem(http.post(path, json={"documents": texts(6)}), 413, "too_many_documents")
        problem(http.post(path, content=b'{"text": ""}\n' * 6, headers=NDJSON), 413, "too_many_documents")
        # Without a Content-Length, and hidden in gzip: 4 MB of spaces are 4 kB on the line.
        problem(http.post(path, content=iter([b"x" * 1_500, b"x" * 1_500]), headers=NDJSON), 413, "request_too_large")
        bomb = gzip.compress(b" " * 300_000)
        assert len(bomb) < 2_000
        squeezed = {**NDJSON, "Content-Encoding": "gzip"}
        problem(http.post(path, content=bomb, headers=squeezed), 413, "request_too_large")
        problem(http.post(path, content=b"not gzip", headers=squeezed), 422, "invalid_request")
        short = gzip.compress(b'{"text": "x"}')[:-9]
        problem(http.post(path, content=short, headers=squeezed), 422, "invalid_request")
        problem(
            http.post(path, content=b"x", headers={**NDJSON, "Content-Encoding": "br"}), 415, "unsupported_media_type"
        )
        problem(http.post(path, content=b"x", headers={"Content-Type": "text/csv"}), 415, "unsupported_media_type")
        two = gzip.compress(b'{"text": "x"}\n') + gzip.compress(b'{"text": "y"}\n')  # members may follow each other
        assert http.post(path, content=two, headers=squeezed).json() == {"accepted": 2, "total": 2}


def test_a_body_that_stalls_is_given_up(store: Store) -> None:
    with serving(store, body_seconds=0.2) as api, socket.create_connection(_address(api), timeout=240) as line:
        line.sendall(_head(api, 1_000) + b'{"task"')
        answer = HTTPResponse(line)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (408, "body_timeout")
        assert line.recv(1) == b"", "and the connection is closed"
        with api.http() as client:
            until_held(client, 0)


@pytest.mark.parametrize("chunked", [True, False])
def test_bodies_that_arrive_are_bounded_together(store: Store, chunked: bool) -> None:
    body = json.dumps(job_of(texts(1, "x" * 2_000))).encode()
    with serving(store, max_bodies_bytes=2_500) as api, api.http() as client:
        with socket.create_connection(_address(api), timeout=240) as line:
            line.sendall(_head(api, 2_000) + b" " * 1_500)
            until_held(client, 1_500)
            sent = iter([body[:500], body[500:]]) if chunked else body
            problem(client.post("/v1/jobs", content=sent, headers=JSON), 503, "overloaded")
        until_held(client, 0)
        assert client.post("/v1/jobs", content=body, headers=JSON).status_code == 201
        assert client.post("/v1/jobs", json=job_of(texts(1, "x" * 5_000))).status_code == 201, "one in any case"
        until_held(client, 0)


def until_held(http: httpx.Client, count: int) -> None:
    """Return when the server holds so many bytes of bodies."""
    for _ in range(2_000):
        if f"textmill_body_bytes {count}.0" in http.get("/metrics").text:
            return
    raise AssertionError(f"the server never held {count} bytes of bodies")


def _address(api: Running) -> tuple[str, int]:
    return api.server.config.host, int(api.url.rpartition(":")[2])


def _head(api: Running, length: int) -> bytes:
    lines = ("POST /v1/jobs HTTP/1.1", "Host: x", f"Authorization: Bearer {api.secret}", f"Content-Length: {length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_errors_of_the_router_are_problems_too(http: httpx.Client) -> None:
    problem(http.get("/v1/nothing"), 404, "not_found")
    problem(http.put("/v1/jobs"), 405, "method_not_allowed")
    problem(http.get("/v1/jobs/not-a-uuid"), 404, "job_not_found")
    problem(http.get("/v1/jobs/%00"), 404, "job_not_found")
    problem(http.get("/v1/jobs", params={"limit": "many"}), 422, "invalid_request")
    job = http.post("/v1/jobs", json=job_of(open=True)).json()
    path = f"/v1/jobs/{job['id']}/documents"
    problem(http.post(path, json={"documents": []}, headers={"Upload-Offset": "-1"}), 422, "invalid_request")
    problem(http.get(f"/v1/jobs/{job['id']}/results/%00"), 404, "document_not_found")


def test_catalogue_workers_health_metrics_docs(api: Running, http: httpx.Client) -> None:
    assert [model["name"] for model in http.get("/v1/models").json()["models"]] == ["echo"]
    assert http.get("/v1/workers").json() == {"workers": []}
    assert httpx.get(f"{api.url}/health/live", timeout=240).json() == {"status": "ok"}
    assert httpx.get(f"{api.url}/health/ready", timeout=240).json() == {"database": True, "broker": True}
    http.post("/v1/jobs", json=job_of(texts(2)))
    http.get("/v1/jobs/some-id")
    metrics = httpx.get(f"{api.url}/metrics", timeout=240).text
    assert "textmill_documents_accepted_total 2.0" in metrics
    assert 'textmill_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"} 1.0' in metrics
    assert 'textmill_shards_queued{model="echo"} 1.0' in metrics
    assert 'textmill_documents_waiting{model="echo"} 2.0' in metrics
    assert "# TYPE textmill_messages_published_total counter" in metrics
    assert "textmill_database_up 1.0" in metrics
    assert httpx.get(f"{api.url}/docs", timeout=240).status_code == 200
    schema = httpx.get(f"{api.url}/openapi.json", timeout=240).json()
    documents = schema["paths"]["/v1/jobs/{job_id}/documents"]["post"]["requestBody"]["content"]
    assert documents["application/x-ndjson"]["schema"]["$ref"] == "#/components/schemas/Document"
    assert {"JobRequest", "Document", "Problem", "Job", "Result"} <= set(schema["components"]["schemas"])


def test_an_error_midway_aborts_the_stream(api: Running, http: httpx.Client) -> None:
    # Larger than what sockets and buffers take, so that the server is still reading pages when the job goes away.
    job = http.post("/v1/jobs", json=job_of([{"text": "x" * 4_000} for _ in range(1_000)])).json()
    work(api.store, outcome=_verbose)
    with http.stream("GET", f"/v1/jobs/{job['id']}/results.jsonl") as answer:
        assert answer.status_code == 200
        received = answer.iter_bytes()
        next(received)
        key = api.store.read(keys.authenticate, api.secret).id
        api.store.write(jobs.delete, key, job["id"])
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in received:
                pass


def _verbose(position: int, text: str) -> DocumentOutcome:
    return echo(position, text * 10)
