"""Weights on the device: loaded, counted, given back; and rows of token ids as tensors."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.utils import logging as progress_bars

from textmill.errors import ModelUnavailable
from workers.backends.torch import device as devices
from workers.backends.torch.faults import fault
from workers.checkpoint.checkpoint import Checkpoint
from workers.faults import Fault
from workers.kinds import Kind, ModelSpec

CLASSES: dict[Kind, Any] = {
    Kind.GENERATION: AutoModelForSeq2SeqLM,
    Kind.CONTINUATION: AutoModelForCausalLM,
    Kind.TOKEN_SCORES: AutoModelForTokenClassification,
    Kind.SEQUENCE_SCORES: AutoModelForSequenceClassification,
    Kind.SPANS: AutoModelForQuestionAnswering,
    Kind.MASKS: AutoModelForMaskedLM,
    Kind.VECTORS: AutoModel,
}
"""transformers' class for each kind."""

_reading = threading.Lock()
"""transformers sets torch's default number format while it reads a model: two that read at once would mix them up."""


class Weights:
    """A model's place on the device. Raises ModelUnavailable where that device does not exist."""

    def __init__(self, checkpoint: Checkpoint, kind: Kind, spec: ModelSpec) -> None:
        self._checkpoint, self._class = checkpoint, CLASSES[kind]
        self.device = devices.choose(spec.device)
        self.dtype = devices.precision(spec.dtype, self.device)
        self._model: PreTrainedModel | None = None

    @property
    def model(self) -> Any:
        """Raises ModelUnavailable while it is not loaded."""
        if self._model is None:
            raise ModelUnavailable(f"{self._checkpoint.source} is not loaded")
        return self._model

    def load(self) -> PreTrainedModel:
        """The model on the device, ready to run. Raises ModelUnavailable, and torch's errors of memory and device."""
        if self._model is None:
            self._model = read(self._checkpoint, self._class, self.device, self.dtype)
        return self._model

    def unload(self) -> None:
        """The memory goes back to the device."""
        self._model = None
        devices.release(self.device)

    def memory_bytes(self) -> int:
        """Bytes of the weights, tied ones counted once; 0 while unloaded."""
        if self._model is None:
            return 0
        tensors = {t.data_ptr(): t.nbytes for t in (*self._model.parameters(), *self._model.buffers())}
        return sum(tensors.values())


def read(checkpoint: Checkpoint, auto: Any, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """The checkpoint's model on the device. auto: an `AutoModelFor...` class.

    Raises ModelUnavailable, and torch's own errors of memory and device.
    """

    def load() -> PreTrainedModel:
        model, report = auto.from_pretrained(
            checkpoint.source, use_safetensors=True, dtype=dtype, output_loading_info=True, **checkpoint.arguments()
        )
        # A bare encoder (VECTORS) gets a pooler, made up where the checkpoint has none; nobody here reads it.
        if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
            # transformers only warns, and gives these random values: the answers would be noise.
            raise ModelUnavailable(f"{checkpoint.source} lacks weights that its task needs: {', '.join(missing[:5])}")
        ready: PreTrainedModel = model.eval().requires_grad_(False).to(device)
        return ready

    progress_bars.disable_progress_bar()  # type: ignore[no-untyped-call]
    with _reading:
        return checkpoint.read("weights", load, passes=lambda error: fault(error) is not Fault.OTHER)


def convert(source: Path, kind: Kind, target: Path) -> None:
    """Read a checkpoint's pickle with torch's weights-only loader, and write safetensors and tokenizer to a folder."""
    # weights_only: torch's unpickler then builds tensors and nothing else.
    model = CLASSES[kind].from_pretrained(source, trust_remote_code=False, use_safetensors=False, weights_only=True)
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)  # nosec B615 # a folder: no download
    tokenizer.save_pretrained(target)


def padded(
    rows: Sequence[Sequence[int]], fill: int, device: torch.device, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, attention mask), both (rows, longest), int64, padded on the right, or on the left."""
    longest = max(map(len, rows))
    gaps = [[fill] * (longest - len(row)) for row in rows]
    filled = [[*gap, *row] if left else [*row, *gap] for row, gap in zip(rows, gaps, strict=True)]
    ids = torch.tensor(filled, dtype=torch.long)
    lengths = torch.tensor([len(row) for row in rows])[:, None]
    places = torch.arange(longest)[None, :]
    mask = (places >= longest - lengths if left else places < lengths).long()
    if device.type == "cuda":
        return ids.pin_memory().to(device, non_blocking=True), mask.pin_memory().to(device, non_blocking=True)
    return ids.to(device), mask.to(device)
