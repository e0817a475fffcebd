"""What a folder with a model shows without loading it: architecture, labels, whether its files are there and whole.

Reads config.json and the headers of the safetensors files (their first bytes), so that a wrong folder is refused at
start and not by the first job, and so that a pickle is never opened.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.tasks import Task

TOKENIZER_FILES = ("tokenizer.json", "source.spm", "sentencepiece.bpe.model", "spiece.model", "vocab.json", "vocab.txt")


class FolderError(Exception):
    """The folder cannot serve; `key` is the entry's key that is to blame."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True)
class Folder:
    """A folder that passed."""

    path: Path
    architecture: str
    labels: list[str] | None
    chat_template: bool


def inspect(path: Path, task: Task, window: int) -> Folder:
    """Check that the folder has a model for the task with that window (tokens). Raises FolderError."""
    if not path.is_dir():
        raise FolderError("source", f"there is no folder {path} (a model on the hub is written hub:owner/name)")
    config = _json(path / "config.json")
    if "auto_map" in config:
        raise FolderError("source", f"{path / 'config.json'} asks for code of its own (auto_map), which is never run")
    architecture = next(iter(config.get("architectures") or []), None)
    if not isinstance(architecture, str):
        raise FolderError("source", f"{path / 'config.json'} names no architecture")
    if not architecture.endswith(task.architectures):
        raise FolderError("task", f"{path.name} is a {architecture}, which does not do {task.name}")
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    if isinstance(positions, int) and window > positions:
        raise FolderError("window", f"{window} tokens, but {path.name} has only {positions} positions")
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise FolderError("source", f"{path} has no tokenizer ({', '.join(TOKENIZER_FILES)})")
    for weights in _weights(path):
        _check_safetensors(weights)
    return Folder(path, architecture, task.labels(config), _has_chat_template(path))


def _has_chat_template(path: Path) -> bool:
    """Where transformers keeps a tokenizer's: a file of its own, or, in older checkpoints, a setting."""
    settings = path / "tokenizer_config.json"
    return (path / "chat_template.jinja").is_file() or (
        settings.is_file() and _json(settings).get("chat_template") is not None
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise FolderError("source", f"{path} is missing") from error
    except ValueError as error:
        raise FolderError("source", f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise FolderError("source", f"{path} is not a JSON object")
    return found


def _weights(path: Path) -> list[Path]:
    """The safetensors files that transformers would load, all present."""
    index = path / "model.safetensors.index.json"
    files = sorted(set(_json(index).get("weight_map", {}).values())) if index.is_file() else ["model.safetensors"]
    for name in files:
        if not (path / name).is_file():
            pickles = [found.name for found in path.glob("*.bin")]
            other = f"; {', '.join(pickles)} is not safetensors and is never loaded" if pickles else ""
            raise FolderError("source", f"{path / name} is missing{other}")
    return [path / name for name in files]


def _check_safetensors(path: Path) -> None:
    """Safetensors, and as long as its header says: catches truncated downloads, LFS pointers, renamed pickles."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length < min(size, 100_000_000) else b""
    try:
        tensors = json.loads(header)
        end = max(tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FolderError("source", f"{path} is not a safetensors file") from error
    if 8 + length + end != size:
        raise FolderError("source", f"{path} has {size} bytes where its header tells of {8 + length + end}")
