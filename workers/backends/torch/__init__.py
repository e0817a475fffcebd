"""Models on PyTorch, by the transformers library: any architecture of its classes for our kinds, on the CPU and on
CUDA, in float32, bfloat16 and float16.

Torch is imported when the first model is opened, or ahead of that by a worker that serves one, so that a worker that
only echoes never pays for it.
"""

from contextlib import AbstractContextManager
from typing import Any

from workers.backends.torch.faults import fault
from workers.checkpoint import IMPORTING
from workers.faults import Fault
from workers.kinds import Kind, ModelSpec
from workers.runner import Rule, TaskRule


class TorchBackend:
    """See the module."""

    name = "torch"
    rank = 10
    kinds = frozenset(Kind) - {Kind.TEXT}
    batch_tokens = None
    stand_in = None

    def inspect(self, spec: ModelSpec, kind: Kind) -> str | None:
        """It can run whatever transformers has of its kinds, in the number formats of its tensors."""
        if kind not in self.kinds:
            return f"it does not compute {kind}"
        return f"it has no {spec.dtype}" if spec.dtype.startswith("int8") else None

    def adapt(self, rule: type[TaskRule], spec: ModelSpec, model: Any) -> Rule:
        """The task's own."""
        return rule(spec, model)

    def import_ahead(self) -> None:
        """Torch, transformers, and what makes models of them."""
        with IMPORTING:
            from workers.backends.torch import models  # noqa: F401

    def open(self, spec: ModelSpec, kind: Kind) -> Any:
        """The model with its tokenizer. Raises ModelUnavailable."""
        with IMPORTING:
            from workers.backends.torch.models import open_model
        return open_model(spec, kind)

    def surroundings(self, spec: ModelSpec) -> AbstractContextManager[Any]:
        """Inference mode, and the number of CPU threads."""
        from workers.backends.torch import device

        return device.surroundings(device.choose(spec.device), spec.threads)

    def fault(self, error: BaseException) -> Fault:
        """By torch's names and messages."""
        return fault(error)


BACKEND = TorchBackend()
