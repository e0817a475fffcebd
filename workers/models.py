"""From a catalogue entry to its runner."""

from store.catalogue import Entry
from workers import backends, tasks
from workers.kinds import Kind, ModelSpec, Precision
from workers.runner import ModelRunner


def spec_of(entry: Entry, device: str = "auto", threads: int = 0, dtype: Precision = "auto") -> ModelSpec:
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
        dtype=entry.dtype if dtype == "auto" else dtype,
        device=device,
        threads=threads,
    )


def kind_of(task: str | None) -> Kind:
    """The kind of model that the task needs; a stand-in that serves any task gives back texts."""
    return Kind.TEXT if task is None else tasks.rule(task).kind


def make(spec: ModelSpec) -> ModelRunner:
    """A runner that has neither been opened nor loaded. Raises ModelUnavailable where no backend can run the model."""
    kind = kind_of(spec.task)
    return ModelRunner(spec, kind, backends.choose(spec, kind), tasks.rule)
