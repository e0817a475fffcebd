"""Requests that are made from the app's own description, good and bad: none is answered 5xx, or with anything that is
not described. The same ones in every run."""

import functools
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from store.session import Store
from tests.integration.openai_files import begin, client_of, line, until
from tests.integration.serving import serving, work

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

EXAMPLES = 12
"""For each call, with good and with bad values."""


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """One alone: this is about what reaches a database at all."""
    return str(request.param)


def test_every_answer_is_described(store: Store) -> None:
    with serving(store, max_wait_seconds=0.01, ask_seconds=0.01) as api, api.http() as http:
        document = {"id": "d0", "text": "a text"}
        ours = {"task": "summarization", "model": "echo", "documents": [document], "open": True}
        job = http.post("/v1/jobs", json=ours).raise_for_status().json()["id"]
        with client_of(api) as client:
            batch = begin(client, [line("a", {"input": "a text"})])
            real = {"job_id": job, "file_id": batch.input_file_id, "batch_id": batch.id, "model": "echo"}
            until(client, batch, meanwhile=lambda: work(store))
        described = schemathesis.openapi.from_dict(http.get("/openapi.json").json())
        tried = [
            try_one(operation.ok(), real, api.url, {"Authorization": f"Bearer {api.secret}"})
            for operation in described.get_all_operations()
            if not operation.ok().path.endswith("/events")  # streams without an end
        ]
    assert len(tried) >= 27
    assert sum(map(len, tried)) > EXAMPLES * len(tried)
    assert {200, 201, 404, 422} <= set().union(*tried), "of good and of bad ones some"


def try_one(operation: Any, ids: dict[str, str], url: str, headers: dict[str, str]) -> list[int]:
    """The statuses that the call answered."""
    statuses: list[int] = []
    modes = [schemathesis.GenerationMode.POSITIVE]
    if any(operation.iter_parameters()) or operation.body:  # else there is nothing to do wrong
        modes.append(schemathesis.GenerationMode.NEGATIVE)
    for mode in modes:
        fuzz(operation.as_strategy(generation_mode=mode), functools.partial(ask, ids, url, headers, statuses))
    return statuses


def ask(ids: dict[str, str], url: str, headers: dict[str, str], statuses: list[int], case: Any, real: bool) -> None:
    if real and case.path_parameters:
        case.path_parameters |= {name: ids[name] for name in case.path_parameters if name in ids}
    if real and isinstance(case.body, dict) and "task" in case.body:
        case.body |= {"task": "summarization", "model": "echo"}
    answer = case.call(base_url=url, headers=headers)
    statuses.append(answer.status_code)
    case.validate_response(answer, checks=CHECKS)


def fuzz(cases: Any, tried: Any) -> None:
    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases, real=st.booleans())
    def run(case: Any, real: bool) -> None:
        tried(case, real)

    run()
