"""Models on CTranslate2: its own kernels for encoder-decoders, decoders and BERT's kin, about one and a half times as
fast on the CPU as torch with the same answers, and in int8.

It runs what it can; an architecture that it does not know, or settings by which its answers would be others, are left
to torch, before anything was begun. Checkpoints are converted at their first use (`conversion.py`).
"""

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from workers.backends.ctranslate2.faults import fault
from workers.checkpoint import IMPORTING
from workers.faults import Fault
from workers.kinds import Kind, ModelSpec
from workers.runner import Rule, TaskRule


class CTranslate2Backend:
    """See the module."""

    name = "ctranslate2"
    rank = 20
    kinds = frozenset(Kind) - {Kind.TEXT}
    batch_tokens = None
    stand_in = "torch"

    def inspect(self, spec: ModelSpec, kind: Kind) -> str | None:
        """What can be told without the model's files. On a GPU, and where torch computes in bfloat16 faster, it has to
        be asked for by name."""
        if kind not in self.kinds:
            return f"it does not compute {kind}"
        if importlib.util.find_spec("ctranslate2") is None:
            return "it is not installed"
        with IMPORTING:
            from workers.backends.ctranslate2 import device
            from workers.backends.torch.device import fast_at_bfloat16_on_cpu
        is_gpu = device.is_gpu(spec.device)
        if spec.dtype not in ("auto", *device.formats(spec.device)):
            return f"it has no {spec.dtype} on a {'GPU' if is_gpu else 'CPU'}"
        if spec.backend == self.name:
            return None
        if is_gpu:
            return "on a GPU it has to be asked for by name"
        if spec.dtype == "auto" and fast_at_bfloat16_on_cpu():
            return "torch has bfloat16, which this CPU is fast at"
        return None

    def adapt(self, rule: type[TaskRule], spec: ModelSpec, model: Any) -> Rule:
        """The task's own."""
        return rule(spec, model)

    def import_ahead(self) -> None:
        """CTranslate2, and torch and transformers, which read checkpoints and tokenizers."""
        with IMPORTING:
            from workers.backends.ctranslate2 import models  # noqa: F401

    def open(self, spec: ModelSpec, kind: Kind) -> Any:
        """The model with its tokenizer, converted. Raises NotOffered, ModelUnavailable."""
        with IMPORTING:
            from workers.backends.ctranslate2.models import open_model
        return open_model(spec, kind)

    def surroundings(self, spec: ModelSpec) -> AbstractContextManager[Any]:
        """None: it has threads of its own, whose number it is told when a model is loaded."""
        return nullcontext()

    def fault(self, error: BaseException) -> Fault:
        """By its messages."""
        return fault(error)


BACKEND = CTranslate2Backend()
