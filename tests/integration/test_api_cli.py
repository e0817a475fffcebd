"""The command line against the real api."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet as pq

from store import workers
from store.bulk import DocumentOutcome
from store.session import Store
from store.workers import WorkerRow
from tests.conftest import free_port
from tests.integration.serving import Running, echo, serving, work
from textmill import Client, cli
from textmill.files.jsonl import result_line

TIMEOUT = 120


@pytest.fixture
def api(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.chdir(tmp_path)
    with serving(store) as running:
        yield running


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: what differs between the databases lies behind the api, and is tested there."""
    return str(request.param)


def environment(url: str, key: str) -> dict[str, str]:
    return {
        **os.environ,
        "TEXTMILL_URL": url,
        "TEXTMILL_API_KEY": key,
        "PYTHONPATH": str(Path(cli.__file__).parents[1]),
    }


def start(api: Running, *arguments: str, stdin: int | None = None) -> "subprocess.Popen[str]":
    # A shell that runs these tests in the background has them ignore SIGINT, and what they start inherits it.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return subprocess.Popen(
        [sys.executable, "-c", f"{heed}; from textmill.cli import main; main()", *arguments],
        env=environment(api.url, api.secret), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(api: Running, *arguments: str, code: int = 0, given: str | None = None) -> str:
    """The command in this process, which spares a second a call; `start` is for what needs one of its own."""
    result = CliRunner().invoke(cli.main, arguments, input=given, env=environment(api.url, api.secret))
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if code in (0, 1) else result.stderr


class Worker:
    """Works until the block ends."""

    def __init__(self, store: Store, outcome: Callable[[int, str], DocumentOutcome] = echo) -> None:
        self.store = store
        self.outcome = outcome
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.done.wait(0.01):
            work(self.store, outcome=self.outcome)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def say(api: Running, *arguments: str) -> str:
    """What the command tells on the standard error where all succeeded."""
    result = CliRunner().invoke(cli.main, arguments, env=environment(api.url, api.secret))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stderr


def cursor_after_one(api: Running, job_id: str) -> str:
    """Where the second result begins."""
    with api.http() as http:
        return str(http.get(f"/v1/jobs/{job_id}/results?limit=1").json()["next_cursor"])


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_run_writes_results_and_knows_its_job(api: Running, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(f"text {name}")
    command = ["run", "summarization", "*.txt", "-m", "echo", "-O", "num_beams=2", "-o", "out/results.jsonl"]
    with Worker(api.store):
        run(api, *command)
    out = tmp_path / "out" / "results.jsonl"
    assert [(line["id"], line["output"]) for line in lines(out)] == [
        ("a.txt", {"summary_text": "text a"}),
        ("b.txt", {"summary_text": "text b"}),
    ]
    notes = json.loads((tmp_path / "out" / "results.jsonl.job").read_text())
    with Client(api.url, api.secret) as mill:
        assert mill.job(notes["job_id"]).info.options == {"num_beams": 2}
        run(api, *command)  # nothing is left to do
        assert "other files" in run(api, *command, "-O", "num_beams=3", code=2)
        (tmp_path / "a.txt").write_text("changed")
        assert "other files" in run(api, *command, code=2)
        (tmp_path / "a.txt").write_text("fail")
        with Worker(api.store):
            run(api, *command, "--restart", code=1)
        assert len(list(mill.jobs())) == 2
    assert [line["state"] for line in lines(out)] == ["failed", "succeeded"]
    (tmp_path / "mine.txt").write_text("not to be overwritten")
    assert "has content" in run(api, "run", "ner", "a.txt", "-m", "echo", "-o", "mine.txt", code=2)
    assert (tmp_path / "mine.txt").read_text() == "not to be overwritten"


def test_a_run_that_was_refused_can_be_mended(api: Running, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    command = ["run", "summarization", "a.txt", "-m", "echo", "-o", "out.jsonl"]
    assert "invalid_options" in run(api, *command, "-O", "beams=3", code=2)
    with Worker(api.store):
        run(api, *command)
    assert len(lines(tmp_path / "out.jsonl")) == 1


def test_an_interrupted_run_goes_on(api: Running, tmp_path: Path) -> None:
    count = 2_500
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(count)))
    command = ["run", "summarization", "in.jsonl", "-m", "echo", "-o", "out.jsonl"]
    out = tmp_path / "out.jsonl"
    process = start(api, *command)
    with Client(api.url, api.secret) as mill:
        given_up = time.monotonic() + TIMEOUT  # a busy machine takes its time to start the command
        worked = 0
        while time.monotonic() < given_up:
            worked += work(
                api.store, most=min(1, 3 - worked)
            )  # three of five shards: the run cannot end before it is told
            if out.exists() and out.read_text().count("\n") >= 500:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130, err
        assert "goes on from here" in err
        with out.open("a") as torn:
            torn.write('{"id": "torn')
        with Worker(api.store):
            run(api, *command)
        assert len(list(mill.jobs())) == 1
    assert [line["position"] for line in lines(out)] == list(range(count))


def test_an_interrupted_upload_goes_on(api: Running, tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(30)]
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n")
    command = ["run", "summarization", "in.txt", "--format", "lines", "-m", "echo", "-o", "out.jsonl"]
    from textmill import notes
    from textmill.digest import digest_of
    from textmill.files.parts import Parts

    read = digest_of(Parts(None, text) for text in texts[:7])
    # As a run leaves it that was killed in the middle of its upload.
    with Client(api.url, api.secret) as mill:
        plan = notes.plan("summarization", ["in.txt"], "lines", "echo", "normal", None, {})
        job = mill.open_job("summarization", model="echo", idempotency_key="k")
        job.upload(texts[:7])
        place = notes.Place(server=mill.url, plan=plan, idempotency_key="k", job_id=job.id, read=read)
        (tmp_path / "out.jsonl.job").write_text(place.model_dump_json())
        with Worker(api.store):
            run(api, *command)
        assert len(list(mill.jobs())) == 1
    assert [line["output"] for line in lines(tmp_path / "out.jsonl")] == [{"summary_text": text} for text in texts]
    # And one whose job was closed by the server before it came back.
    with Client(api.url, api.secret) as mill:
        job = mill.open_job("summarization", model="echo").upload(texts[:7]).close()
        place = notes.Place(server=mill.url, plan=plan, idempotency_key="k", job_id=job.id, read=read)
        (tmp_path / "out.jsonl.job").write_text(place.model_dump_json())
    assert "closed with 7 of 30" in run(api, *command, code=2)
    # The same number of documents, and others: a file that could not be read then.
    with Client(api.url, api.secret) as mill:
        other = [*texts[:-1], "other"]
        job = mill.open_job("summarization", model="echo").upload(other).close()
        read = digest_of(Parts(None, text) for text in other)
        for open_again in (False, True):
            if open_again:
                job = mill.open_job("summarization", model="echo").upload(other)
            place = notes.Place(server=mill.url, plan=plan, idempotency_key="k", job_id=job.id, read=read)
            (tmp_path / "out.jsonl.job").write_text(place.model_dump_json())
            assert "other documents" in run(api, *command, code=2)
    read = digest_of(Parts(None, text) for text in texts[:7])
    # And one that is given up.
    with Client(api.url, api.secret) as mill:
        job = mill.open_job("summarization", model="echo").upload(texts[:7])
        place = notes.Place(server=mill.url, plan=plan, idempotency_key="k", job_id=job.id, read=read)
        (tmp_path / "out.jsonl.job").write_text(place.model_dump_json())
        with Worker(api.store):
            run(api, *command, "--restart")
        assert job.refresh().state == "cancelled"


def test_submit_status_wait_results_cancel_retry_jobs_models_workers(api: Running) -> None:
    job_id = run(api, "submit", "summarization", "-", "-m", "echo", "--priority", "high", given="fail\nfine\n").strip()
    assert f"{job_id}  summarization  echo  queued  0/2 documents" in run(api, "status", job_id)
    assert json.loads(run(api, "status", job_id, "--json"))["priority"] == "high"
    run(api, "wait", job_id, "--timeout", "0.1", code=1)
    work(api.store)
    assert "completed_with_errors" in run(api, "wait", job_id, code=1)
    found = [json.loads(line) for line in run(api, "results", job_id, code=1).splitlines()]
    assert [result["state"] for result in found] == ["failed", "succeeded"]
    run(api, "results", job_id, "--state", "succeeded", "-o", "fine.jsonl", code=1)
    assert [line["output"] for line in lines(Path("fine.jsonl"))] == [{"summary_text": "fine"}]
    assert "1/2 documents" in run(api, "retry", job_id, "--code", "processing_failed")
    assert "job_not_ended" in run(api, "delete", job_id, code=2)
    assert "cancelled" in run(api, "cancel", job_id)
    header, line = run(api, "jobs", "--state", "cancelled").splitlines()
    assert (header.split()[0], line.split()[0]) == ("JOB", job_id[:8])
    assert json.loads(run(api, "status", job_id[:8], "--json"))["id"] == job_id
    assert json.loads(run(api, "jobs", "--json"))["id"] == job_id
    assert run(api, "jobs", "--task", "ner") == ""
    assert "1 documents of the job were cancelled, and would be processed, too: --cancelled" in run(
        api, "retry", job_id, code=2
    )
    for command, code in (("wait", 1), ("retry --cancelled", 0), ("cancel", 0)):
        assert json.loads(run(api, *command.split(), job_id, "--json", code=code))["id"] == job_id
    run(api, "delete", job_id)
    assert "job_not_found" in run(api, "delete", job_id, code=2)
    assert run(api, "models").startswith("echo  any task")
    assert json.loads(run(api, "models", "--json"))["name"] == "echo"
    assert run(api, "workers") == ""
    api.store.write(workers.register, WorkerRow("w", "host", 7, "cpu", ("echo",), 1, "machine"))
    assert run(api, "workers") == "host:7  cpu  0% busy  no model loaded\n"
    api.store.write(workers.heartbeat, "w", ["echo"], 0.5, draining=True)
    assert run(api, "workers") == "host:7  cpu  50% busy, draining  echo\n"
    assert json.loads(run(api, "workers", "--json"))["draining"] is True
    assert "job_not_found" in run(api, "status", "nobody", code=2)


def test_a_job_is_named_by_the_beginning_of_its_id(api: Running) -> None:
    ids = [run(api, "submit", "ner", "-", "-m", "echo", given="x\n").strip() for _ in range(17)]  # two begin alike
    first = next(one[0] for one in ids if sum(one[0] == other[0] for other in ids) > 1)
    assert f"more than one id begins with {first}" in run(api, "cancel", first, code=2)
    for nobody in ("", "..", "nobody", "0" * 36):  # a variable of a shell that is not set, among others
        assert "job_not_found" in run(api, "cancel", nobody, code=2)
    assert "an operator names those of other keys by whole ids" in run(api, "cancel", "0" * 8, code=2)
    assert ids[0] in run(api, "cancel", ids[0][:30])
    assert {line.split()[0] for line in run(api, "jobs").splitlines()[1:]} == {one[:8] for one in ids}


def test_results_on_the_standard_output(api: Running) -> None:
    texts = "".join(f"text {n}\n" for n in range(1_200)) + "fail\n"
    with Worker(api.store):
        found = run(api, "run", "summarization", "-", "-m", "echo", "-o", "-", given=texts, code=1)
        table = run(api, "run", "summarization", "-", "-m", "echo", "-o", "-", "--to", "csv", given="a\n")
    assert [json.loads(line)["position"] for line in found.splitlines()] == list(range(1_201))
    assert [row["summary_text"] for row in csv.DictReader(table.splitlines())] == ["a"]
    assert not Path("-").exists()
    for option in ("--join", "--restart", "--split=x", "--json", "--to=parquet"):
        assert "-o" in run(api, "run", "summarization", "-", "-o", "-", option, code=2, given="x\n")
    result = CliRunner().invoke(
        cli.main, ["run", "ner", "-", "-m", "echo", "-o", "-"], input="", env=environment(api.url, api.secret)
    )
    assert (result.exit_code, result.stdout) == (0, "")
    assert "completed, 0 documents" in result.stderr


def test_whose_results_nobody_reads_on_is_told_where_they_are(api: Running, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    process = start(api, "run", "summarization", "a.txt", "-m", "echo", "-o", "-", "-q")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with Worker(api.store), Client(api.url, api.secret) as mill, process.stderr:
        said = process.stderr.read()
        [job] = mill.jobs()
        assert (process.wait(TIMEOUT), said) == (1, f"textmill: job {job.id} goes on: textmill results {job.id}\n")


def test_what_runs_and_submits_say_to_programs(api: Running, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    submitted = json.loads(run(api, "submit", "summarization", "a.txt", "-m", "echo", "--json"))
    assert (submitted["state"], submitted["counts"]["total"]) == ("queued", 1)
    with Worker(api.store):
        ended = json.loads(run(api, "run", "summarization", "a.txt", "-m", "echo", "-o", "o.jsonl", "--json"))
        run(api, "delete", ended["id"])
        again = json.loads(run(api, "run", "summarization", "a.txt", "-m", "echo", "-o", "o.jsonl", "--json"))
    assert (ended["state"], ended["counts"]["succeeded"]) == ("completed", 1)
    assert again == {
        **{name: ended[name] for name in ("id", "state", "finished_at", "errors")}, "counts": {"succeeded": 1},
    }  # fmt: skip


def test_nobody_answers_is_3(api: Running) -> None:
    away = Running(f"http://127.0.0.1:{free_port()}", "key", api.store, api.server)
    said = run(away, "models", code=3)
    assert "server_unreachable" in said
    assert f"{away.url} does not answer" in said


def test_another_standard_input_is_refused_and_the_same_one_goes_on(api: Running, tmp_path: Path) -> None:
    command = ["run", "summarization", "-", "-m", "echo", "-o", "out.jsonl"]
    with Worker(api.store):
        run(api, *command, given="one\ntwo\n")
    before = (tmp_path / "out.jsonl").read_bytes()
    for other in ("one\nthree\n", "one\n", "one\ntwo\nthree\n", ""):
        assert "--restart" in run(api, *command, given=other, code=2)
    assert (tmp_path / "out.jsonl").read_bytes() == before
    run(api, *command, given="one\ntwo\n")
    with Worker(api.store):
        run(api, *command, "--restart", given="three\n")
    assert [line["output"] for line in lines(tmp_path / "out.jsonl")] == [{"summary_text": "three"}]


def test_an_interrupted_upload_of_the_standard_input_goes_on(api: Running, tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(2_500)]
    whole = "\n".join(texts) + "\n"
    command = ["run", "summarization", "-", "-m", "echo", "-o", "out.jsonl"]
    process = start(api, *command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("\n".join(texts[:1_200]) + "\n")  # more than one chunk; the rest never comes
    process.stdin.flush()
    with Client(api.url, api.secret) as mill:
        given_up = time.monotonic() + TIMEOUT
        while time.monotonic() < given_up and [job.counts.total for job in mill.jobs()] != [1_000]:
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130, err
        for other in (whole.replace("text 7\n", "text seven\n"), "\n".join(texts[:900]) + "\n"):
            assert "other documents" in run(api, *command, given=other, code=2)
        assert [(job.info.open, job.counts.total) for job in mill.jobs()] == [(True, 1_000)]
        with Worker(api.store):
            run(api, *command, given=whole)
        assert len(list(mill.jobs())) == 1
    assert [line["output"] for line in lines(tmp_path / "out.jsonl")] == [{"summary_text": text} for text in texts]


def mended(position: int, text: str) -> DocumentOutcome:
    """What the echo model would make of the text if it did not fail."""
    return echo(position, text.removeprefix("fail "))


def test_after_a_retry_the_same_run_writes_the_results_anew(api: Running, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("fail a\nb\nfail c\n")
    command = ["run", "summarization", "in.txt", "--format", "lines", "-m", "echo", "-o", "out.jsonl"]
    out = tmp_path / "out.jsonl"
    with Worker(api.store):
        run(api, *command, code=1)
    assert [line["state"] for line in lines(out)] == ["failed", "succeeded", "failed"]
    job_id = json.loads((tmp_path / "out.jsonl.job").read_text())["job_id"]
    before = out.read_bytes()
    run(api, "retry", job_id)
    process = start(api, *command)
    given_up = time.monotonic() + TIMEOUT
    while time.monotonic() < given_up and not (tmp_path / "out.jsonl.job.results").exists():
        pass
    assert out.read_bytes() == before  # whole until the new results are
    work(api.store, outcome=mended)
    assert process.wait(TIMEOUT) == 0
    assert [line["output"] for line in lines(out)] == [{"summary_text": text} for text in "abc"]
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl", "out.jsonl.job"]
    assert "all results are in" in say(api, *command)
    # It ended anew before anybody looked.
    with Client(api.url, api.secret) as mill:
        place = json.loads((tmp_path / "out.jsonl.job").read_text())
        (tmp_path / "out.jsonl.job").write_text(json.dumps({**place, "finished_at": "2026-01-01T00:00:00Z"}))
        out.write_bytes(before + b"x" * 1_000)
        run(api, *command)
        assert [line["state"] for line in lines(out)] == ["succeeded"] * 3
        out.unlink()
        run(api, *command)
        assert [line["state"] for line in lines(out)] == ["succeeded"] * 3
        # A link stays one.
        (tmp_path / "elsewhere").mkdir()
        out.rename(tmp_path / "elsewhere" / "real.jsonl")
        out.symlink_to(tmp_path / "elsewhere" / "real.jsonl")
        (tmp_path / "out.jsonl.job").write_text(json.dumps({**place, "finished_at": "2026-01-01T00:00:00Z"}))
        run(api, *command)
        assert out.is_symlink()
        assert [line["state"] for line in lines(out)] == ["succeeded"] * 3
        mill.job(job_id).delete()
    assert "all results are in" in say(api, *command)
    out.unlink()
    assert "job_not_found" in run(api, *command, code=2)


def test_provenance_stands_beside_the_results_and_follows_them(api: Running, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("fail a\nb\n")
    command = ["run", "summarization", "in.txt", "--format", "lines", "-m", "echo", "-o", "out.csv"]
    beside = tmp_path / "out.csv.provenance.json"
    with Worker(api.store):
        run(api, *command, code=1)
    assert not beside.exists()
    run(api, *command, "--provenance", code=1)  # from what the run has noted
    told = json.loads(beside.read_text())
    [model] = told["models"]
    assert (model["name"], model["licence"]) == ("echo", "Apache-2.0")
    assert model["limitations"].startswith("Not a model")
    [made] = told["made_by"]
    assert (made["model"], made["results"]) == ("echo", 1)
    assert told["counts"]["failed"] == 1
    assert told["finished_at"] is not None
    # After a retry the results are written anew, and it with them.
    run(api, "retry", told["job"])
    work(api.store, outcome=mended)
    run(api, *command)
    again = json.loads(beside.read_text())
    assert sum(made["results"] for made in again["made_by"]) == 2
    assert again["counts"]["failed"] == 0
    run(api, "results", told["job"], "-o", "more.jsonl", "--provenance")
    other = json.loads((tmp_path / "more.jsonl.provenance.json").read_text())
    assert other == again | {"results": "more.jsonl"}
    run(api, "results", told["job"], "-o", "more.jsonl")
    assert not (tmp_path / "more.jsonl.provenance.json").exists()
    assert "name it with -o" in run(api, "results", told["job"], "--provenance", code=2)
    with Client(api.url, api.secret) as mill:
        mill.job(told["job"]).delete()
    run(api, *command, "--provenance")
    assert json.loads(beside.read_text()) == again
    beside.write_text(json.dumps(again | {"job": "another", "results": "another"}))
    run(api, *command)
    assert json.loads(beside.read_text())["job"] == told["job"]
    (tmp_path / "in.txt").write_text("c\n")
    with Worker(api.store):
        run(api, *command, "--restart")
    assert not beside.exists()
    # Of what is made when the last result is there as well.
    beside.write_text("{}")
    with Worker(api.store):
        run(api, *command, "--restart", "--split", "files")
    assert not beside.exists()


def test_a_retry_in_the_middle_of_a_run_is_noticed(api: Running, tmp_path: Path) -> None:
    """The results up to the noted place are of before the retry."""
    (tmp_path / "in.txt").write_text("fail a\nb\n")
    command = ["run", "summarization", "in.txt", "--format", "lines", "-m", "echo", "-o", "out.jsonl"]
    out, notes = tmp_path / "out.jsonl", tmp_path / "out.jsonl.job"
    with Worker(api.store):
        run(api, *command, code=1)
    place = json.loads(notes.read_text())
    with Client(api.url, api.secret) as mill:
        first = mill.job(place["job_id"]).page().results[0]
        line = result_line(first).encode()
        cursor = cursor_after_one(api, place["job_id"])
        out.write_bytes(line)
        place |= {"cursor": cursor, "written": len(line), "outcomes": {"failed": 1}, "state": None, "finished_at": None}
        notes.write_text(json.dumps(place))
        mill.job(place["job_id"]).retry()
    work(api.store, outcome=mended)
    assert "written anew" in say(api, *command)
    assert [line["output"] for line in lines(out)] == [{"summary_text": text} for text in "ab"]


def test_a_rewriting_that_was_interrupted_goes_on(api: Running, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("fail a\nb\nc\n")
    command = ["run", "summarization", "in.txt", "--format", "lines", "-m", "echo", "-o", "out.jsonl"]
    out, notes, fresh = (tmp_path / f"out.jsonl{end}" for end in ("", ".job", ".job.results"))
    with Worker(api.store):
        run(api, *command, code=1)
    place = json.loads(notes.read_text())
    run(api, "retry", place["job_id"])
    work(api.store, outcome=mended)
    with Client(api.url, api.secret) as mill:
        job = mill.job(place["job_id"])
        line = result_line(job.page().results[0]).encode()
        place |= {"cursor": cursor_after_one(api, job.id), "written": len(line), "outcomes": {"succeeded": 1},
                  "rewriting": True, "state": None, "finished_at": str(job.info.finished_at)}  # fmt: skip
    notes.write_text(json.dumps(place))
    fresh.write_bytes(line + b'{"id": "torn')
    run(api, *command)
    assert [line["output"] for line in lines(out)] == [{"summary_text": text} for text in "abc"]
    # And one that was killed between its last two steps.
    notes.write_text(json.dumps(place))
    run(api, *command)
    assert [line["output"] for line in lines(out)] == [{"summary_text": text} for text in "abc"]
    assert not fresh.exists()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_csv_in_and_csv_out(api: Running, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('key,body\na/1,"one\ntwo"\n"b\n2",fail\n')
    command = ["run", "summarization", "in.csv", "-m", "echo", "-o", "out.csv"]
    assert "no column is named 'text'; it has: key, body" in run(api, *command, code=2)
    command += ["--text-column", "body", "--id-column", "key"]
    with Worker(api.store):
        run(api, *command, code=1)
    found = rows(tmp_path / "out.csv")
    assert [(row["id"], row["state"], row["summary_text"], row["error_code"]) for row in found] == [
        ("a/1", "succeeded", "one\ntwo", ""),
        ("b\n2", "failed", "", "processing_failed"),
    ]
    job_id = json.loads((tmp_path / "out.csv.job").read_text())["job_id"]
    run(api, "results", job_id, "-o", "again.csv", code=1)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()
    assert "not written" in run(api, "results", job_id, "-o", "again.xlsx", code=2)
    assert not (tmp_path / "again.xlsx").exists()


def test_an_interrupted_run_goes_on_with_rows(api: Running, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\none\ntwo\nthree\n")
    command = ["run", "summarization", "in.csv", "-m", "echo", "-o", "out.csv"]
    out, notes = tmp_path / "out.csv", tmp_path / "out.csv.job"
    with Worker(api.store):
        run(api, *command)
    whole = out.read_bytes()
    place = json.loads(notes.read_text())
    cursor = cursor_after_one(api, place["job_id"])
    first_two = b"".join(whole.splitlines(keepends=True)[:2])
    place |= {"cursor": cursor, "written": len(first_two), "outcomes": {"succeeded": 1}, "state": None}
    for place_then, left in ((place, first_two + b'1,1,"tor'), ({**place, "cursor": None, "written": 0}, b"id,posi")):
        place_then["outcomes"] = place["outcomes"] if place_then["cursor"] else {}
        notes.write_text(json.dumps(place_then))
        out.write_bytes(left)
        run(api, *command)
        assert out.read_bytes() == whole


@pytest.mark.parametrize("name", ["data.xlsx", "list.xml", "texts.zip", "page.png"])
def test_what_is_not_understood_is_refused_before_anything_is_submitted(
    name: str, api: Running, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("{}")
    (tmp_path / "a.txt").write_text("text")
    for command in (["run", "ner", name, "-o", "out.jsonl"], ["submit", "ner", name]):
        assert "--format text" in run(api, *command, code=2)
    assert "not written" in run(api, "run", "ner", "a.txt", "-o", f"out/{name}", code=2)
    assert not (tmp_path / "out").exists()
    assert run(api, "jobs") == ""


def test_one_id_twice_is_named_by_its_lines(api: Running, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n" + "".join(f"{n % 1_500},x\n" for n in range(1_501)))
    for command in (["run", "ner", "in.csv", "-m", "echo", "-o", "o.csv"], ["submit", "ner", "in.csv", "-m", "echo"]):
        said = run(api, *command, code=2)
        assert "duplicate_document_id" in said
        assert "in.csv, line 1502: the id '0' is that of in.csv, line 2, too" in said


@pytest.mark.parametrize(
    ("name", "last", "said"),
    [
        ("in.jsonl", b'{"txt": "x"}\n', "in.jsonl, line 2501"),
        ("in.jsonl", b'{"text": "caf\xe9"}\n', "not UTF-8"),
        ("in.jsonl", b'{"text": "\\u0000"}\n', "line 2501: the text has a NUL"),
        ("in.jsonl", b'{"id": "7", "text": "x"}\n' * 2, "line 2502: the id '7' is that of in.jsonl, line 2501"),
    ],
)
@pytest.mark.parametrize("command", ["run", "submit"])
def test_a_refused_upload_leaves_no_open_job(
    command: str, name: str, last: bytes, said: str, api: Running, tmp_path: Path
) -> None:
    """Something is sent before the bad document is met."""
    good = b'{"text": "x"}\n' * 2_500
    (tmp_path / name).write_bytes(good + last)
    arguments = [command, "summarization", name, "-m", "echo", *(["-o", "out.jsonl"] if command == "run" else [])]
    assert said in run(api, *arguments, code=2)
    with Client(api.url, api.secret) as mill:
        assert [(job.info.open, job.state) for job in mill.jobs()] == [(False, "cancelled")]
    (tmp_path / name).write_bytes(good)
    with Worker(api.store):
        run(api, *arguments)  # mended
    if command == "run":
        assert len(lines(tmp_path / "out.jsonl")) == 2_500


def test_a_run_with_failures_names_them_and_the_command_that_tries_again(api: Running, tmp_path: Path) -> None:
    def outcome(position: int, text: str) -> DocumentOutcome:
        made = echo(position, text)
        return made._replace(error_code="document_empty") if text == "fail empty" else made

    (tmp_path / "in.txt").write_text("fail a\nb\nfail empty\nfail c\n")
    command = ["run", "summarization", "in.txt", "--format", "lines", "-m", "echo", "-o", "out.jsonl"]
    process = start(api, *command)
    given_up = time.monotonic() + TIMEOUT
    while time.monotonic() < given_up and not work(api.store, outcome=outcome):
        pass
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    job_id = json.loads((tmp_path / "out.jsonl.job").read_text())["job_id"]
    wanted = [
        f"2 failed with processing_failed; again: textmill retry {job_id} --code processing_failed",
        f"1 failed with document_empty; again: textmill retry {job_id} --code document_empty",
    ]
    assert [line.strip() for line in said.splitlines() if "again:" in line] == wanted
    run(api, *wanted[0].partition("textmill ")[2].split())
    with Worker(api.store):
        run(api, *command, code=1)


@pytest.mark.parametrize("command", ["wait", "results"])
def test_ctrl_c_is_130_and_the_job_goes_on(command: str, api: Running) -> None:
    with Client(api.url, api.secret) as mill, api.http() as http:
        job = mill.submit("summarization", ["a"], model="echo")
        process = start(api, command, job.id)
        given_up = time.monotonic() + TIMEOUT
        while time.monotonic() < given_up and "textmill_http_waiting 1.0" not in http.get("/metrics").text:
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out) == (130, "")
        assert err.splitlines()[-1] == "textmill: interrupted"
        assert job.refresh().state == "queued"


def test_ctrl_c_in_a_submit_leaves_no_open_job(api: Running) -> None:
    process = start(api, "submit", "ner", "-", "-m", "echo", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("text\n" * 2_500)
    process.stdin.flush()
    with Client(api.url, api.secret) as mill:
        given_up = time.monotonic() + TIMEOUT
        while time.monotonic() < given_up and [job.counts.total for job in mill.jobs()] != [2_000]:
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130
        assert [job.state for job in mill.jobs()] == ["cancelled"]


def test_odd_files(api: Running, tmp_path: Path) -> None:
    texts = {"empty.txt": "", "white.txt": " \n\t", "long.txt": "x" * 3_000_000}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "ids.csv").write_text('id,text\na/b,x\n"two\nlines",y\n')
    command = ["run", "summarization", *texts, "ids.csv", "-m", "echo", "-o", "out.jsonl"]
    with Worker(api.store):
        run(api, *command)
    expected = [*texts.items(), ("a/b", "x"), ("two\nlines", "y")]
    assert [(line["id"], line["output"]) for line in lines(tmp_path / "out.jsonl")] == [
        (name, {"summary_text": text}) for name, text in expected
    ]


def test_files_that_cannot_be_read_fail_by_themselves_and_the_rest_goes_on(api: Running, tmp_path: Path) -> None:
    broken = {
        "latin.txt": (b"caf\xe9\n", "file_encoding_unknown"),
        "nul.txt": (b"nul\0\n", "file_not_text"),
        "large.txt": (b"x" * 5_000_000, "file_too_large"),
        "cut.parquet": (b"PAR1", "file_damaged"),
        "table.xlsx": (b"PK", "file_not_text"),
    }
    for name, (content, _) in broken.items():
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in" / "z.md").write_text("fine")
    command = ["run", "summarization", "in", "-m", "echo", "-o", "out.jsonl"]
    with Worker(api.store):
        run(api, *command, code=1)
    found = {line["id"]: line["error"] and line["error"]["code"] for line in lines(tmp_path / "out.jsonl")}
    assert found == {f"in/{name}": code for name, (_, code) in broken.items()} | {"in/z.md": None}
    said = CliRunner().invoke(cli.main, ["submit", *command[1:-2]], env=environment(api.url, api.secret)).stderr
    assert "textmill: in/latin.txt is not UTF-8" in said
    assert said.count("it fails by itself") == 4  # that one is too large only the server says
    with Client(api.url, api.secret) as mill:
        assert not any(job.info.open for job in mill.jobs())


def test_parquet_in_and_out_and_again(api: Running, tmp_path: Path) -> None:
    given = [{"key": n, "body": f"fail {n}" if n == 2 else f"text {n}"} for n in range(4)]
    pq.write_table(pa.Table.from_pylist(given), tmp_path / "in.parquet")
    command = ["run", "summarization", "in.parquet", "-m", "echo", "-o", "out.parquet", "--text-column", "body"]
    command += ["--id-column", "key"]
    out, notes = tmp_path / "out.parquet", tmp_path / "out.parquet.job"
    with Worker(api.store):
        run(api, *command, code=1)
    whole = out.read_bytes()
    found = pq.read_table(out).to_pylist()
    assert [(row["id"], row["summary_text"]) for row in found] == [
        ("0", "text 0"), ("1", "text 1"), ("2", None), ("3", "text 3"),
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.parquet", "out.parquet.job"]
    run(api, *command, code=1)
    assert out.read_bytes() == whole
    # Interrupted while results were collected, in the middle of a line; and when all were there.
    place = json.loads(notes.read_text())
    collected = tmp_path / "out.parquet.job.jsonl"
    run(api, "results", place["job_id"], "-o", "all.jsonl", code=1)
    all_of_them = (tmp_path / "all.jsonl").read_bytes()
    first = all_of_them.splitlines(keepends=True)[0]
    halfway = {"cursor": cursor_after_one(api, place["job_id"]), "written": len(first), "outcomes": {"succeeded": 1}}
    halfway |= {"failures": {}, "state": None, "ready": False}
    for place_then, left in ((place | halfway, first + b'{"id": "1'), (place | {"ready": False}, all_of_them)):
        notes.write_text(json.dumps(place_then))
        collected.write_bytes(left)
        out.unlink()
        run(api, *command, code=1)
        assert pq.read_table(out).to_pylist() == found
        assert not collected.exists()
    out.unlink()
    run(api, *command, code=1)
    assert pq.read_table(out).to_pylist() == found
    run(api, "retry", place["job_id"])
    with Worker(api.store, outcome=lambda position, text: echo(position, text.removeprefix("fail "))):
        run(api, *command)
    assert [row["summary_text"] for row in pq.read_table(out).to_pylist()] == ["text 0", "text 1", "2", "text 3"]
    run(api, "results", place["job_id"], "-o", "again.parquet")
    assert pq.read_table(tmp_path / "again.parquet").to_pylist() == pq.read_table(out).to_pylist()
    notes.unlink()
    assert "--restart overwrites it" in run(api, *command, code=2)


def test_rows_meet_their_results_and_documents_have_files_of_their_own(api: Running, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('key,body,note\na/1,"one\ntwo",x\n../b,fail,\n')
    command = ["run", "summarization", "in.csv", "-m", "echo", "-o", "out.csv", "--join", "--split", "files"]
    command += ["--text-column", "body", "--id-column", "key"]
    with Worker(api.store):
        run(api, *command, code=1)
    assert rows(tmp_path / "out.csv") == [
        {"key": "a/1", "body": "one\ntwo", "note": "x", "summary_text": "one\ntwo", "error_code": "",
         "error_message": ""},
        {"key": "../b", "body": "fail", "note": "", "summary_text": "", "error_code": "processing_failed",
         "error_message": "as asked"},
    ]  # fmt: skip
    assert (tmp_path / "files" / "a" / "1.txt").read_text() == "one\ntwo"
    assert "with other files, options" in run(api, *[part for part in command if part != "--join"], code=2)
    refused = ["run", "summarization", "-", "-m", "echo", "-o", "o.csv", "--join"]
    assert "--join reads the input once more" in run(api, *refused, code=2, given="x\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.md").write_text("one")
    (tmp_path / "in" / "b.pdf").write_text("none")
    with Worker(api.store):
        run(api, "run", "summarization", "in", "-m", "echo", "-o", "o.jsonl", "--join", code=1)
    found = lines(tmp_path / "o.jsonl")
    assert [(one["id"], one.get("text"), one["summary_text"], one["error_code"]) for one in found] == [
        ("in/a.md", "one", "one", None), ("in/b.pdf", None, None, "file_damaged"),
    ]  # fmt: skip


def test_entities_are_written_with_their_texts(api: Running, tmp_path: Path) -> None:
    def outcome(position: int, text: str) -> DocumentOutcome:
        entity = {"entity_group": "PER", "score": 0.5, "word": text[:3], "start": 0, "end": 3}
        return echo(position, text)._replace(output=json.dumps({"entities": [entity]}))

    (tmp_path / "in.txt").write_text("Ada went.\n")
    command = ["run", "ner", "in.txt", "-m", "echo", "--split", "brat", "-o"]
    with Worker(api.store, outcome=outcome):
        run(api, *command, "out.conll")
        run(api, *command, "out.jsonl", "--to", "spacy")
    assert "Ada -X- _ B-PER\nwent -X- _ O\n" in (tmp_path / "out.conll").read_text()
    assert lines(tmp_path / "out.jsonl")[0]["ents"] == [{"start": 0, "end": 3, "label": "PER"}]
    assert (tmp_path / "brat" / "in.txt").read_text() == "Ada went.\n"
    assert (tmp_path / "brat" / "in.ann").read_text() == "T1\tPER 0 3\tAda\n"
    job_id = json.loads((tmp_path / "out.conll.job").read_text())["job_id"]
    assert run(api, "results", job_id, "--to", "conll") == (tmp_path / "out.conll").read_text()
    assert "name a file with -o" in run(api, "results", job_id, "--to", "parquet", code=2)
    assert "tasks that give entities" in run(api, "run", "summarization", "in.txt", "-o", "o.conll", code=2)
