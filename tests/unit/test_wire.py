"""An older client reads a newer server; a request is checked against what this version knows."""

import copy
import json
import pickle
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from textmill import tasks, wire
from textmill.errors import InvalidRequest
from textmill.files.jsonl import result_line

JOB: dict[str, Any] = {
    "id": "j", "task": "ner", "model": "m", "state": "running", "open": False, "options": {}, "priority": "normal",
    "metadata": {}, "counts": {"total": 1, "pending": 1, "succeeded": 0, "failed": 0, "cancelled": 0},
    "created_at": "2026-01-01T00:00:00Z", "started_at": None, "finished_at": None, "documents_per_second": None,
    "eta_seconds": None, "error": None,
}  # fmt: skip
RESULT: dict[str, Any] = {
    "id": "a", "position": 0, "state": "succeeded", "output": {"summary_text": "s"}, "error": None, "model": "m",
    "model_revision": None, "backend": None, "dtype": None, "input_tokens": 1, "output_tokens": 1, "pieces": 1,
    "truncated": False, "attempts": 1, "finished_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
ENTITY = {"entity_group": "PER", "score": 0.5, "word": "Ada", "start": 0, "end": 3}


def result(output: object) -> wire.Result:
    return wire.Result.model_validate_json(json.dumps(RESULT | {"output": output}))


def output(fields: object) -> wire.Output:
    found = result(fields).output
    assert found is not None
    return found


# --- what a newer server says -----------------------------------------------------------------------------------------


def test_jobs_of_unknown_tasks_and_states_are_read() -> None:
    newer = {"task": "text-classification", "state": "paused", "priority": "whenever", "deadline": "tomorrow"}
    page = wire.JobsPage.model_validate_json(json.dumps({"jobs": [JOB | newer, JOB], "next_cursor": None}))
    job = page.jobs[0]
    assert (job.task, job.state, job.priority, job.ended) == ("text-classification", "paused", "whenever", False)


def test_a_job_of_an_unknown_end_has_ended() -> None:
    ended = wire.Job.model_validate(JOB | {"state": "expired", "finished_at": "2026-01-01T00:00:00Z"})
    assert ended.ended
    assert [wire.Job.model_validate(JOB | {"state": state}).ended for state in ("queued", *wire.ENDED_STATES)] == [
        False, True, True, True, True,
    ]  # fmt: skip


def test_unknown_outputs_are_kept_whole() -> None:
    fields = {"labels": ["spam"], "scores": [0.9], "inner": {"a": None}}
    found = result(fields)
    assert found.output is not None
    assert dict(found.output) == fields
    assert found.output["labels"] == ["spam"]
    assert json.loads(found.model_dump_json())["output"] == fields
    assert json.loads(result_line(found)) == RESULT | {"output": fields}


def test_unknown_fields_of_a_known_output_are_kept() -> None:
    found = output({"summary_text": "s", "rounds": 2})
    assert (found.summary_text, found["rounds"]) == ("s", 2)
    assert dict(output({"entities": [ENTITY | {"link": "Q7259"}]}))["entities"][0]["link"] == "Q7259"


def test_unknown_states_and_facts_of_results_and_workers_are_read() -> None:
    newer = wire.Result.model_validate(RESULT | {"state": "skipped", "output": None, "backend": "b"})
    assert newer.state == "skipped"
    worker = {
        "id": "w", "host": "h", "pid": 1, "device": "npu:0", "models": [], "resident": [], "slots": 1, "load": 0.0,
        "started_at": "2026-01-01T00:00:00Z", "heartbeat_at": "2026-01-01T00:00:00Z", "state": "parked",
    }  # fmt: skip
    assert TypeAdapter(list[wire.WorkerInfo]).validate_python([worker])[0].device == "npu:0"


# --- an output --------------------------------------------------------------------------------------------------------


def test_an_output_has_the_types_of_its_task() -> None:
    assert output({"summary_text": "s"}).summary_text == "s"
    assert output({"translation_text": "t"}).of("translation").translation_text == "t"
    found = output({"entities": [ENTITY]})
    assert found.entities == [wire.Entity(**ENTITY)]
    assert found.of("token-classification").entities[0].word == "Ada"


def test_a_field_of_another_task_is_none_and_of_no_task_an_error() -> None:
    found = output({"summary_text": "s"})
    assert (found.entities, found.translation_text) == (None, None)
    with pytest.raises(AttributeError, match=r"'syllables'.*has: summary_text"):
        _ = found.syllables
    assert not hasattr(found, "__html__")
    with pytest.raises(KeyError):
        found["entities"]
    with pytest.raises(ValidationError):
        found.of("ner")
    with pytest.raises(InvalidRequest):
        found.of("parsing")


def test_an_output_is_a_mapping_that_does_not_change() -> None:
    given = {"summary_text": "s"}
    found = wire.Output(given)
    given["summary_text"] = "changed"
    assert found == {"summary_text": "s"} == dict(found)
    assert found != {"summary_text": "other"}
    assert repr(found) == "Output({'summary_text': 's'})"
    for same in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert (type(same), same) == (wire.Output, found)
    with pytest.raises(AttributeError, match="read-only"):
        found.summary_text = "other"
    with pytest.raises(TypeError):
        found["summary_text"] = "other"


def test_writing_a_result_runs_no_python_code() -> None:
    # Ctrl-C is raised between Python's instructions. Inside of a serialization pydantic would make its own error of it.
    found = wire.Result.model_validate(RESULT)
    called: list[str] = []
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_qualname) if event == "call" else None)
    try:
        line = found.model_dump_json()
    finally:
        sys.setprofile(None)
    assert json.loads(line)["output"] == {"summary_text": "s"}
    assert called == ["BaseModel.model_dump_json"]


def test_an_output_must_be_an_object() -> None:
    for wrong in ("s", ["s"], 1):
        with pytest.raises(ValidationError):
            result(wrong)
    assert result(None).output is None


def test_an_output_goes_in_and_out_of_a_model() -> None:
    found = result({"entities": [ENTITY]})
    assert found.model_dump()["output"] == {"entities": [ENTITY]}
    assert type(found.model_dump()["output"]) is dict
    assert wire.Result.model_validate(found.model_dump()) == found
    assert wire.Result.model_validate(dict(found)).output is found.output


def test_the_schema_shows_what_the_tasks_give() -> None:
    schema = json.dumps(wire.Result.model_json_schema(mode="serialization"))
    for task in tasks.TASKS:
        for field in task.output.model_fields:
            assert f'"{field}"' in schema


# --- what a producer asks for -----------------------------------------------------------------------------------------


def test_a_requests_task_gets_its_own_name() -> None:
    assert wire.JobRequest(task="token-classification").task == "ner"
    with pytest.raises(ValidationError, match=r"there is no task 'parsing'; the tasks are: summarization, translation"):
        wire.JobRequest(task="parsing")
