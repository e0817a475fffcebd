"""What every runner of a transformers model shares: reading the checkpoint, placing it, and telling its failures.

Safetensors only, and never a checkpoint's own code: weights are data here.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as progress_bars

from textmill.errors import DeviceOutOfMemory, ModelUnavailable
from workers.backends.torch import device as devices
from workers.faults import is_fatal, is_out_of_memory

T = TypeVar("T")

UNBOUNDED = 1_000_000
"""Tokenizers without a limit say one of 10**30."""

_digests: dict[tuple[str, int, int], str] = {}
_digests_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a model comes from: a local folder, or a hub id with its pinned revision."""

    source: str
    revision: str | None = None
    """The hub's commit. For a folder it is not used: its revision is the digest of what is in it."""

    @property
    def is_local(self) -> bool:
        return Path(self.source).is_dir()

    def arguments(self) -> dict[str, Any]:
        """Of every `from_pretrained`."""
        pinned = {} if self.is_local or not self.revision else {"revision": self.revision}
        return {"trust_remote_code": False, "local_files_only": self.is_local, **pinned}

    def config(self) -> Any:
        """Raises ModelUnavailable."""
        return self._read("configuration", lambda: AutoConfig.from_pretrained(self.source, **self.arguments()))

    def tokenizer(self) -> Any:
        """Raises ModelUnavailable."""
        return self._read("tokenizer", lambda: AutoTokenizer.from_pretrained(self.source, **self.arguments()))

    def generation_config(self, config: PretrainedConfig) -> GenerationConfig:
        """The checkpoint's, or one made of its configuration where it has no file of its own."""
        try:
            return GenerationConfig.from_pretrained(self.source, **self.arguments())
        except OSError:
            # An ordinary case: old checkpoints keep these settings in config.json.
            return GenerationConfig.from_model_config(config)

    def weights(self, auto: Any, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """The model on the device, ready to run. auto: an `AutoModelFor...` class.

        Raises ModelUnavailable, DeviceOutOfMemory.
        """

        def read() -> PreTrainedModel:
            model, report = auto.from_pretrained(
                self.source, use_safetensors=True, dtype=dtype, output_loading_info=True, **self.arguments()
            )
            if missing := sorted(report["missing_keys"]):
                # transformers only warns, and gives these random values: the answers would be noise.
                raise ModelUnavailable(f"{self.source} lacks weights that its task needs: {', '.join(missing[:5])}")
            ready: PreTrainedModel = model.eval().requires_grad_(False).to(device)
            return ready

        progress_bars.disable_progress_bar()  # type: ignore[no-untyped-call]
        return without_traceback(lambda: self._read("weights", read))

    def digest(self) -> str:
        """The revision that results record: the hub's commit, or a digest of the folder's settings and weights."""
        if not self.is_local:
            return self.revision or "main"
        folder = Path(self.source)
        digest = hashlib.sha256()
        files = sorted({*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("*.spm")})
        for file in files:
            digest.update(f"{file.name}\0{_file_digest(file)}\n".encode())
        return digest.hexdigest()[:12]

    def _read(self, what: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            if is_out_of_memory(error) or is_fatal(error):
                raise
            raise ModelUnavailable(self._explain(what, error)) from error

    def _explain(self, what: str, error: Exception) -> str:
        first_line = str(error).strip().split("\n")[0][:300]
        problem = f"the {what} of {self.source} could not be read: {type(error).__name__}: {first_line}"
        if self.is_local:
            return problem
        return (
            f"{problem}. It is not a folder here, so it is looked for on the model hub (revision "
            f"{self.revision or 'main'}): fetch it where the hub can be reached, or name a local folder"
        )


def _file_digest(file: Path) -> str:
    """sha256 of the file, remembered for as long as its size and time of change stay the same."""
    stat = file.stat()
    key = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
    with _digests_lock:
        if key not in _digests:
            with file.open("rb") as content:
                _digests[key] = hashlib.file_digest(content, "sha256").hexdigest()
        return _digests[key]


def without_traceback(call: Callable[[], T]) -> T:
    """The call's answer; running out of memory becomes DeviceOutOfMemory, raised after the `except` block has ended.

    Inside of it, the exception's traceback would hold the frames of the failed pass, and these its tensors: the next,
    smaller try would find the device as full as before.
    """
    try:
        return call()
    except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(error):
            raise
    raise DeviceOutOfMemory


def window(config: PretrainedConfig, tokenizer: Any, wanted: int | None) -> int:
    """Tokens that the model takes at once, special tokens included: the least of what each source allows.

    wanted: the catalogue's. Models without learned positions (T5) and tokenizers without a limit allow anything; where
    nobody says anything, 512.
    """
    limits = [n for n in (wanted, positions(config), getattr(tokenizer, "model_max_length", None)) if n]
    return min([n for n in limits if n < UNBOUNDED], default=512)


def positions(config: PretrainedConfig) -> int | None:
    """How many positions the model was made for; None for those with relative positions alone."""
    if config.model_type in ("t5", "mt5", "umt5", "longt5"):
        return None
    found = getattr(config, "max_position_embeddings", None)
    if found is None or found <= 0:
        return None
    # RoBERTa and its kin count positions from after the padding's index.
    if config.model_type in _PADDED_POSITIONS:
        return int(found) - int(config.pad_token_id or 0) - 1
    return int(found)


_PADDED_POSITIONS = {
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "roberta-prelayernorm",
    "data2vec-text",
    "xmod",
    "longformer",
    "mpnet",
}


def padded(rows: Sequence[Sequence[int]], fill: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, attention mask), both (rows, longest), int64, padded on the right."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=torch.long)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(longest)[None, :] < lengths[:, None]).long()
    if device.type == "cuda":
        return ids.pin_memory().to(device, non_blocking=True), mask.pin_memory().to(device, non_blocking=True)
    return ids.to(device), mask.to(device)


class Resident:
    """A model's place on the device. Used from the engine's thread alone."""

    def __init__(self, checkpoint: Checkpoint, auto: Any, device: torch.device, precision: devices.Precision) -> None:
        self._checkpoint, self._auto = checkpoint, auto
        self.device = device
        self.dtype = devices.precision(precision, device)
        self._model: PreTrainedModel | None = None

    @property
    def model(self) -> PreTrainedModel:
        """Raises ModelUnavailable while it is not loaded."""
        if self._model is None:
            raise ModelUnavailable(f"{self._checkpoint.source} is not loaded")
        return self._model

    def load(self) -> PreTrainedModel:
        """Raises ModelUnavailable, DeviceOutOfMemory."""
        if self._model is None:
            self._model = self._checkpoint.weights(self._auto, self.device, self.dtype)
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
