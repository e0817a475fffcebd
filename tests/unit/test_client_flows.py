"""The client's side of the conversation, without a socket or a clock: what is asked, when again, and when no more."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx
import pytest

from textmill import errors, wire
from textmill.documents import Chunk, Chunker, chunks
from textmill.events import EventReader
from textmill.flows import Flows
from textmill.request import Call, Flow, NextChunk, Pause, error_of

JOB = {
    "id": "j", "task": "ner", "model": "m", "state": "queued", "open": True, "options": {}, "priority": "normal",
    "metadata": {}, "counts": {"total": 0, "pending": 0, "succeeded": 0, "failed": 0, "cancelled": 0},
    "created_at": "2026-01-01T00:00:00Z", "started_at": None, "finished_at": None, "documents_per_second": None,
    "eta_seconds": None, "error": None,
}  # fmt: skip


class Play:
    """Drives a flow: `server` answers each call, or raises; pauses only move the clock."""

    def __init__(self, server: Callable[[Call], httpx.Response], **settings: Any) -> None:
        self.now = 0.0
        self.calls: list[Call] = []
        self.pauses: list[float] = []
        self.server = server
        self.flows = Flows(
            **{"patience": 60.0, "first_patience": 5.0, "compress": False, "clock": lambda: self.now, **settings}
        )

    def __call__(self, flow: Flow[Any]) -> Any:
        try:
            effect = next(flow)
            while True:
                try:
                    outcome = self.do(effect)
                except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as the clients do
                    effect = flow.throw(error)
                else:
                    effect = flow.send(outcome)
        except StopIteration as done:
            return done.value

    def do(self, effect: Any) -> Any:
        if isinstance(effect, Call):
            self.calls.append(effect)
            return self.server(effect)
        if isinstance(effect, NextChunk):
            return next(cast(Iterator[Chunk], effect.source), None)
        assert isinstance(effect, Pause)
        self.pauses.append(effect.seconds)
        self.now += effect.seconds
        return None


def ok(body: Any = None) -> httpx.Response:
    return httpx.Response(200, json=JOB if body is None else body)


def problem(cls: type[errors.TextmillError], status: int, **details: Any) -> httpx.Response:
    body = wire.Problem(type="t", title="t", status=status, code=cls.code, detail="d", details=details)
    return httpx.Response(status, content=body.model_dump_json())


def scripted(*answers: Any) -> Callable[[Call], httpx.Response]:
    rest = list(answers)

    def answer(_call: Call) -> httpx.Response:
        found = rest.pop(0)
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    return answer


REFUSED, LOST = httpx.ConnectError("refused"), httpx.ReadError("lost")


def test_what_passes_is_tried_again() -> None:
    play = Play(scripted(REFUSED, LOST, httpx.Response(502), problem(errors.StoreBusy, 503), ok()))
    assert play(play.flows.job("j")).id == "j"
    assert len(play.calls) == 5
    assert play.pauses[0] < play.pauses[-1]


def test_what_does_not_pass_is_raised_at_once() -> None:
    play = Play(scripted(problem(errors.InvalidOptions, 422, valid=["a"])))
    with pytest.raises(errors.InvalidOptions) as raised:
        play(play.flows.job("j"))
    assert (raised.value.message, raised.value.details, len(play.calls)) == ("d", {"valid": ["a"]}, 1)


def test_patience_is_short_before_the_first_answer_and_long_after_it() -> None:
    play = Play(scripted(*[REFUSED] * 100))
    with pytest.raises(errors.ServerUnreachable):
        play(play.flows.job("j"))
    assert 5 <= play.now < 20
    play = Play(scripted(ok(), *[REFUSED] * 100))
    play(play.flows.job("j"))
    with pytest.raises(errors.ServerUnreachable):
        play(play.flows.job("j"))
    assert 60 <= play.now < 75


def test_a_server_with_a_bug_is_not_asked_for_ever() -> None:
    play = Play(scripted(*[problem(errors.InternalError, 500)] * 100))
    with pytest.raises(errors.InternalError):
        play(play.flows.job("j"))
    assert len(play.calls) == 6


def test_what_the_server_puts_off_for_longer_than_the_patience_is_raised_at_once() -> None:
    full = problem(errors.DailyLimitReached, 429, left=3)
    full.headers["Retry-After"] = "50000"
    play = Play(scripted(full))
    with pytest.raises(errors.DailyLimitReached) as refusal:
        play(play.flows.job("j"))
    assert refusal.value.details == {"left": 3}


def test_retry_after_is_kept_to() -> None:
    busy = problem(errors.TooManyRequests, 429)
    busy.headers["Retry-After"] = "4"
    play = Play(scripted(busy, ok()))
    play(play.flows.job("j"))
    assert play.pauses == [4.0]


def test_answers_that_are_not_textmills() -> None:
    assert isinstance(error_of(httpx.Response(502, text="<html>")), errors.Unavailable)
    assert type(error_of(httpx.Response(404, text="<html>"))) is errors.TextmillError
    unknown = wire.Problem(type="t", title="t", status=422, code="from_the_future", detail="d")
    assert error_of(httpx.Response(422, content=unknown.model_dump_json())).message == "d"


def test_one_request_for_what_fits_into_one() -> None:
    play = Play(scripted(LOST, ok()))
    source = chunks(["a", ("x", "b")], Chunker())
    play(play.flows.submit(source, {"task": "ner", "model": None, "options": {"min_score": 0.5}}, None))
    first, again = play.calls
    assert json.loads(first.content or b"") == {
        "task": "ner", "options": {"min_score": 0.5}, "open": False,
        "documents": [{"text": "a"}, {"id": "x", "text": "b"}],
    }  # fmt: skip
    assert (first.content, first.headers) == (again.content, again.headers)
    assert len(first.headers["Idempotency-Key"]) == 36


class Server:
    """The appending side of the contract, which can lose requests and answers."""

    def __init__(self, *lose: tuple[int, str]) -> None:
        self.texts: list[str] = []
        self.closed = False
        self.cancelled = False
        self.lose = dict(lose)
        self.seen = 0

    def __call__(self, call: Call) -> httpx.Response:
        self.seen += 1
        what = self.lose.get(self.seen)
        if what == "request":
            raise REFUSED
        answer = self.answer(call)
        if what == "answer":
            raise LOST
        return answer

    def answer(self, call: Call) -> httpx.Response:
        if call.path.endswith("/close"):
            self.closed = True
        elif call.path.endswith("/cancel"):
            self.cancelled = True
        elif call.path.endswith("/documents"):
            offset = int(call.headers["Upload-Offset"])
            content = call.content or b""
            if call.headers.get("Content-Encoding") == "gzip":
                content = gzip.decompress(content)
            lines = [json.loads(line)["text"] for line in content.splitlines()]
            if "bad" in lines:
                return problem(errors.DuplicateDocument, 422)
            if offset + len(lines) <= len(self.texts):
                return ok({"accepted": 0, "total": len(self.texts)})
            if offset != len(self.texts):
                return problem(errors.UploadOffsetMismatch, 409, total=len(self.texts))
            self.texts += lines
            return ok({"accepted": len(lines), "total": len(self.texts)})
        return ok(JOB | {"counts": JOB["counts"] | {"total": len(self.texts)}})  # type: ignore[operator]


TEXTS = [f"text {number}" for number in range(95)]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "lose", [[], [(n, "request") for n in range(1, 20, 2)], [(n, "answer") for n in range(1, 20, 2)]]
)
def test_an_upload_arrives_whole_and_once(lose: list[tuple[int, str]], compress: bool) -> None:
    server = Server(*lose)
    play = Play(server, compress=compress)
    play(play.flows.submit(chunks(TEXTS, Chunker(max_documents=10)), {"task": "ner"}, "key"))
    assert (server.texts, server.closed, server.cancelled) == (TEXTS, True, False)


@pytest.mark.parametrize("stored", [0, 10, 37, 95])
def test_an_upload_goes_on_where_it_stopped(stored: int) -> None:
    server = Server()
    server.texts = TEXTS[:stored]
    play = Play(server)
    job = play(play.flows.job("j"))
    assert play(play.flows.upload(job, chunks(TEXTS, Chunker(max_documents=10)), [])) == 95
    assert server.texts == TEXTS
    sent = sum((call.content or b"").count(b"\n") for call in play.calls)
    assert sent == 95 - stored  # nothing is sent twice


def test_the_servers_total_says_how_to_go_on() -> None:
    server = Server()
    play = Play(server)
    job = play(play.flows.job("j"))  # the job as it was: 0 documents
    server.texts = TEXTS[:37]
    play(play.flows.upload(job, chunks(TEXTS, Chunker(max_documents=50)), []))
    assert server.texts == TEXTS


def test_a_server_that_lost_documents_is_an_error_and_no_loop() -> None:
    play = Play(scripted(ok({"accepted": 10, "total": 10}), problem(errors.UploadOffsetMismatch, 409, total=3)))
    with pytest.raises(errors.UploadOffsetMismatch):
        play(play.flows.upload(wire.Job.model_validate(JOB), chunks(TEXTS, Chunker(max_documents=10)), []))


def test_a_refused_document_cancels_the_job() -> None:
    server = Server()
    play = Play(server)
    with pytest.raises(errors.DuplicateDocument):
        play(play.flows.submit(chunks([*TEXTS, "bad"], Chunker(max_documents=10)), {"task": "ner"}, None))
    assert (server.cancelled, server.closed) == (True, False)


def test_an_iterable_that_raises_cancels_the_job() -> None:
    def failing() -> Any:
        yield from TEXTS
        raise OSError("the disk went away")

    server = Server()
    play = Play(server)
    with pytest.raises(OSError, match="disk"):
        play(play.flows.submit(chunks(failing(), Chunker(max_documents=10)), {"task": "ner"}, None))
    assert server.cancelled


def test_what_is_not_json_is_refused_here() -> None:
    play = Play(scripted())
    for options in ({"a": {1, 2}}, {"a": float("nan")}):
        with pytest.raises(errors.InvalidRequest, match="JSON"):
            play(play.flows.submit(chunks(["x"], Chunker()), {"task": "ner", "options": options}, None))


def test_wait_polls_until_the_end() -> None:
    states = iter(["queued", "running", "running", "completed"])
    play = Play(lambda _call: ok(JOB | {"state": next(states)}))
    assert play(play.flows.wait("j", None, None)).state == "completed"
    assert [call.params["wait"] for call in play.calls] == ["30.0"] * 4
    assert len(play.pauses) == 3  # this server did not wait: it is not asked in a rush


def test_wait_gives_up() -> None:
    def server(call: Call) -> httpx.Response:
        play.now += float(call.params.get("wait", "0"))
        return ok()

    play = Play(server)
    with pytest.raises(errors.WaitTimeout):
        play(play.flows.wait("j", 70, None))
    assert play.now == 70
    with pytest.raises(errors.WaitTimeout):
        play(play.flows.wait("j", 0, None))


def test_results_wait_for_more_while_the_job_runs() -> None:
    empty = {"results": [], "next_cursor": "c"}
    running, ended = ok(JOB | {"state": "running"}), ok(JOB | {"state": "completed"})
    play = Play(scripted(ok(empty), running, ok(empty), ended, ok({"results": [], "next_cursor": None})))
    assert play(play.flows.results("j", "c", {})).next_cursor is None
    waits = [call.params.get("wait") for call in play.calls]
    assert waits == [None, "0.5", None, "1.0", None]


def test_a_retry_whose_answer_was_lost_is_no_error() -> None:
    play = Play(scripted(LOST, problem(errors.JobNotEnded, 409), ok(JOB | {"state": "queued"})))
    assert play(play.flows.retry("j", ["worker_lost"])).state == "queued"
    play = Play(scripted(problem(errors.JobNotEnded, 409)))
    with pytest.raises(errors.JobNotEnded):
        play(play.flows.retry("j", None))
    play = Play(scripted(LOST, problem(errors.JobNotFound, 404)))
    assert play(play.flows.delete("j")) is None


def test_ids_become_one_part_of_the_path() -> None:
    play = Play(scripted(problem(errors.DocumentNotFound, 404)))
    with pytest.raises(errors.DocumentNotFound):
        play(play.flows.result("j", "../a b/é?#%"))
    assert play.calls[0].path == "/v1/jobs/j/results/%2E%2E%2Fa%20b%2F%C3%A9%3F%23%25"


def test_ctrl_c_cancels_the_job_once_and_in_a_hurry() -> None:
    def interrupted() -> Any:
        yield from TEXTS
        raise KeyboardInterrupt

    for lose, cancelled in (((), True), (((11, "request"),), False)):
        play = Play(server := Server(*lose))
        flow = play.flows.submit(chunks(interrupted(), Chunker(max_documents=10)), {"task": "ner"}, None)
        with pytest.raises(KeyboardInterrupt) as raised:
            play(flow)
        assert server.cancelled is cancelled
        assert play.calls[-1].hurried
        assert play.pauses == []
        assert [note for note in getattr(raised.value, "__notes__", ()) if "textmill cancel j" in note] == (
            [] if cancelled else ["job j stays open on the server: textmill cancel j"]
        )


def test_who_does_not_answer_is_named() -> None:
    play = Play(scripted(*[REFUSED] * 100), address="http://there:1")
    with pytest.raises(errors.ServerUnreachable, match="http://there:1 does not answer: ConnectError: refused"):
        play(play.flows.job("j"))


def test_whoever_watches_an_upload_sees_each_chunk_before_it_is_sent() -> None:
    server = Server()
    server.texts = TEXTS[:15]
    play = Play(server)
    seen: list[tuple[int, int]] = []
    job = play(play.flows.job("j"))
    watch = lambda chunk: seen.append((len(chunk.lines), len(server.texts)))  # noqa: E731
    play(play.flows.upload(job, chunks(TEXTS[:25], Chunker(max_documents=10)), [], watch))
    assert seen == [(10, 15), (10, 15), (5, 20)]


def test_acting_on_many_goes_on_until_nothing_is_left() -> None:
    steps = [{"matched": 3, "done": ["a", "b"], "left": 1}, {"matched": 1, "done": ["c"], "left": 0}]
    play = Play(scripted(*map(ok, steps)))
    acted = play(play.flows.cancel_matching({"state": "queued", "task": None}, 3))
    assert (acted.matched, acted.done, acted.left) == (3, ["a", "b", "c"], 0)
    asked = [json.loads(call.content or b"") for call in play.calls]
    assert [body["expected"] for body in asked] == [3, 1]
    assert asked[0]["state"] == ["queued"]
    assert "codes" not in asked[0]


def test_a_stream_is_opened_again_behind_its_last_event_and_not_in_a_rush() -> None:
    play = Play(scripted(REFUSED, ok({}), ok({})))
    play(play.flows.events("j", None, again=False))
    play(play.flows.events(None, "7", again=True))
    assert [call.streamed for call in play.calls] == [True] * 3
    assert [call.headers for call in play.calls] == [{}, {}, {"Last-Event-ID": "7"}]
    assert len(play.pauses) == 2, "after the refused one, and before the second stream"


LINES: list[tuple[str, list[str], str | None]] = [
    ("a comment and an event", [":", "", "event: job", "id: 1", "data: JOB", ""], "1"),
    ("only the last of several has an id", ["data: JOB", "", "id:2", "data:JOB", ""], "2"),
    ("without an id the last one holds", ["id: 3", "data: JOB", "", "data: JOB", ""], "3"),
    ("an event that breaks off leaves its id behind", ["id: 4", "data: JOB", "", "id: 5", "data: {"], "4"),
    ("an id without data is no event", ["id: 6", "", "retry: 5", ""], None),
]


@pytest.mark.parametrize(("_what", "lines", "last"), LINES)
def test_events_are_read_line_by_line(_what: str, lines: list[str], last: str | None) -> None:
    reader = EventReader()
    read = [reader.read(line.replace("JOB", json.dumps(JOB))) for line in lines]
    assert len([job for job in read if job]) == sum("JOB" in line for line in lines)
    reader.broken()
    assert reader.last_id == last
    assert reader.read("") is None, "nothing of an event that broke off is left"
