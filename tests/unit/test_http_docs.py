"""docs/http.md names every call, every error code that a call can answer, and every limit."""

import json
import re
from pathlib import Path

import pytest
from fastapi import FastAPI

from api import health
from api.hf import calls as hf
from api.settings import ApiSettings
from api.v1.errors import STATUS, status_of
from api.v1.examples import EXAMPLES
from api.v1.face import ROUTERS
from textmill import errors, keys, tasks, webhooks, wire

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")

NOT_ANSWERED = {
    "textmill_error", "invalid_catalogue", "lease_lost", "draining", "server_unreachable", "wait_timeout",
    "model_error", "model_unavailable", "missing_extra", "job_failed",
}  # fmt: skip
"""Codes of the tree that belong to a document, a job's error or another process."""


def test_every_call_is_documented() -> None:
    app = FastAPI()
    for router in (*ROUTERS, hf.router, health.router):
        app.include_router(router)
    for path, methods in app.openapi()["paths"].items():
        shown = path.replace("{job_id}", "{id}").replace("{key_id}", "{id}").replace("{delivery_id}", "{id}")
        for method in methods:
            assert re.search(rf"{method.upper()} {re.escape(shown)}[`?]", PAGE), f"{method} {path}"


def test_every_code_is_documented_with_its_status() -> None:
    rows = dict(re.findall(r"^\| (\d{3}[, \d]*) \| (.*) \|$", PAGE, re.MULTILINE))
    for code, cls in errors.by_code().items():
        if code in NOT_ANSWERED or issubclass(cls, errors.DocumentError):
            continue
        row = next(row for statuses, row in rows.items() if str(status_of(cls())) in statuses)
        assert f"`{code}`" in row, code


def test_every_exception_has_a_status() -> None:
    assert errors.TextmillError in STATUS  # the last resort of status_of
    for cls in errors.by_code().values():
        assert 400 <= status_of(cls()) < 600


@pytest.mark.parametrize("name", [n for n in ApiSettings.model_fields if n.startswith("max_") or n == "page_bytes"])
def test_every_limit_is_documented(name: str) -> None:
    assert f"TEXTMILL_{name.upper()}" in PAGE


def test_every_option_is_documented() -> None:
    for task in tasks.TASKS:
        for option in task.options.model_fields:
            assert f"`{option}`" in PAGE, (task.name, option)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_of_the_contract_and_whole(name: str) -> None:
    model = next(getattr(part, name) for part in (wire, keys, webhooks) if hasattr(part, name))
    read = model.model_validate_json(json.dumps(EXAMPLES[name]))
    if issubclass(model, wire.Wire):
        assert set(EXAMPLES[name]) == set(model.model_fields)
    assert json.loads(read.model_dump_json(exclude_unset=True)) == EXAMPLES[name]
