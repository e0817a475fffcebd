"""Real documents for measurements: the descriptions of 2,000 packages of Debian 12, in `data/descriptions.jsonl.bz2`.

They keep the licence of the package that each describes (the archive's section `main`: all free). Chosen by the digest
of the package's name, so that they are a fair sample; lengths are the archive's own. Made by

    python -m benchmarks.corpus < Translation-en       the index of English descriptions that apt fetches
"""

import bz2
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

FILE = Path(__file__).parent / "data" / "descriptions.jsonl.bz2"


def load(count: int = 2_000) -> list[tuple[str, str]]:
    """(id, text) of so many documents, in the file's order, which is no order of length."""
    with bz2.open(FILE, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [(row["id"], row["text"]) for row in rows[:count]]


def descriptions(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(package, long description) from the paragraphs of an index of descriptions."""
    package, inside = "", False
    text: list[str] = []
    for line in lines:
        if line.startswith("Package: "):
            package, text, inside = line.split()[1], [], False
        elif line.startswith("Description"):
            inside = line.startswith("Description-en:")
        elif inside and line.startswith(" "):
            text.append("" if line.strip() == "." else line[1:].rstrip())
        else:
            inside = False
            if line == "\n" and text:
                yield package, "\n".join(text)


def main() -> None:
    """Make the file from an index on standard input."""
    chosen: dict[str, str] = {}
    seen: set[str] = set()
    found = sorted(set(descriptions(sys.stdin)), key=lambda row: hashlib.md5(row[0].encode()).hexdigest())
    for package, text in found:
        if text not in seen and len(text) > 120:
            seen.add(text)
            chosen[package] = text
        if len(chosen) == 2_000:
            break
    FILE.parent.mkdir(exist_ok=True)
    with bz2.open(FILE, "wb") as file:
        for package, text in chosen.items():
            file.write(json.dumps({"id": package, "text": text}, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main()
