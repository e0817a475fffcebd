"""What OpenAI's client may ask for, alone and in a batch's lines, and what is refused and how."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from store import keys
from store.session import Store, db_time
from store.tables import documents
from store.tables import jobs as jobs_table
from store.tables import orders as orders_table
from tests.integration.openai_files import (
    PATIENCE,
    begin,
    client_of,
    counts,
    line,
    read,
    rows,
    texts,
    until,
)
from tests.integration.serving import serving, work
from tests.worker_process import running, wait_until

MakeStore = Callable[..., Store]


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """One alone: this is about what comes in and what goes out."""
    return str(request.param)


# --- what is refused --------------------------------------------------------------------------------------------------

GOOD = line("good", {"input": "a good text"})

BAD_LINES: dict[str, tuple[str | bytes, str]] = {
    "no json": ("{", "invalid_request"),
    "a list": ("[]", "invalid_request"),
    "no id": (json.dumps({"method": "POST", "url": "/v1/summarization", "body": {}}), "invalid_request"),
    "an id that is too long": (line("x" * 257, {"input": "x"}), "invalid_request"),
    "the same id": (GOOD, "duplicate_document_id"),
    "no body": (json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/summarization"}), "invalid_request"),
    "a body that is a text": (
        json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/summarization", "body": "x"}), "invalid_request",
    ),
    "GET": (GOOD.replace("POST", "GET").replace('"good"', '"get"'), "invalid_request"),
    "another url": (line("b", {"input": "x"}, url="/v1/embeddings"), "invalid_request"),
    "no input": (line("c", {}), "invalid_request"),
    "an input that is a number": (line("d", {"input": 1}), "invalid_request"),
    "an unknown model": (line("e", {"input": "x", "model": "gpt-99"}), "model_not_found"),
    "an unknown option": (line("f", {"input": "x", "no_such_option": 1}), "invalid_options"),
    "an option of a wrong type": (line("g", {"input": "x", "num_beams": "two"}), "invalid_options"),
    "NUL in a text": (line("h", {"input": "a\0b"}), "invalid_text"),
    "NUL in an id": (line("i\0", {"input": "x"}), "invalid_text"),
    "NUL in an option's name": (line("j", {"input": "x", "a\0": 1}), "invalid_text"),
    "half a surrogate": (line("k", {"input": "X"}).replace('"X"', '"\\ud800"'), "invalid_text"),
    "no UTF-8": (line("l", {"input": "X"}).encode().replace(b"X", b"\xff"), "invalid_request"),
    "too long": (line("m", {"input": "x" * 300_000}), "request_too_large"),
    "a nesting without an end": (b"[" * 100_000, "invalid_request"),
}  # fmt: skip


def test_each_bad_line_is_in_the_error_file_by_its_number_and_harms_no_other(store: Store) -> None:
    lines: list[str | bytes] = [GOOD, "", *(bad for bad, _ in BAD_LINES.values()), " \t", line("last", {"input": "z"})]
    with serving(store, max_chunk_bytes=290_000) as api, client_of(api) as client:
        batch = until(client, begin(client, lines), meanwhile=lambda: work(api.store))
        content = client.files.content(batch.error_file_id).text.splitlines()
        assert set(read(client, batch.output_file_id)) == {"good", "last"}
    found = {one["line"]: one["error"]["code"] for one in map(json.loads, content)}
    expected = {number: code for number, (_, code) in enumerate(BAD_LINES.values(), start=3)}
    names = dict(enumerate(BAD_LINES, start=3))
    assert {names[number]: code for number, code in found.items()} == {
        names[number]: code for number, code in expected.items()
    }
    assert (batch.status, counts(batch)) == ("completed", (len(BAD_LINES) + 2, 2, len(BAD_LINES)))


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([""], "invalid_request"),
        (["\n \n"], "invalid_request"),
        (texts(6), "too_many_documents"),
        ([line("many", {"input": ["a"] * 6}, url="/v1/embeddings")], "too_many_documents"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_runs_nothing(store: Store, lines: list[str], code: str) -> None:
    endpoint = "/v1/embeddings" if "embeddings" in lines[0] else "/v1/summarization"
    with serving(store, max_batch_lines=5) as api, client_of(api) as client:
        batch = until(client, begin(client, lines, endpoint))
        assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
        assert batch.errors is not None
        assert [error.code for error in batch.errors.data or []] == [code]
        assert batch.failed_at is not None
    assert rows(store, documents, jobs_table) == [0, 0]


def test_a_batch_of_bad_lines_alone_fails_and_tells_why(store: Store) -> None:
    with serving(store, max_batch_jobs=1) as api, client_of(api) as client:
        batch = until(client, begin(client, ["{", line("a", {"input": 1})]))
        assert (batch.status, counts(batch), batch.output_file_id) == ("failed", (2, 0, 2), None)
        assert batch.errors is not None
        assert [(error.line, error.code) for error in batch.errors.data or []] == [
            (1, "invalid_request"), (2, "invalid_request"),
        ]  # fmt: skip
        assert len(client.files.content(batch.error_file_id).text.splitlines()) == 2
        # One combination of model and options is let in, and each further one refused.
        several = [line(str(beams), {"input": "x", "num_beams": beams}) for beams in (1, 2, 1, 3)]
        batch = until(client, begin(client, several), meanwhile=lambda: work(api.store))
        assert counts(batch) == (4, 1, 3), "the third has the id of the first"


def test_what_we_cannot_do_is_refused_by_name(store: Store) -> None:
    hello: list[Any] = [{"role": "user", "content": "Hello"}]
    tool: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {}}}
    refused: list[tuple[str, dict[str, Any]]] = [
        ("stream", {"stream": True}), ("n", {"n": 2}), ("logprobs", {"logprobs": True}), ("tools", {"tools": [tool]}),
        ("stop", {"stop": "."}), ("temperature", {"temperature": 0.7}), ("top_p", {"top_p": 0.5}),
        ("presence_penalty", {"presence_penalty": 1}), ("logit_bias", {"logit_bias": {"5": 1}}),
        ("response_format", {"response_format": {"type": "json_object"}}),
    ]  # fmt: skip
    with serving(store) as api, client_of(api) as client:
        for param, more in refused:
            with pytest.raises(openai.BadRequestError) as caught:
                client.chat.completions.create(model="echo", messages=hello, **more)
            assert (caught.value.param, caught.value.code) == (param, "not_supported"), more
        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model="echo", input=[[1, 2], [3]])
        assert caught.value.code == "not_supported"
        with pytest.raises(openai.NotFoundError) as missing:
            client.embeddings.create(model="text-embedding-3-small", input="x")
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-99")
        with pytest.raises(openai.AuthenticationError) as unknown:
            client_of(api, "wrong").models.list()
        assert unknown.value.code == "unauthorized"
        with pytest.raises(openai.BadRequestError) as nowhere:
            begin(client, [GOOD], "/v1/moderations")
        assert nowhere.value.param == "endpoint"
        with pytest.raises(openai.BadRequestError):
            begin(client, [GOOD], completion_window="soon")
        for said in ({"input_file_id": "file-nothing"}, {"input_file_id": "file-" + "0" * 32}):
            with pytest.raises(openai.NotFoundError) as gone:
                client.batches.create(endpoint="/v1/ner", completion_window="24h", **said)  # type: ignore[arg-type]
            assert gone.value.code == "file_not_found"


def test_answers_of_each_endpoint_and_at_once(store: Store, tmp_path: Path) -> None:
    """OpenAI's three in OpenAI's form, alone and in batches, and tasks by their own names."""
    with serving(store) as api, client_of(api) as client, running(api.store, tmp_path):
        one = client.embeddings.create(model="echo", input="four")  # as base64, which the client asks for by itself
        two = client.embeddings.create(model="echo", input=["a", "bcd"], encoding_format="float")
        assert [item.embedding for item in (*one.data, *two.data)] == [[4.0], [1.0], [3.0]]
        assert [item.index for item in two.data] == [0, 1]
        assert two.usage.total_tokens == two.usage.prompt_tokens > 0

        text = client.completions.create(model="echo", prompt=["once", "upon"], max_tokens=9, temperature=0)
        assert [(choice.index, choice.text, choice.finish_reason) for choice in text.choices] == [
            (0, "once", "stop"), (1, "upon", "stop"),
        ]  # fmt: skip
        asked: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
        said = client.chat.completions.create(model="echo", messages=asked, seed=3, temperature=0.5)
        assert said.object == "chat.completion"
        assert said.choices[0].message.role == "assistant"
        assert "Hello" in (said.choices[0].message.content or "")

        assert [model.id for model in client.models.list()] == ["echo"]
        assert client.models.retrieve("echo").owned_by == "textmill"

        bodies: dict[str, list[dict[str, Any]]] = {
            "/v1/embeddings": [{"input": ["a", "bcd"]}, {"input": "four", "encoding_format": "base64"}],
            "/v1/chat/completions": [{"messages": asked}],
            "/v1/completions": [{"prompt": ["once", "upon"]}],
            "/v1/ner": [{"input": "Ada"}],
            "/v1/question-answering": [{"input": "Ada wrote.", "question": "Who?"}],
        }
        began = {
            url: begin(client, [line(f"{number}/1:{url}", body, url) for number, body in enumerate(asked_for)], url)
            for url, asked_for in bodies.items()
        }
        ended = {url: until(client, batch) for url, batch in began.items()}
        answers = {url: read(client, batch.output_file_id) for url, batch in ended.items()}
    answered = {
        url: [lines[f"{number}/1:{url}"]["response"]["body"] for number in range(len(bodies[url]))]
        for url, lines in answers.items()
    }
    assert [[item["embedding"] for item in body["data"]] for body in answered["/v1/embeddings"]] == [
        [[1.0], [3.0]], ["AACAQA=="],
    ]  # fmt: skip
    assert [choice["text"] for choice in answered["/v1/completions"][0]["choices"]] == ["once", "upon"]
    assert "Hello" in answered["/v1/chat/completions"][0]["choices"][0]["message"]["content"]
    assert answered["/v1/ner"][0]["output"] == {"entities": []}
    assert [answer["answer"] for answer in answered["/v1/question-answering"][0]["output"]["answers"]] != []


def test_a_batch_whose_time_is_over_ends_with_what_was_done(make_store: MakeStore) -> None:
    store = make_store(first_shard_characters=200, unserved_shards=2)
    with serving(store) as api, client_of(api) as client:
        batch = until(client, begin(client, texts(100)), ["in_progress"])
        wait_until(lambda: work(store, most=1) == 1, "a shard is done", PATIENCE)
        wait_until(lambda: rows(store, documents) == [100], "all lines are documents", PATIENCE)
        store.write(lambda tx: tx.execute(sa.update(orders_table).values(expires_at=db_time(-1))))
        ended = until(client, batch)
        assert ended.status == "expired"
        assert ended.expired_at is not None
        assert 0 < ended.request_counts.completed < 100
        not_run = read(client, ended.error_file_id)
        assert {one["error"]["code"] for one in not_run.values()} == {"batch_expired"}
        assert len(not_run) + ended.request_counts.completed == 100


def test_a_batch_of_which_a_job_was_deleted_says_so(store: Store) -> None:
    with serving(store) as api, client_of(api) as client:
        batch = until(client, begin(client, texts(3)), ["in_progress"])
        with api.http() as http:
            wait_until(lambda: len(http.get("/v1/jobs").json()["jobs"]) == 1, "its job is there", PATIENCE)
            job = http.get("/v1/jobs").json()["jobs"][0]["id"]
            http.post(f"/v1/jobs/{job}/cancel").raise_for_status()
            http.delete(f"/v1/jobs/{job}").raise_for_status()
        ended = until(client, batch)
        # Seen by the clerk as cancelled or as deleted, by when it looked.
        assert ended.status in ("failed", "completed")
        if ended.status == "failed":
            assert ended.errors is not None
            assert [error.code for error in ended.errors.data or []] == ["job_not_found"]
        for file_id in filter(None, (ended.output_file_id, ended.error_file_id)):
            with pytest.raises(openai.NotFoundError) as caught:
                client.files.content(file_id)
            assert caught.value.code == "file_not_found"


def test_a_stranger_has_none_of_it(store: Store) -> None:
    with serving(store) as api, client_of(api) as client:
        batch = until(client, begin(client, [GOOD]), meanwhile=lambda: work(api.store))
        with client_of(api, api.store.write(keys.create, "stranger").secret) as stranger:
            assert list(stranger.files.list()) == list(stranger.batches.list()) == []
            with pytest.raises(openai.NotFoundError):
                stranger.batches.create(
                    input_file_id=batch.input_file_id, endpoint="/v1/summarization", completion_window="24h"
                )
