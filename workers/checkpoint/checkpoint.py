"""A model's files: where they are, and what configuration and tokenizer say. Shared by the backends that run them.

Safetensors only, and never a checkpoint's own code: weights are data here.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PretrainedConfig

from textmill.errors import ModelUnavailable

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
        """Of every `from_pretrained`. They have the catalogue's revision, which bandit (B615) cannot see."""
        pinned = {} if self.is_local or not self.revision else {"revision": self.revision}
        return {"trust_remote_code": False, "local_files_only": self.is_local, **pinned}

    def config(self) -> Any:
        """Raises ModelUnavailable."""
        return self.read("configuration", lambda: AutoConfig.from_pretrained(self.source, **self.arguments()))  # nosec B615

    def tokenizer(self) -> Any:
        """Raises ModelUnavailable."""
        return self.read("tokenizer", lambda: AutoTokenizer.from_pretrained(self.source, **self.arguments()))  # nosec B615

    def generation_config(self, config: PretrainedConfig) -> GenerationConfig:
        """The checkpoint's, or one made of its configuration where it has no file of its own."""
        try:
            return GenerationConfig.from_pretrained(self.source, **self.arguments())  # nosec B615
        except OSError:
            # An ordinary case: old checkpoints keep these settings in config.json.
            return GenerationConfig.from_model_config(config)

    def digest(self) -> str:
        """The revision that results record: the hub's commit, or a digest of the folder's settings and weights."""
        if not self.is_local:
            return self.revision or "main"
        folder = Path(self.source)
        digest = hashlib.sha256()
        files = sorted({*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("*.spm")})
        for file in files:
            digest.update(f"{file.name}\0{file_digest(file)}\n".encode())
        return digest.hexdigest()[:12]

    def commit(self, config: PretrainedConfig) -> str:
        """What tells these files from any others: the hub's commit, also where no revision was pinned and where the
        folder is a snapshot in the hub's cache; a folder's digest."""
        folder = Path(self.source)
        if self.is_local:
            return folder.name if folder.parent.name == "snapshots" else self.digest()
        return getattr(config, "_commit_hash", None) or self.digest()

    def read(self, what: str, read: Callable[[], T], passes: Callable[[Exception], bool] = lambda error: False) -> T:
        """What `read` gives; its errors become a ModelUnavailable that says what of which checkpoint it was, but for
        those that `passes` lets through."""
        try:
            return read()
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            if passes(error):
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


def file_digest(file: Path) -> str:
    """sha256 of the file, remembered for as long as its size and time of change stay the same."""
    stat = file.stat()
    key = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
    with _digests_lock:
        if key not in _digests:
            with file.open("rb") as content:
                _digests[key] = hashlib.file_digest(content, "sha256").hexdigest()
        return _digests[key]


def window(config: PretrainedConfig, tokenizer: Any, wanted: int) -> int:
    """Tokens that the model takes at once, special tokens included: the least of what each source allows.

    wanted: the catalogue's. Models without learned positions (T5) and tokenizers without a limit allow anything.
    """
    limits = [n for n in (wanted, positions(config), getattr(tokenizer, "model_max_length", None)) if n]
    return min(n for n in limits if n < UNBOUNDED)


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
