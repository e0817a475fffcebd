"""What a batch ends with, made of the results of its jobs whenever it is read: a line for each line of its file."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from api.openai import endpoints
from api.openai.asked import Outcome, error_of
from api.openai.errors import body_of, status_of
from api.openai.lines import place_of
from store import orders, results
from store.orders import Group, Line, Order
from store.results import ResultRow
from store.session import Store
from textmill.errors import ResultNotReady, TextmillError

STEP = 100
"""Results that one transaction reads."""

NOT_RUN = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed, since the batch was cancelled."),
}
"""Of lines that have no outcome: by what became of the batch."""


class Answered(NamedTuple):
    """A line of one of the two files. failed: it counts as such, which what was not run does not."""

    part: Literal["output", "errors"]
    line: bytes
    failed: bool


def answered(
    store: Store, order: Order, page_bytes: int, step: Callable[[], None], part: str | None = None
) -> Iterator[Answered]:
    """All lines: those refused, then those of each job in its order. step: called between two transactions. part: the
    lines of one file are wanted alone.

    Raises JobNotFound where one of its jobs has been deleted, ResultNotReady where one is being retried.
    """
    if part != "output":
        yield from _refused(store, order, step)
    for group in store.read(orders.groups, order.id):
        if group.job_uuid is not None:
            yield from _of_job(store, order, group, group.job_uuid, page_bytes, step)


def _refused(store: Store, order: Order, step: Callable[[], None]) -> Iterator[Answered]:
    after = 0
    while lines := store.read(orders.refused_lines, order.id, after, STEP):
        for line in lines:
            yield Answered("errors", _line(order, line.custom_id, f"line {line.line}", _refusal(line)), failed=True)
        after = lines[-1].line
        step()


def _refusal(line: Line) -> dict[str, Any]:
    error = error_of(line.code, line.message)
    if line.param is not None:
        error.details["param"] = line.param
    return _failure(error) | {"line": line.line}


def _of_job(
    store: Store, order: Order, group: Group, job_id: str, page_bytes: int, step: Callable[[], None]
) -> Iterator[Answered]:
    held: list[ResultRow] = []
    start: int | None = 0
    while start is not None:
        page = store.read(results.page, order.key_id, job_id, start, STEP, max_bytes=page_bytes)
        for row in page.rows:
            held.append(row)
            _, _, count = place_of(row.document_id)
            if len(held) == count:
                yield _of_line(order, group, held)
                held = []
        if page.next is not None and not page.full:
            raise ResultNotReady("a job of this batch is being retried: read this again when that has ended")
        start = page.next
        step()
    if held:  # its file was still being read when it was cancelled
        yield _of_line(order, group, held)


def _of_line(order: Order, group: Group, rows: list[ResultRow]) -> Answered:
    custom_id, _, count = place_of(rows[0].document_id)
    if len(rows) < count or any(row.state == "cancelled" for row in rows):
        code, message = NOT_RUN["expired" if "expired" in (order.state, order.ending) else "cancelled"]
        not_run = {"response": None, "error": {"code": code, "message": message}}
        return Answered("errors", _line(order, custom_id, custom_id, not_run), failed=False)
    outcomes = [
        Outcome.of_row(row, None if row.outcome.output is None else json.loads(row.outcome.output)) for row in rows
    ]
    if error := next((outcome.error for outcome in outcomes if outcome.error is not None), None):
        return Answered("errors", _line(order, custom_id, custom_id, _failure(error)), failed=True)
    name = _name(order, custom_id)
    body = endpoints.get(order.endpoint).answer(outcomes, json.loads(group.form), name)
    told = {"response": {"status_code": 200, "request_id": f"req_{name}", "body": body}, "error": None}
    return Answered("output", _line(order, custom_id, custom_id, told), failed=False)


def _failure(error: TextmillError) -> dict[str, Any]:
    """For clients that look at the status, and for those that look at `error`."""
    body = body_of(error)
    response = {"status_code": status_of(error), "request_id": None, "body": body}
    return {"response": response, "error": {"code": error.code, "message": error.message}}


def _line(order: Order, custom_id: str | None, what: str, told: dict[str, Any]) -> bytes:
    head = {"id": f"batch_req_{_name(order, what)}", "custom_id": custom_id}
    return json.dumps(head | told, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _name(order: Order, what: str) -> str:
    """The same each time that a file is read."""
    return hashlib.blake2b(f"{order.uuid} {what}".encode(), digest_size=16).hexdigest()
