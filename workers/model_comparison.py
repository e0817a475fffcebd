"""`python -m workers models compare NAME --texts FILE`: what another backend or number format costs and gives.

The model answers the texts by torch in float32, and by CTranslate2 in each number format that is asked for, one batch
after the other in this process, as a worker would. Speeds, the share of equal answers and the texts that differ are
printed. Equal is what a producer would see: the whole output, scores of entities apart.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from textmill.errors import DocumentError, InvalidRequest
from workers.kinds import ModelSpec, Precision
from workers.models import make_named
from workers.runner import Item, ModelRunner, Outcome, Plan, Prepared, bound

BATCH_TOKENS = 2_048
"""Padded tokens in a batch: what a worker has before it has calibrated."""

SHOWN = 200
"""Characters of an answer that are printed."""


@dataclass
class Arm:
    """One way of running the model, and what came of it."""

    name: str
    answers: list[Any]
    """By text: the output's comparable part, or the error's message."""
    seconds: float


def compare(
    spec: ModelSpec, formats: Sequence[Precision], texts: Sequence[str], options: Mapping[str, Any]
) -> Iterator[str]:
    """The lines of the report. Raises ModelUnavailable, InvalidOptions."""
    specs = [replace(spec, backend="torch", dtype="float32")]
    specs += [replace(spec, backend="ctranslate2", dtype=number_format) for number_format in formats]
    reference = None
    for seen in specs:
        arm = run(seen, texts, options)
        speed = f"{arm.name}: {len(texts) / max(arm.seconds, 1e-9):.1f} documents/s"
        if reference is None:
            reference = arm
            yield speed
            continue
        different = [i for i, answer in enumerate(arm.answers) if answer != reference.answers[i]]
        same = len(texts) - len(different)
        faster = reference.seconds / max(arm.seconds, 1e-9)
        yield f"{speed}, {faster:.2f} times as fast; {same} of {len(texts)} answers are the same"
        for i in different:
            yield f"  text {i + 1}"
            yield f"    {reference.name}: {_short(reference.answers[i])}"
            yield f"    {arm.name}: {_short(arm.answers[i])}"


def run(spec: ModelSpec, texts: Sequence[str], options: Mapping[str, Any]) -> Arm:
    """All texts, through the task's rule, by batches of similar length."""
    runners: dict[str, ModelRunner] = {}

    def opened(name: str) -> ModelRunner:
        if name not in runners:
            runners[name] = make_named(name, lambda _: spec)
            runners[name].open()
        return runners[name]

    assert spec.task is not None
    runner, plan = bound(opened, spec.name, spec.task, options)
    runner.load()
    with runner.backend.surroundings(runner.spec):
        runner.run([runner.canary()])
        started = time.perf_counter()
        answers = _answers(runner, plan, texts)
        seconds = time.perf_counter() - started
    runner.unload()
    return Arm(f"{runner.backend.name} {runner.dtype}", answers, seconds)


def read(path: Path) -> list[str]:
    """The texts of a file: one a line, or of a `.jsonl` the field `text`. Raises InvalidRequest."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [json.loads(line)["text"] for line in lines] if path.suffix == ".jsonl" else lines
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{path} is not JSON lines with a text each: {error}") from error


def _answers(runner: ModelRunner, plan: Plan, texts: Sequence[str]) -> list[Any]:
    answers: list[Any] = [None] * len(texts)
    rounds = {}
    for i, text in enumerate(texts):
        try:
            rounds[i] = plan.prepare(text)
        except DocumentError as error:
            answers[i] = error.message
    while rounds:
        outputs = _run(runner, [item for prepared in rounds.values() for item in prepared.items])
        following = {}
        for i, prepared in rounds.items():
            try:
                result = plan.assemble(prepared, [next(outputs) for _ in prepared.items])
            except DocumentError as error:
                answers[i] = error.message
                continue
            if isinstance(result, Prepared):
                following[i] = result
            else:
                answers[i] = _comparable(result)
        rounds = following
    return answers


def _run(runner: ModelRunner, items: Sequence[Item]) -> Iterator[Any]:
    """The items' outputs in their order, run longest first in batches of one group."""
    outputs: list[Any] = [None] * len(items)
    batch: list[int] = []
    for i in sorted(range(len(items)), key=lambda i: (str(items[i].group), -items[i].length)):
        first = items[batch[0]] if batch else items[i]
        if items[i].group != first.group or (len(batch) + 1) * first.length * first.rows > BATCH_TOKENS:
            _keep(outputs, batch, runner.run([items[b] for b in batch]) if batch else [])
            batch = []
        batch.append(i)
    if batch:
        _keep(outputs, batch, runner.run([items[b] for b in batch]))
    return iter(outputs)


def _keep(outputs: list[Any], batch: Sequence[int], answers: Sequence[Any]) -> None:
    for i, answer in zip(batch, answers, strict=True):
        outputs[i] = answer


def _comparable(outcome: Outcome) -> Any:
    output = outcome.output
    if "entities" in output:
        return [{key: value for key, value in entity.items() if key != "score"} for entity in output["entities"]]
    return dict(output)


def _short(answer: Any) -> str:
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
