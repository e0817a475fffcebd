"""What the scripts that write tables into pages share: docstrings of fields, and marks in a page."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path


def explanations(declaring: type) -> dict[str, str]:
    """The docstring below each field of a class; a field that has none is not in it."""
    body = ast.parse(textwrap.dedent(inspect.getsource(declaring))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return found


def filled(page: Path, tables: Mapping[str, Callable[[], str]]) -> str:
    """The page with each table between its marks, `<!-- name -->` and `<!-- end: name -->` (without what the name has
    before a colon)."""
    return filled_text(str(page), page.read_text(encoding="utf-8"), tables)


def filled_text(page: str, text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """The same of a page's text; the name is for the error. Raises SystemExit where marks are missing."""
    for name, table in tables.items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- end: {name.rpartition(': ')[2]} -->"
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{page}: no marks for {name}")
        text = before + start + table() + end + after
    return text


def main(page: Path, tables: Mapping[str, Callable[[], str]]) -> int:
    """Write the page; with `--check` only compare, with exit code 1 where it is out of date."""
    text = filled(page, tables)
    if "--check" not in sys.argv:
        page.write_text(text, encoding="utf-8")
    elif text != page.read_text(encoding="utf-8"):
        print(f"{page.name} is out of date: make docs", file=sys.stderr)
        return 1
    return 0
