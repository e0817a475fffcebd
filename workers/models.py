"""From a catalogue entry to its runner."""

from collections.abc import Callable
from pathlib import Path

from store.catalogue import Entry
from textmill.errors import ModelUnavailable
from workers import backends, tasks
from workers.checkpoint import IMPORTING
from workers.kinds import Kind, ModelSpec, Precision
from workers.runner import BY, ModelRunner

CACHE_DIR = Path(".textmill/cache")
"""Where the settings of a worker process have it by themselves."""


def spec_of(
    entry: Entry, device: str = "auto", threads: int = 0, dtype: Precision = "auto", cache_dir: Path = CACHE_DIR
) -> ModelSpec:
    """The entry as this process is to run it. dtype: the process's own wish, which wins over the entry's."""
    return ModelSpec(
        name=entry.name,
        task=entry.task,
        source=str(entry.path) if entry.path else entry.source,
        revision=entry.revision,
        window=entry.window,
        options=entry.options,
        labels=entry.labels,
        offer=entry.offer,
        backend=entry.backend,
        dtype=_number_format(entry, device) if dtype == "auto" else dtype,
        device=device,
        threads=threads,
        cache_dir=cache_dir,
    )


def _number_format(entry: Entry, device: str) -> Precision:
    """The entry's own, which may be another one on a CPU."""
    if entry.cpu_dtype is None:
        return entry.dtype
    if device == "auto":
        with IMPORTING:
            from workers.backends.torch.device import choose
        device = choose().type
    return entry.cpu_dtype if device == "cpu" else entry.dtype


def kind_of(task: str | None) -> Kind:
    """The kind of model that the task needs; a stand-in that serves any task gives back texts."""
    return Kind.TEXT if task is None else tasks.rule(task).kind


def make(spec: ModelSpec) -> ModelRunner:
    """A runner that has neither been opened nor loaded. Raises ModelUnavailable where no backend can run the model."""
    kind = kind_of(spec.task)
    backend = backends.choose(spec, kind)
    return ModelRunner(spec, kind, backend, tasks.rule, backends.stand_in(spec, kind, backend))


def make_named(name: str, spec_for: Callable[[str], ModelSpec]) -> ModelRunner:
    """The runner of that name, as the engine has it: a model's own, or the second one of a model (`ModelRunner`).

    `spec_for(model)`: by the catalogue's name. Raises ModelUnavailable.
    """
    model, _, by = name.partition(BY)
    spec = spec_for(model)
    if not by:
        return make(spec)
    kind = kind_of(spec.task)
    found = backends.stand_in(spec, kind, backends.choose(spec, kind))
    if found is None or found[1].name != by:
        raise ModelUnavailable(f"{model}: nothing of it is left to the backend {by}")
    seen, backend = found
    return ModelRunner(seen, kind, backend, tasks.rule, name=name)
