"""Runners of folders, made as a worker makes them from the catalogue."""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.unit.models_from_config import DEVICE
from textmill import tasks
from workers import models
from workers.kinds import ModelSpec
from workers.runner import Item, ModelRunner, Outcome, Plan, Prepared

CACHE = Path(tempfile.mkdtemp(prefix="textmill-cache-"))
"""Where backends keep what they make of the checkpoints of one test session."""
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)


def opened(
    folder: Path, task: str, languages: tuple[Sequence[str], Sequence[str]] = (["en"], ["pt"]), **fields: Any
) -> ModelRunner:
    """An opened runner in float32. languages: what a translation model offers; fields: of the ModelSpec."""
    if task == "translation":
        offer = tasks.get(task).offer.model_validate(
            {"source_langs": languages[0], "target_langs": languages[1], "lang_codes": fields.pop("lang_codes", {})}
        )
        fields["offer"] = offer
    spec = {
        "name": "small",
        "source": str(folder),
        "window": 128,
        "device": DEVICE,
        "dtype": "float32",
        "threads": 1,
        "cache_dir": CACHE,
    } | fields
    runner = models.make(ModelSpec(task=task, **spec))
    runner.open()
    return runner


def opened_by_name(folder: Path, task: str, **fields: Any) -> Callable[[str], ModelRunner]:
    """What a worker's residency does with the engine's names: each runner of the model made once, opened and loaded."""
    own = opened(folder, task, **fields)
    found: dict[str, ModelRunner] = {}

    def by_name(name: str) -> ModelRunner:
        if name not in found:
            found[name] = models.make_named(name, lambda _: own.spec)
            found[name].open()
            found[name].load()
        return found[name]

    return by_name


def loaded(folder: Path, task: str, **fields: Any) -> ModelRunner:
    """The same with its weights."""
    runner = opened(folder, task, **fields)
    runner.load()
    return runner


def by_each_backend(folder: Path, task: str, **fields: Any) -> list[ModelRunner]:
    """The checkpoint loaded by torch, and by what `auto` takes where that is another one."""
    runners = [loaded(folder, task, **{"backend": "torch"} | fields), loaded(folder, task, **fields)]
    return runners if runners[0].backend is not runners[1].backend else runners[:1]


def bound(runner: ModelRunner, **options: Any) -> Plan:
    """The plan of a job with these options."""
    assert runner.spec.task is not None
    return runner.bind(runner.spec.task, options)


def finish(runner: ModelRunner, plan: Plan, prepared: Prepared) -> tuple[Outcome, int]:
    """The document's outcome, and how many rounds it took."""
    rounds = 0
    while True:
        rounds += 1
        result = plan.assemble(prepared, runner.run(prepared.items) if prepared.items else [])
        if isinstance(result, Outcome):
            return result, rounds
        prepared = result


def model_of(runner: ModelRunner) -> Any:
    """The backend's model, for looking into it."""
    return runner._model


def run_one(runner: ModelRunner, item: Item) -> Any:
    """One item alone."""
    [output] = runner.run([item])
    return output
