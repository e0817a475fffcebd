"""The stand-in for a model: answers each text with itself, at once, wherever the queue is what matters.

It serves every task by the task's own echo answer. Markers in a text make it misbehave as models do
(`workers/backends/echo/mirror.py`).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from workers.backends.echo.mirror import EchoRule, Mirror
from workers.faults import Fault, fault
from workers.kinds import Kind, ModelSpec
from workers.runner import TaskRule


class EchoBackend:
    """See the module."""

    name = "echo"
    rank = 0
    kinds = frozenset({Kind.TEXT})
    batch_tokens = 16_384
    stand_in = None

    def inspect(self, spec: ModelSpec, kind: Kind) -> str | None:
        """Any model, but only where it is asked for by name: an answer of its own must surprise nobody."""
        return None if spec.backend == self.name else "a stand-in has to be asked for by name"

    def adapt(self, rule: type[TaskRule], spec: ModelSpec, model: Mirror) -> EchoRule:
        """The task's echo answer instead of its rule: texts are not cut."""
        return EchoRule(model, rule.echo)

    def import_ahead(self) -> None:
        """Nothing."""

    def open(self, spec: ModelSpec, kind: Kind) -> Mirror:
        """There is nothing to read."""
        return Mirror()

    def surroundings(self, spec: ModelSpec) -> AbstractContextManager[Any]:
        """None."""
        return nullcontext()

    def fault(self, error: BaseException) -> Fault:
        """It raises what all backends have in common."""
        return fault(error)


BACKEND = EchoBackend()
