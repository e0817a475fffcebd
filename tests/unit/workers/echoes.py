"""Runners of the stand-in model, for tests of what surrounds models."""

from collections.abc import Callable, Sequence
from typing import Any

from workers import backends, tasks
from workers.backends.echo import EchoBackend
from workers.backends.echo.mirror import Mirror
from workers.kinds import Kind, ModelSpec
from workers.runner import Item, ModelRunner


class EchoOf(EchoBackend):
    """The stand-in with a mirror of the test's own."""

    def __init__(self, mirror: Callable[[], Mirror]) -> None:
        self._mirror = mirror

    def open(self, spec: ModelSpec, kind: Kind) -> Mirror:
        return self._mirror()


def echo(name: str = "echo", mirror: Callable[[], Mirror] | None = None) -> ModelRunner:
    """A runner of the stand-in that has not been opened."""
    spec = ModelSpec(name=name, task=None, source="echo", window=512, backend="echo")
    backend = backends.get("echo") if mirror is None else EchoOf(mirror)
    return ModelRunner(spec, Kind.TEXT, backend, tasks.rule)


def item_of(text: str) -> Item:
    """The text as the stand-in's one item."""
    runner = echo()
    runner.open()
    [item] = runner.bind("ner", {}).prepare(text).items
    return item


class Recording(Mirror):
    """Notes each batch that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    def texts(self, payloads: Sequence[Any]) -> Sequence[str]:
        self.batches.append([getattr(payload, "text", payload) for payload in payloads])
        return super().texts(payloads)
