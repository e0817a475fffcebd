"""One file a document: the names of the inputs kept, below one folder and never outside it."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from textmill import tasks, wire
from textmill.errors import InvalidRequest
from textmill.files import entities
from textmill.files.jsonl import result_line

TEXTS = ("summary_text", "translation_text", "generated_text")
"""Fields of outputs that are a text: the file is that text."""

MAX_NAME = 200
"""Bytes of a part of a name: file systems take 255, and a suffix follows."""

_ODD = re.compile(r'[\x00-\x1f\x7f%\\:*?"<>|]')


def path_of(document_id: str, suffix: str) -> str:
    """A relative path for any id: its folders and its name stay, what a file system could take otherwise is
    percent-encoded. Ids that differ have paths that differ, but for one with and one without the suffix.

    suffix: what the name ends with: one that has it keeps its name.
    """
    parts = [part for part in document_id.split("/") if part] or [""]
    name = parts[-1]
    parts[-1] = name.removesuffix(suffix)
    shown = [_part(part) for part in parts]
    # No folder has a name that a file could have.
    folders = [part[: -len(suffix)] + "%2E" + suffix[1:] if part.endswith(suffix) else part for part in shown[:-1]]
    return "/".join([*folders, shown[-1] + suffix])


def _part(part: str) -> str:
    safe = _ODD.sub(lambda match: f"%{ord(match[0]):02X}", part)
    # "." and ".." are places, a leading dot hides a file, an empty one is none.
    safe = f"%2E{safe[1:]}" if safe.startswith(".") else safe or "%"
    encoded = safe.encode()
    if len(encoded) <= MAX_NAME:
        return safe
    return f"{encoded[: MAX_NAME - 20].decode(errors='ignore')}%{hashlib.sha256(part.encode()).hexdigest()[:16]}"


def write(results: Iterable[wire.Result], folder: Path, task: str) -> int:
    """Write a file for each document that succeeded. Returns how many.

    Texts for tasks that give one, brat's pair of text and .ann for entities, JSON for the rest. A file is there as a
    whole or not at all. Raises InvalidRequest where a link in the folder leads out of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root, taken, written = folder.resolve(), set[bytes](), 0
    for result in results:
        if result.output is None:
            continue
        for suffix, content in _files(result, task):
            path = path_of(result.id, suffix)
            mark = hashlib.blake2b(path.encode(), digest_size=8).digest()
            if mark in taken:  # "a" and "a.txt"
                path = f"{path.removesuffix(suffix)}%{result.position}{suffix}"
            taken.add(mark)
            _place(root, root / path, content)
        written += 1
    return written


def _files(result: wire.Result, task: str) -> Iterator[tuple[str, str]]:
    output: Mapping[str, Any] = result.output or {}
    fields = tasks.get(task).output.model_fields if task in tasks.NAMES else {}
    if field := next((field for field in TEXTS if field in fields), None):
        yield ".txt", str(output[field])
    elif entities.are_given(task):
        yield ".txt", result.text or ""
        yield ".ann", entities.brat(result)
    else:
        yield ".json", result_line(result.model_copy(update={"text": None}))


def _place(root: Path, path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(root):
        raise InvalidRequest(f"{path.parent} leads out of {root}: nothing is written there")
    fresh = path.with_name(path.name + "%new")
    with open(fresh, "w", encoding="utf-8", newline="") as file:
        file.write(content)
    os.replace(fresh, path)
