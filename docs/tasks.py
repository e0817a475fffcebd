"""Writes the tables of tasks and options of `docs/http.md` from `textmill.tasks`: `make docs`; `--check` only compares.

What an option does stands where the option stands.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from tables import explanations, main

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from textmill.tasks import TASKS, TaskOptions  # noqa: E402

PAGE = ROOT / "docs" / "http.md"


def task_table() -> str:
    """A Markdown table: task, title, fields of its documents and of its output."""
    lines = ["| task | what it does | a document has | `output` |", "|---|---|---|---|"]
    for task in TASKS:
        fields = ", ".join(f"`{name}`" for name in task.output.model_fields)
        instead = task.fields.instead_of_text
        beside = " or ".join(f"`{name}`" for name in ("text", *sorted(instead)))
        beside += "".join(f", `{name}`" for name in task.fields.model_fields if name not in instead)
        lines.append(f"| {_names(task.name, task.aliases)} | {task.title} | {beside} | {fields} |")
    return "\n".join(lines)


def option_table() -> str:
    """A Markdown table: option, tasks, values, meaning."""
    lines = ["| option | tasks | value | meaning |", "|---|---|---|---|"]
    names = dict.fromkeys(name for task in TASKS for name in task.options.model_fields)
    for name in names:
        having = [task for task in TASKS if name in task.options.model_fields]
        # One name, one meaning: what the first task says of it holds for all.
        options = having[0].options
        alias = options.model_fields[name].validation_alias
        others = [str(other) for other in alias.choices if other != name] if isinstance(alias, AliasChoices) else []
        told = "all" if len(having) == len(TASKS) else ", ".join(task.name for task in having)
        shown = [
            _names(name, others),
            told,
            values(options.model_json_schema()["properties"][name]),
            meaning(options, name),
        ]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in shown)} |")
    return "\n".join(lines)


def _names(name: str, others: Any) -> str:
    return ", or ".join(f"`{each}`" for each in (name, *others))


def meaning(options: type[TaskOptions], name: str) -> str:
    """The docstring below the field, in the class that declares it. Raises KeyError where there is none."""
    declaring = next(cls for cls in options.__mro__ if name in inspect.get_annotations(cls))
    return explanations(declaring)[name]


def values(schema: dict[str, Any]) -> str:
    """What a JSON schema allows, in words; `null` (not given) left out."""
    return " or ".join(_kinds(schema))


def _kinds(schema: dict[str, Any]) -> Iterator[str]:
    if "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from _kinds(one)
    elif "enum" in schema or "const" in schema:
        yield ", ".join(f'`"{value}"`' for value in schema.get("enum", [schema.get("const")]))
    elif schema["type"] == "array":
        yield f"list of {values(schema['items'])}s"
    elif schema["type"] in ("integer", "number"):
        low = (
            f"above {schema['exclusiveMinimum']:g}" if "exclusiveMinimum" in schema else f"{schema.get('minimum', 0):g}"
        )
        yield f"{schema['type']}, {low} to {schema['maximum']:,g}"
    elif schema["type"] != "null":
        yield str(schema["type"])


if __name__ == "__main__":
    sys.exit(main(PAGE, {"tasks": task_table, "options": option_table}))
