"""The Inference API with the echo model: requests, answers and errors in its own form. What the real client makes of
each task's real answers is for tests/acceptance/test_inference.py."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.hf.tasks import SHAPES, shape_of
from store import keys
from store.bulk import DocumentOutcome
from store.session import Store
from tests.integration.serving import Running, echo, serving, work
from textmill import tasks


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: what asking does to the ledger is for tests/integration/test_asking.py."""
    return str(request.param)


def long(position: int, text: str) -> DocumentOutcome:
    """Texts that begin with "long" do not fit."""
    code = {"long": "document_too_long", "lost": "worker_lost", "gone": "model_unavailable", "what": "of_tomorrow"}.get(
        text[:4]
    )
    return echo(position, text)._replace(
        **({"output": None, "error_code": code, "error_message": "so it is"} if code else {})
    )


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    done = threading.Event()

    def worker() -> None:
        while not done.wait(0.02):
            work(store, outcome=long)

    thread = threading.Thread(target=worker)
    thread.start()
    with serving(store, max_asked_documents=3) as running:
        yield running
        done.set()
        thread.join()


def post(api: Running, body: Any, path: str = "/hf/echo/pipeline/summarization", **more: Any) -> httpx.Response:
    with api.http() as http:
        return http.post(path, json=body, timeout=900, **more)


def test_one_input_or_a_list(api: Running) -> None:
    assert post(api, {"inputs": "one"}).json() == [{"summary_text": "one"}]
    assert post(api, {"inputs": ["one", "two"]}).json() == [{"summary_text": "one"}, {"summary_text": "two"}]


def test_parameters_may_stand_inside_beside_and_in_their_own_place(api: Running) -> None:
    for body in (
        {"parameters": {"generate_parameters": {"max_new_tokens": 7, "num_beams": None}}},
        {"parameters": {"max_new_tokens": 7, "truncation": "longest_first", "clean_up_tokenization_spaces": True}},
        {"max_new_tokens": 7, "options": {"wait_for_model": True}, "stream": False},
        {"parameters": None},
    ):
        answer = post(api, {"inputs": "one", **body})
        assert answer.json() == [{"summary_text": "one"}], answer.text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_request"),
        ({"inputs": 1}, 422, "invalid_request"),
        ({"inputs": []}, 422, "invalid_request"),
        ({"inputs": ["a", "b", "c", "d"]}, 413, "too_many_documents"),
        ({"inputs": "a\0"}, 422, "invalid_text"),
        ({"inputs": "a", "stream": True}, 422, "not_supported"),
        ({"inputs": "a", "parameters": {"colour": 1}}, 422, "invalid_options"),
        ({"inputs": "a", "parameters": {"colour": "\0"}}, 422, "invalid_text"),
        ({"inputs": "a", "parameters": {"num_beams": 1}, "num_beams": 2}, 422, "invalid_options"),
        ({"inputs": "a", "parameters": {"generate_parameters": 1}}, 422, "invalid_options"),
        ({"inputs": "long text"}, 422, "document_too_long"),
        ({"inputs": ["short", "lost"]}, 500, "worker_lost"),
        ({"inputs": "gone"}, 503, "model_unavailable"),
        ({"inputs": "what is this"}, 500, "processing_failed"),
    ],
)
def test_what_cannot_be_answered(api: Running, body: Any, status: int, code: str) -> None:
    answer = post(api, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"


def test_which_text_failed_is_said(api: Running) -> None:
    assert post(api, {"inputs": ["short", "long text"]}).json()["details"] == {"index": 1}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/hf/nobody", 404, "model_not_found"),
        ("/hf/echo", 422, "invalid_request"),
        ("/hf/echo/pipeline/singing", 422, "invalid_request"),
        ("/hf/echo/pipeline", 404, "not_found"),
        ("/hf", 404, "not_found"),
    ],
)
def test_addresses(api: Running, path: str, status: int, code: str) -> None:
    answer = post(api, {"inputs": "a"}, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_key_is_needed(api: Running) -> None:
    answer = httpx.post(
        f"{api.url}/hf/echo/pipeline/ner", json={"inputs": "a"}, headers={"Authorization": "Bearer no"}, timeout=240
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_that_only_reads_asks_nothing(api: Running) -> None:
    reader = api.store.write(keys.create, "reader", "reader").secret
    with api.http(reader) as http:
        answer = http.post("/hf/echo/pipeline/ner", json={"inputs": "a"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_only_json_is_read(api: Running) -> None:
    answer = post(api, None, content=b"one", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_task_without_words_of_its_own_has_the_plain_ones() -> None:
    assert set(SHAPES) <= set(tasks.NAMES)
    assert not shape_of("shout-out").listed
