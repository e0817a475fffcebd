"""Nobody sees or changes what another key has: every call of the app, found in its routes, is tried with foreign ids.

A call with a job's id in its path is tried by itself. Any other call has to be named below, with what it may show.
"""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from store import keys
from store.session import Store
from tests.integration.openai_files import begin, client_of, line, until
from tests.integration.serving import Running, serving, work

TEXT = "a text that only its owner may read"
DOCUMENT = "the-owners-document"

OPEN = {"/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/docs/{path}"}
"""Answered without a key: nothing of any job is in there."""

SHARED = {
    ("GET", "/v1/models"), ("GET", "/v1/tasks"), ("GET", "/v1/workers"), ("GET", "/openai/v1/models"),
    ("GET", "/openai/v1/models/{model}"),
}  # fmt: skip
"""The same for every key: nothing of any job is in there."""

OWN = {
    ("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("POST", "/v1/jobs/cancel"), ("POST", "/v1/jobs/retry"),
    ("GET", "/v1/stats"), ("GET", "/v1/events"), ("GET", "/openai/v1/files"), ("POST", "/openai/v1/files"),
    ("GET", "/openai/v1/batches"), ("POST", "/openai/v1/batches"), ("POST", "/openai/v1/embeddings"),
    ("POST", "/openai/v1/completions"), ("POST", "/openai/v1/chat/completions"), ("POST", "/hf/{model}"),
    ("POST", "/hf/{model}/pipeline/{task}"), ("GET", "/v1/webhooks/secrets"), ("POST", "/v1/webhooks/secrets"),
}  # fmt: skip
"""They name no job, and are about the caller's alone: each has a test below (the events, which have no end, in
test_api_events.py, those of /openai in test_openai_requests.py, that of /hf in test_asking.py, those of webhooks in
test_webhook_calls.py)."""

IDS = {"{job_id}": "job_not_found", "{file_id}": "file_not_found", "{batch_id}": "batch_not_found"}
"""What is somebody's own, and what is said of it to others."""

OPERATORS = {
    ("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", "/v1/keys/{key_id}"), ("PATCH", "/v1/keys/{key_id}"),
    ("DELETE", "/v1/keys/{key_id}"), ("POST", "/v1/keys/{key_id}/rotate"),
}  # fmt: skip
"""Refused to every other key: see test_keys.py."""

BODIES = {("POST", "/v1/jobs/{job_id}/documents"): {"documents": [{"text": "put in by a stranger"}]}}
"""What a call is sent that would be refused without a body."""

NOBODY = {
    "{job_id}": "00000000-0000-4000-8000-000000000000",
    "{file_id}": f"file-{'0' * 32}",
    "{batch_id}": f"batch_{'0' * 32}",
}


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """One alone: who owns a job is asked in statements that are the same on both."""
    return str(request.param)


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store) as running:
        yield running


@pytest.fixture
def jobs(api: Running) -> list[str]:
    """The owner's jobs: one that has ended, with a failure; one that is open."""
    made = []
    with api.http() as owner:
        for more, name in (({}, "mine"), ({"open": True}, "mine too")):
            documents = [{"id": DOCUMENT, "text": TEXT}, {"id": "other", "text": f"fail {TEXT}"}]
            body = {"task": "summarization", "model": "echo", "documents": documents, "metadata": {"of": TEXT}, **more}
            made.append(owner.post("/v1/jobs", json=body, headers={"Idempotency-Key": name}).json()["id"])
            work(api.store)
    return made


@pytest.fixture
def things(api: Running, jobs: list[str]) -> list[tuple[str, str]]:
    """All that is the owner's: (what an address calls it, its id)."""
    requests = [line("a", {"input": TEXT}), line("b", {"input": f"fail {TEXT}"})]
    with client_of(api) as owner:
        batch = until(owner, begin(owner, requests), meanwhile=lambda: work(api.store))
    files = [("{file_id}", file) for file in (batch.input_file_id, batch.output_file_id, batch.error_file_id)]
    return [*(("{job_id}", job) for job in jobs), *files, ("{batch_id}", batch.id)]


def code_of(answer: httpx.Response) -> str:
    """Of an error, in the form of each face."""
    told = answer.json()
    inner = told.get("error")
    return str((inner if isinstance(inner, dict) else told)["code"])


def calls(api: Running) -> list[tuple[str, str]]:
    """(method, path) of each call that the app answers."""
    app = api.server.config.app
    assert isinstance(app, FastAPI)
    described = {(m.upper(), path) for path, methods in app.openapi()["paths"].items() for m in methods}
    routed = {
        (method, getattr(route, "path_format", getattr(route, "path", "")))
        for route in app.routes
        for method in (getattr(route, "methods", None) or {"GET"}) - {"HEAD", "OPTIONS"}
    }
    return sorted((described | routed) - {("GET", "")})


def filled(path: str, kind: str = "", name: str = "") -> str:
    path = path.replace("{document_id}", DOCUMENT).replace("{delivery_id}", f"msg_{'0' * 32}")
    path = path.replace("{path}", "swagger-ui.css").replace("{model}", "echo")
    for other, nobody in NOBODY.items():
        path = path.replace(other, name if other == kind else nobody)
    return path


def read(owner: httpx.Client, things: list[tuple[str, str]]) -> list[str]:
    """All that is in files and batches."""
    shown = [owner.get(f"/openai/v1/batches/{name}") for kind, name in things if kind == "{batch_id}"]
    for kind, name in things:
        if kind == "{file_id}":
            shown += [owner.get(f"/openai/v1/files/{name}"), owner.get(f"/openai/v1/files/{name}/content")]
    return [answer.raise_for_status().text for answer in shown]


def seen(owner: httpx.Client, job: str) -> dict[str, object]:
    """The job, but for what time changes."""
    return {
        name: value for name, value in owner.get(f"/v1/jobs/{job}").json().items() if name != "documents_per_second"
    }


def test_every_call_is_accounted_for(api: Running) -> None:
    found = calls(api)
    assert len([path for _, path in found if "{job_id}" in path]) >= 9
    named = [call for call in found if any(kind in call[1] for kind in IDS)]
    known = SHARED | OWN | OPERATORS
    unknown = [call for call in found if call not in named and call not in known and call[1] not in OPEN]
    assert unknown == [], "what may these show, and to whom?"
    parameters = {part for _, path in found if path not in OPEN for part in path.split("/") if part.startswith("{")}
    assert parameters <= {*IDS, "{document_id}", "{delivery_id}", "{model}", "{task}", "{key_id}"}, (
        "an id that nobody tries here"
    )


def test_what_is_anothers_answers_like_what_is_not_there(
    api: Running, jobs: list[str], things: list[tuple[str, str]]
) -> None:
    stranger = api.store.write(keys.create, "stranger").secret
    with api.http() as owner, api.http(stranger) as other:
        before = [seen(owner, job) for job in jobs], read(owner, things)
        for kind, name in things:
            for method, path in calls(api):
                if kind in path:
                    told = [
                        other.request(method, filled(path, kind, asked), json=BODIES.get((method, path)))
                        for asked in (name, NOBODY[kind])
                    ]
                    assert [answer.status_code for answer in told] == [404, 404], (method, path, told[0].text)
                    assert code_of(told[0]) == IDS[kind], (method, path)
                    assert told[0].text.replace(name, NOBODY[kind]) == told[1].text, (method, path)
        assert ([seen(owner, job) for job in jobs], read(owner, things)) == before
        assert owner.get(f"/v1/jobs/{jobs[0]}/results").json()["results"][0]["output"] == {"summary_text": TEXT}


def test_without_a_good_key_nothing_is_told_of_ids(api: Running, things: list[tuple[str, str]]) -> None:
    revoked = api.store.write(keys.create, "revoked")
    api.store.write(keys.revoke, revoked.id)
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {revoked.secret}"}):
        with httpx.Client(base_url=api.url, headers=header, timeout=240) as nobody:
            for method, path in calls(api):
                if path not in OPEN:
                    kind, name = next((thing for thing in things if thing[0] in path), ("", ""))
                    answer = nobody.request(method, filled(path, kind, name), json=BODIES.get((method, path)))
                    assert answer.status_code == 401, (method, path)
                    assert code_of(answer) == "unauthorized"


def test_what_is_open_or_shared_shows_no_job(api: Running, jobs: list[str]) -> None:
    stranger = api.store.write(keys.create, "stranger").secret
    with api.http(stranger) as other, httpx.Client(base_url=api.url, timeout=240) as nobody:
        asked = [other.get(filled(path)) for _, path in SHARED] + [nobody.get(filled(path)) for path in OPEN]
    for answer in asked:
        assert answer.status_code == 200, answer.url
        assert not [told for told in (*jobs, TEXT, DOCUMENT, api.secret) if told in answer.text], answer.url


def test_a_list_shows_the_callers_jobs_whatever_it_is_asked(api: Running, jobs: list[str]) -> None:
    stranger = api.store.write(keys.create, "stranger").secret
    with api.http() as owner, api.http(stranger) as other:
        cursor = owner.get("/v1/jobs", params={"limit": 1}).json()["next_cursor"]
        assert cursor is not None
        for asked in ({}, {"cursor": cursor}, {"state": "completed_with_errors"}, {"task": "summarization"}):
            assert other.get("/v1/jobs", params=asked).json()["jobs"] == [], asked


def test_what_acts_on_all_that_match_and_what_counts_is_about_the_callers_jobs(api: Running, jobs: list[str]) -> None:
    stranger = api.store.write(keys.create, "stranger").secret
    with api.http() as owner, api.http(stranger) as other:
        before = [seen(owner, job) for job in jobs]
        for call in ("cancel", "retry"):
            for asked in ({}, {"expected": 0}, {"id": jobs[0], "expected": 0}):
                answer = other.post(f"/v1/jobs/{call}", json=asked).raise_for_status().json()
                assert (answer["matched"], answer["done"]) == (0, []), (call, asked)
        told, mine = other.get("/v1/stats"), owner.get("/v1/stats")
        assert [seen(owner, job) for job in jobs] == before
    assert told.status_code == mine.status_code == 200
    assert '"documents_succeeded":2' in mine.text
    assert '"documents_succeeded":2' not in told.text


def test_idempotency_keys_are_a_keys_own(api: Running, jobs: list[str]) -> None:
    stranger = api.store.write(keys.create, "stranger").secret
    with api.http(stranger) as other:
        body = {"task": "summarization", "model": "echo", "documents": [{"text": "x"}]}
        answer = other.post("/v1/jobs", json=body, headers={"Idempotency-Key": "mine"})
    assert answer.status_code == 201
    assert answer.json()["id"] not in jobs
