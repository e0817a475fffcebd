"""In which line of a TOML file a key stands: tomllib keeps no lines, and an error without one is hard to act on."""

from collections.abc import Iterator


def line_of(text: str, table: str, key: str | None = None) -> int:
    """The line (from 1) of a top-level table's key (dotted), or of its header where the key has no line of its own."""
    header, parts = 1, (key or "").split(".")
    best, depth = 0, 0
    for number, current, assigned in _keys(text):
        if not current or current[0] != table:
            continue
        if not assigned and len(current) == 1:
            header = number
        path = [*current[1:], *assigned]
        if len(path) > depth and path == parts[: len(path)]:
            best, depth = number, len(path)
    return best or header


def _keys(text: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """(line, current table, key) of each header (its key is empty) and of each assignment.

    Reads valid TOML only. A string over several lines that looks like TOML itself could mislead it: to a wrong line.
    """
    table: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#")[0].strip()
        if line.startswith("[") and line.endswith("]") and "=" not in line:
            table = _parts(line.strip("[]"))
            yield number, table, []
        elif "=" in line:
            yield number, table, _parts(line.split("=")[0])


def _parts(dotted: str) -> list[str]:
    """`a."b c"` -> [a, b c]; a quoted name that has a dot itself stays whole where it is the only part."""
    whole = dotted.strip()
    if whole[:1] in "\"'" and whole.count(whole[0]) == 2 and whole.endswith(whole[0]):
        return [whole[1:-1]]
    return [part.strip().strip("\"'") for part in dotted.split(".")]
