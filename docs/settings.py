"""Writes the settings tables of `docs/operations.md` from the settings classes: `make docs`; `--check` only compares.

The classes are the source: what a setting does stands where the setting stands.
"""

import sys
from functools import partial
from pathlib import Path

from pydantic import AliasChoices
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings
from tables import explanations, main

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from api.settings import ApiSettings  # noqa: E402
from store.settings import StoreSettings  # noqa: E402
from workers.settings import WorkerSettings  # noqa: E402

PAGE = ROOT / "docs" / "operations.md"
CLASSES: dict[str, type[BaseSettings]] = {"store": StoreSettings, "api": ApiSettings, "workers": WorkerSettings}


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
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        assert default is not PydanticUndefined, f"{name} has no default: every setting has one"
        shown = {None: "unset", "": "empty", True: "true", False: "false"}.get(default, str(default))
        if isinstance(default, int) and not isinstance(default, bool):
            shown = str(default)
        names = ", ".join(f"`{variable}`" for variable in variables(settings, name))
        lines.append(f"| {names} | `{shown}` | {texts[name].replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(PAGE, {f"settings: {name}": partial(table, settings) for name, settings in CLASSES.items()}))
