"""`standalone.json`: where the running system is, for programs. Written when everything is ready, and kept true."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from standalone.writes import Writes


@dataclass(frozen=True)
class State:
    """The contract's content of the file."""

    api_url: str
    api_key: str
    flower_url: str
    flower_user: str
    flower_password: str
    redis_url: str
    database_url: str
    pids: dict[str, list[int]]


class StateFile:
    """The file, which only its owner may read, since it holds the key and the passwords."""

    def __init__(self, path: Path, writes: Writes | None = None) -> None:
        self.path = path
        self._writes = writes or Writes()
        self._written: State | None = None

    def write(self, state: State) -> None:
        """Replace the file at once where something has changed: a reader sees the old one or the new one.

        Where the disk refuses, the old one stays, and the next call tries again.
        """
        if state == self._written:
            return
        with self._writes.may_fail(str(self.path)):
            write_private(self.path, json.dumps(asdict(state), indent=2) + "\n")
            self._written = state

    def remove(self) -> None:
        """The system is not running."""
        self.path.unlink(missing_ok=True)
        self._written = None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, at once: never half of it, never readable for a moment."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
