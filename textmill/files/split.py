"""One file a document: the names of the inputs kept, below one folder and never outside it."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
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


def path_of(document_id: str, suffix: str, *others: str) -> str:
    """A relative path for any id: its folders and its name stay, what a file system could take otherwise is
    percent-encoded. Ids that differ have paths that differ, but for one with and one without the suffix.

    suffix: what the name ends with: one that has it keeps its name. others: of files that stand beside it, under the
    same name without its suffix.
    """
    parts = [part for part in document_id.split("/") if part] or [""]
    name = parts[-1]
    parts[-1] = name.removesuffix(suffix)
    shown = [_part(part) for part in parts]
    # No folder has a name that a file could have.
    return "/".join([*(_folder(part, (suffix, *others)) for part in shown[:-1]), shown[-1] + suffix])


def _folder(part: str, suffixes: tuple[str, ...]) -> str:
    at = len(part) - next((len(suffix) for suffix in suffixes if part.endswith(suffix)), 0)
    return part if at == len(part) else f"{part[:at]}%2E{part[at + 1 :]}"


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
        files = _files(result, task)
        # One name for all of them: brat knows a pair by it.
        first, *others = files
        stem = path_of(result.id, first, *others).removesuffix(first)
        mark = hashlib.blake2b(stem.encode(), digest_size=8).digest()
        if mark in taken:  # "a" and "a.txt"
            stem = f"{stem}%{result.position}"
        taken.add(mark)
        for suffix, content in files.items():
            _place(root, root / (stem + suffix), content)
        written += 1
    return written


def _files(result: wire.Result, task: str) -> dict[str, str]:
    """By the suffix of each, that of the text first."""
    output: Mapping[str, Any] = result.output or {}
    fields = tasks.get(task).output.model_fields if task in tasks.NAMES else {}
    if field := next((field for field in TEXTS if field in fields), None):
        return {".txt": str(output[field])}
    if entities.are_given(task):
        return {".txt": result.text or "", ".ann": entities.brat(result)}
    return {".json": result_line(result.model_copy(update={"text": None}))}


def _place(root: Path, path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(root):
        raise InvalidRequest(f"{path.parent} leads out of {root}: nothing is written there")
    fresh = path.with_name(path.name + "%new")
    with open(fresh, "w", encoding="utf-8", newline="") as file:
        file.write(content)
    os.replace(fresh, path)
