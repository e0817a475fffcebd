"""Producers: they submit, append, wait, read, cancel, retry and delete, and write down what they were told.

Each is a thread with a chance of its own from the run's seed. Whatever is harmless to repeat is repeated until it is
answered; the rest (a submit without an idempotency key, an append without an offset, a retry) is tried once, and where
no answer comes, the history says so.
"""

import contextlib
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from tests.reliability.chaos.history import Doc, History, Operation, now
from tests.reliability.chaos.line import GaveUp, Line, read
from textmill.wire import ENDED_STATES

UNFINISHED = 6
"""Jobs of one producer that may be unfinished before it looks after those first."""

WORDS = ("the", "mill", "grinds", "what", "the", "river", "brings", "in", "silence", "and", "asks", "for", "nothing")
TASKS = ("summarization", "translation", "ner")
PRIORITIES = ("high", "normal", "normal", "low")


@dataclass
class Mine:
    """A job as its producer knows it."""

    id: str
    name: str
    task: str
    open: bool = False
    total: int = 0
    ended: bool = False
    retries: int = 0


@dataclass
class Producer:
    """One thread of load. pause: seconds between two of its operations, on average."""

    name: str
    line: Line
    history: History
    chance: random.Random
    pause: float
    stops: threading.Event
    texts: Sequence[tuple[str, str]] = ()
    """Tasks and texts for the bundled models; none: they have nothing to do."""
    jobs: list[Mine] = field(default_factory=list)

    def run(self) -> None:
        """Until it is told to stop; then it closes what it has opened."""
        with contextlib.suppress(GaveUp):
            while not self.stops.is_set():
                self._step()
                self.stops.wait(self.chance.expovariate(1 / self.pause))
            for job in self.jobs:
                if job.open:
                    self._close(job)
        self.line.close()

    def _step(self) -> None:
        unfinished = [job for job in self.jobs if not job.ended]
        steps = [self._submit_to_model] if self.texts else []
        steps += [self._submit, self._submit, self._upload, self._follow, self._follow, self._follow, self._cancel]
        step = self._follow if len(unfinished) >= UNFINISHED else self.chance.choice(steps)
        step()

    # --- what makes documents -----------------------------------------------------------------------------------------

    def _new(self) -> tuple[str, dict[str, Any]]:
        name = f"{self.name}-{self.history.number()}"
        body = {
            "task": self.chance.choice(TASKS),
            "model": "echo",
            "priority": self.chance.choice(PRIORITIES),
            "metadata": {"name": name},
        }
        if body["task"] == "translation":
            body["options"] = {"target_lang": "pt"}
        return name, body

    def _documents(self, name: str, start: int, count: int, with_ids: bool) -> tuple[Doc, ...]:
        return tuple(self._document(name, start + n, with_ids) for n in range(count))

    def _document(self, name: str, number: int, with_ids: bool) -> Doc:
        words = self.chance.choices(WORDS, k=self.chance.randint(2, 60))
        if self.chance.random() < 0.05:
            words.append(f"[[echo:sleep={self.chance.choice((0.01, 0.05, 0.2))}]]")
        if with_ids and self.chance.random() < 0.01:
            words.append(self.chance.choice(("[[echo:raise]]", "[[echo:too-long]]")))
        return Doc(f"{name}/{number}" if with_ids else None, " ".join((f"{name}/{number}", *words)))

    def _submit(self) -> None:
        name, body = self._new()
        with_ids = body["task"] == "ner" or self.chance.random() < 0.7
        documents = self._documents(name, 0, self.chance.randint(1, 60), with_ids)
        self._create(name, body | {"documents": as_json(documents)}, documents)

    def _submit_to_model(self) -> None:
        """A job of a few documents for a bundled model."""
        name, body = self._new()
        del body["model"]
        mine = [text for task, text in self.texts if task == body["task"]]
        chosen = self.chance.sample(mine, self.chance.randint(1, 6))
        documents = tuple(Doc(f"{name}/{number}", text) for number, text in enumerate(chosen))
        self._create(name, body | {"documents": as_json(documents)}, documents)

    def _create(self, name: str, body: dict[str, Any], documents: tuple[Doc, ...]) -> Mine | None:
        """Submit: in half of the cases once, in the others with an idempotency key, as often as it takes."""
        began = now()
        operation = Operation("submit", "unknown", name, documents=documents, first=0, began=began)
        if self.chance.random() < 0.5:
            answer = self.line.once("POST", "/v1/jobs", json=body)
        else:
            with self._noting(operation):
                answer = self.line.surely("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": name})
        self._note(operation, answer)
        if answer is None or not answer.is_success:
            return None
        job = Mine(answer.json()["id"], name, body["task"], body.get("open", False), len(documents))
        self.jobs.append(job)
        return job

    def _upload(self) -> None:
        """Open a job, append to it in chunks, close it."""
        name, body = self._new()
        job = self._create(name, body | {"open": True}, ())
        if job is None:
            return
        for _ in range(self.chance.randint(1, 5)):
            if self.stops.is_set():
                break
            with_ids = body["task"] == "ner" or self.chance.random() < 0.7
            documents = self._documents(name, job.total, self.chance.randint(1, 200), with_ids)
            self._append(job, documents, self.chance.random() < 0.7)
        self._close(job)

    def _append(self, job: Mine, documents: tuple[Doc, ...], with_offset: bool) -> None:
        path, body = f"/v1/jobs/{job.id}/documents", {"documents": as_json(documents)}
        first = job.total if with_offset else None
        operation = Operation("append", "unknown", job.name, job.id, documents, first, began=now())
        answer: httpx.Response | None
        if with_offset:
            with self._noting(operation):
                answer = self.line.surely("POST", path, json=body, headers={"Upload-Offset": str(job.total)})
        else:
            answer = self.line.once("POST", path, json=body)
        if answer is not None and answer.is_success:
            job.total = answer.json()["total"]
            operation = replace(operation, first=job.total - len(documents))
        self._note(operation, answer)
        if answer is None or not answer.is_success:
            job.total = self._look(job)["counts"]["total"]

    def _close(self, job: Mine) -> None:
        operation = Operation("close", "unknown", job.name, job.id, began=now())
        with self._noting(operation):
            answer = self.line.surely("POST", f"/v1/jobs/{job.id}/close")
        self._note(operation, answer, shows=True)
        job.open = False

    # --- what follows a job -------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Wait for a job for a while. One that has ended may be retried, deleted, or left alone."""
        waiting = [job for job in self.jobs if not job.ended]
        if not waiting:
            return
        job = self.chance.choice(waiting)
        shown = self._look(job, wait=self.chance.choice((0, 2, 5)))
        if shown is None or shown["state"] not in ENDED_STATES:
            return
        undone = shown["counts"]["failed"] + shown["counts"]["cancelled"]
        choice = self.chance.random()
        if undone and job.retries < 2 and choice < 0.5:
            self._retry(job)
        elif choice < 0.7:
            job.ended = True
        else:
            self._delete(job, shown)

    def _look(self, job: Mine, wait: int = 0) -> dict[str, Any]:
        operation = Operation("wait", "unknown", job.name, job.id, began=now())
        with self._noting(operation):
            answer = self.line.surely("GET", f"/v1/jobs/{job.id}", params={"wait": str(wait)})
        self._note(operation, answer, shows=True)
        shown: dict[str, Any] = answer.raise_for_status().json()
        return shown

    def _cancel(self) -> None:
        waiting = [job for job in self.jobs if not job.ended]
        if not waiting:
            return
        job = self.chance.choice(waiting)
        operation = Operation("cancel", "unknown", job.name, job.id, began=now())
        with self._noting(operation):
            answer = self.line.surely("POST", f"/v1/jobs/{job.id}/cancel")
        self._note(operation, answer, shows=True)

    def _retry(self, job: Mine) -> None:
        job.retries += 1
        operation = Operation("retry", "unknown", job.name, job.id, began=now())
        self._note(operation, self.line.once("POST", f"/v1/jobs/{job.id}/retry"))

    def _delete(self, job: Mine, shown: dict[str, Any]) -> None:
        self.history.saw(read(self.line, shown))
        operation = Operation("delete", "unknown", job.name, job.id, began=now())
        with self._noting(operation):
            answer, tries = None, 0
            while answer is None:
                answer, tries = self.line.once("DELETE", f"/v1/jobs/{job.id}"), tries + 1
                if answer is None and self.line.gives_up(0.3):
                    raise GaveUp
        if answer.status_code == 404 and tries > 1:  # it was done before, and that answer was lost
            self.history.add(replace(operation, result="ok", ended=now()))
        else:
            self._note(operation, answer)
        job.ended = answer.status_code != 409

    # --- the history --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _noting(self, operation: Operation) -> Iterator[None]:
        """Where the run ends before an answer comes, the operation is noted as unanswered."""
        try:
            yield
        except GaveUp:
            self.history.add(replace(operation, ended=now()))
            raise

    def _note(self, operation: Operation, answer: httpx.Response | None, shows: bool = False) -> None:
        done = replace(operation, ended=now())
        if answer is not None and answer.is_success:
            made = answer.json()["id"] if operation.kind == "submit" else operation.job
            done = replace(done, result="ok", job=made, shown=answer.json() if shows else None)
        elif answer is not None:
            done = replace(done, result="refused", said=f"{answer.status_code} {answer.text[:200]}")
        self.history.add(done)


def as_json(documents: Sequence[Doc]) -> list[dict[str, str]]:
    """As they are sent."""
    return [{"text": one.text} | ({} if one.id is None else {"id": one.id}) for one in documents]
