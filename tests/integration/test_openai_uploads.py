"""Uploads: in pieces, within limits, whole or not at all."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from api.openai.lines import document_id, numbered, place_of
from api.openai.uploads import Cutter
from store import files
from store.session import Store, db_time
from store.tables import file_chunks
from store.tables import files as files_table
from tests.integration.openai_files import client_of, line, rows, upload
from tests.integration.serving import Running, serving
from tests.worker_process import wait_until


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """One alone, but for the test of whole files: this is about what comes in."""
    return str(request.param)


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store, max_file_bytes=3_000_000) as started:
        yield started


def post(api: Running, body: bytes, kind: str = "multipart/form-data; boundary=XX") -> httpx.Response:
    with api.http() as http:
        return http.post("/openai/v1/files", content=body, headers={"Content-Type": kind})


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"


FILE, PURPOSE, END = part("file", b"{}\n", "in.jsonl"), part("purpose", b"batch"), b"--XX--\r\n"


def test_a_large_file_comes_back_as_it_was_in_chunks_of_whole_lines(api: Running) -> None:
    lines = [line(f"r{number}", {"input": "x" * 900}) for number in range(2_000)]
    with client_of(api) as client:
        file = upload(client, lines)
        assert client.files.content(file.id).read() == "\n".join(lines).encode()
    found = api.store.read(lambda tx: tx.execute(sa.select(file_chunks.c.data)).scalars().all())
    assert len(found) > 1
    assert all(chunk.endswith(b"\n") for chunk in found[:-1])
    assert max(map(len, found)) < 1_000_000, "a chunk's worth and what the line gives at once"
    with api.http() as http:
        assert "textmill_body_bytes 0.0" in http.get("/metrics").text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (PURPOSE + FILE + END, 200, None),
        (FILE + PURPOSE + END, 200, None),  # in any order
        (FILE + END, 400, "invalid_request"),
        (PURPOSE + END, 400, "invalid_request"),
        (PURPOSE + FILE + FILE + END, 400, "invalid_request"),
        (FILE + part("purpose", b"fine-tune") + END, 400, "invalid_request"),
        (FILE + part("purpose", b"\xff") + END, 400, "invalid_request"),
        (PURPOSE + FILE + part("what", b"x") + END, 400, "invalid_request"),
        (PURPOSE + FILE + part("expires_after[seconds]", b"60") + END, 400, "invalid_request"),
        (PURPOSE + part("file", b"x", "a\0b") + END, 400, "invalid_text"),
        (PURPOSE + part("file", b"x", "n" * 600) + END, 400, "invalid_request"),
        (PURPOSE + part("note", b"x" * 70_000) + FILE + END, 413, "request_too_large"),
        (PURPOSE + FILE, 400, "invalid_request"),  # cut short
        (PURPOSE + FILE[:-2], 400, "invalid_request"),
        (b"nothing of the kind", 400, "invalid_request"),
        (b"", 400, "invalid_request"),
        (PURPOSE + part("file", b"x\n" * 1_600_000, "large") + END, 413, "request_too_large"),
    ],
)
def test_a_form_is_taken_or_refused_and_leaves_nothing(
    api: Running, body: bytes, status: int, code: str | None
) -> None:
    answer = post(api, body)
    assert (answer.status_code, answer.json().get("error", {}).get("code")) == (status, code), answer.text
    with client_of(api) as client:
        assert len(list(client.files.list())) == (1 if status == 200 else 0)
    if status != 200:
        while api.store.write(files.purge):
            pass
        assert rows(api.store, files_table, file_chunks) == [0, 0]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain; boundary=XX"])
def test_what_is_no_form_is_told_so(api: Running, kind: str) -> None:
    answer = post(api, FILE + PURPOSE + END, kind)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


def half(api: Running) -> socket.socket:
    """A line on which half a file has been sent."""
    address = (httpx.URL(api.url).host, httpx.URL(api.url).port or 0)
    head = (
        f"POST /openai/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\n"
        f"Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: 2000000\r\n\r\n"
    )
    started = part("file", b"x" * 99 + b"\n", "in.jsonl").removesuffix(b"\r\n")
    sending = socket.create_connection(address, timeout=120)
    sending.sendall(head.encode() + started + (b"y" * 99 + b"\n") * 8_000)
    return sending


def test_an_upload_that_hangs_up_leaves_nothing(api: Running) -> None:
    with contextlib.closing(half(api)):
        wait_until(lambda: rows(api.store, file_chunks)[0] > 0, "a chunk is stored", 120)
    wait_until(lambda: _purged(api.store), "nothing is left", 120)


def test_an_upload_that_stands_still_is_given_up(store: Store) -> None:
    with serving(store, body_seconds=0.5) as api, contextlib.closing(half(api)) as sending:
        assert b"408" in sending.recv(1_000)
        wait_until(lambda: _purged(api.store), "nothing is left", 120)


def _purged(store: Store) -> bool:
    store.write(files.purge)
    return rows(store, files_table, file_chunks) == [0, 0]


def test_an_upload_of_a_process_that_died_is_removed_after_a_while(store: Store, key_id: int) -> None:
    file = store.write(files.begin, key_id, "in.jsonl", "batch")
    store.write(files.add_chunk, file, 0, b"{}")
    store.write(files.expire)
    assert _purged(store) is False
    store.write(lambda tx: tx.execute(sa.update(files_table).values(touched_at=db_time(-files.UPLOAD_SECONDS - 1))))
    store.write(files.expire)
    wait_until(lambda: _purged(store), "it is gone", 120)


# --- pieces and lines -------------------------------------------------------------------------------------------------


def whole(longest: int) -> Callable[[list[bytes]], list[bytes]]:
    def cut(pieces: list[bytes]) -> list[bytes]:
        cutter = Cutter(longest)
        chunks = [chunk for piece in pieces if (chunk := cutter.add(piece)) is not None]
        return chunks + ([rest] if (rest := cutter.rest()) is not None else [])

    return cut


@given(st.lists(st.tuples(st.integers(0, 400_000), st.booleans()), max_size=8))
def test_chunks_are_the_file_and_end_with_lines(shape: list[tuple[int, bool]]) -> None:
    pieces = [b"x" * size + (b"\n" if ends else b"") for size, ends in shape]
    chunks = whole(2_000_000)(pieces)
    assert b"".join(chunks) == b"".join(pieces)
    assert all(chunk.endswith(b"\n") for chunk, _ in pairwise(chunks))


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([], []),
        ([b"a"], [(1, b"a")]),
        ([b"a\nb\n"], [(1, b"a"), (2, b"b")]),
        ([b"a\n\n \t\nb"], [(1, b"a"), (4, b"b")]),
        ([b"a\n", b"b\n", b"c"], [(1, b"a"), (2, b"b"), (3, b"c")]),
        ([b"a\rb\n"], [(1, b"a\rb")]),
        # A line that goes on in the next chunk did not fit into one: it counts once.
        ([b"xxx", b"xxx", b"x\nb\n"], [(1, None), (2, b"b")]),
        ([b"a\n", b"xxx", b"xx"], [(1, b"a"), (2, None)]),
        ([b"xxx", b"\nb"], [(1, None), (2, b"b")]),
    ],
)
def test_lines_have_their_numbers(chunks: list[bytes], lines: list[tuple[int, bytes | None]]) -> None:
    assert list(numbered(iter(chunks))) == lines


@given(st.text(min_size=1, max_size=20) | st.sampled_from(["0/1:a", "1/2:", "0/0:0/0:x", "²/3:x"]), st.integers(1, 9))
def test_an_id_is_told_again_from_its_documents(custom_id: str, count: int) -> None:
    ids = [document_id(custom_id, number, count) for number in range(count)]
    assert len(set(ids)) == count
    assert [place_of(one) for one in ids] == [(custom_id, number, count) for number in range(count)]
