"""Converted checkpoints on disk: made at the first need, from the same safetensors, and kept.

Each is a folder, named by all that it depends on. It appears by a rename, whole or not at all; a lock lets one process
make it while the others wait; a list of its files' digests tells one that was damaged, which is made again. So the
cache may be deleted at any time, wholly or in part.
"""

import contextlib
import fcntl
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from workers.backends.torch.weights import CLASSES, read
from workers.checkpoint import IMPORTING
from workers.checkpoint.checkpoint import Checkpoint, file_digest
from workers.kinds import Kind, NotOffered

log = logging.getLogger(__name__)

LAYOUT = 3
"""Changed with what `specs.py` and `quantization.py` make of a checkpoint."""

MANIFEST = "manifest.json"
HEAD = "head.safetensors"
"""What stands over an encoder (`heads.py`)."""


@dataclass(frozen=True)
class Conversion:
    """One checkpoint of one kind in one number format. cache: the folder of all conversions."""

    name: str
    """The model's in the catalogue, so that people find it."""
    checkpoint: Checkpoint
    revision: str
    kind: Kind
    number_format: str
    cache: Path

    @property
    def folder(self) -> Path:
        """Where it is, once it was made."""
        # Kinds of one checkpoint differ in what stands over its encoder.
        made_by = f"{version('ctranslate2')}.{LAYOUT}"
        return self.cache / f"{self.name}-{self.revision}-{self.kind.name.lower()}-{self.number_format}-{made_by}"

    def ready(self) -> Path:
        """The folder, made if it has to be.

        Raises ModelUnavailable where the checkpoint cannot be read, and NotOffered where the conversion cannot be
        written (a full disk).
        """
        folder = self.folder
        if is_whole(folder):
            return folder
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with _locked(self.cache / f".{folder.name}.lock"):
                if not is_whole(folder):
                    self._make(folder)
        except OSError as error:
            raise NotOffered(f"its conversion cannot be written to {self.cache}: {error.strerror or error}") from error
        return folder

    def size(self) -> int:
        """Bytes of the converted weights."""
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.name in (HEAD, "model.bin"))

    def _make(self, folder: Path) -> None:
        if folder.exists():
            log.warning("%s: %s is damaged, and is made again", self.name, folder)
            shutil.rmtree(folder)
        part = self.cache / f"{folder.name}.part"
        shutil.rmtree(part, ignore_errors=True)  # of a process that died: under the lock it is nobody's
        log.info("%s: converting to %s", self.name, self.number_format)
        try:
            part.mkdir()
            self._write(part)
            files = {file.name: [file.stat().st_size, file_digest(file)] for file in sorted(part.iterdir())}
            (part / MANIFEST).write_text(json.dumps(files, indent=1))
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        with IMPORTING:
            from workers.backends.ctranslate2 import heads, quantization, specs
        # float32, whatever the checkpoint has: half precision would be rounded once more on the way to int8.
        model: Any = read(self.checkpoint, CLASSES[self.kind], torch.device("cpu"), torch.float32)
        with torch.no_grad():
            heads.save(model, self.kind, folder / HEAD)
            spec = specs.of(model, self.kind)
            spec.validate()
            quantization.optimize(spec, self.number_format)
            spec.save(str(folder))


def is_whole(folder: Path) -> bool:
    """Whether the conversion is there, as it was written."""
    try:
        files: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        return all(
            (folder / name).stat().st_size == size and file_digest(folder / name) == digest
            for name, (size, digest) in files.items()
        )
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process, and one thread of it, at a time; the lock goes with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
