"""Writes the settings tables of `docs/operations.md` from the settings classes: `make docs`; `--check` only compares.

The classes are the source: what a setting does stands where the setting stands.
"""

import ast
import inspect
import sys
import textwrap
from pathlib import Path

from pydantic import AliasChoices
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from api.settings import ApiSettings  # noqa: E402
from store.settings import StoreSettings  # noqa: E402
from workers.settings import WorkerSettings  # noqa: E402

PAGE = ROOT / "docs" / "operations.md"
CLASSES: dict[str, type[BaseSettings]] = {"store": StoreSettings, "api": ApiSettings, "workers": WorkerSettings}


def explanations(declaring: type) -> dict[str, str]:
    """The docstring below each field of a class; a field that has none is not in it."""
    body = ast.parse(textwrap.dedent(inspect.getsource(declaring))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return found


def variables(settings: type[BaseSettings], name: str) -> list[str]:
    """The environment variables that a field is read from, the first one first."""
    alias = settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [f"{settings.model_config.get('env_prefix', '')}{name}".upper()]


def table(settings: type[BaseSettings]) -> str:
    """A Markdown table: variable, default, meaning. Raises KeyError for a field without a docstring."""
    texts = explanations(settings)
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in settings.model_fields.items():
        default = field.default
        assert default is not PydanticUndefined, f"{name} has no default: every setting has one"
        shown = {None: "unset", "": "empty", True: "true", False: "false"}.get(default, str(default))
        if isinstance(default, int) and not isinstance(default, bool):
            shown = str(default)
        names = ", ".join(f"`{variable}`" for variable in variables(settings, name))
        lines.append(f"| {names} | `{shown}` | {texts[name].replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def filled(page: str) -> str:
    """The page with each table between its marks."""
    for name, settings in CLASSES.items():
        start, end = f"<!-- settings: {name} -->\n", f"\n<!-- end: {name} -->"
        before, _, rest = page.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{PAGE}: no marks for {name}")
        page = before + start + table(settings) + end + after
    return page


def main() -> int:
    """Exit code 1 where `--check` finds the page out of date."""
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        if filled(page) != page:
            print(f"{PAGE.relative_to(ROOT)} is out of date: make docs", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(filled(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
