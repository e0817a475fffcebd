"""The parts of the site's reference that the code writes: calls and objects of HTTP, commands, errors.

They stand in no file of the repository: `docs/conf.py` puts them between the marks of a page when the site is built.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
from fastapi import FastAPI

import standalone.__main__
import workers.model_command
from api import app, health
from api import main as api_main
from api.faces import Faces
from textmill import cli, errors
from workers import main as workers_main

METHODS = ("get", "post", "put", "patch", "delete")
Schema = Mapping[str, Any]


def described() -> dict[str, Any]:
    """The OpenAPI document, as a running api gives it."""
    bare = FastAPI(title="Textmill", version=app.VERSION)
    for face in app.FACES:
        for router in face.routers:
            bare.include_router(router)
    bare.include_router(health.router)
    return app.openapi(bare, Faces(app.FACES))


def calls() -> str:
    """Every call: what it does, its parameters, its bodies, its answers."""
    paths = described()["paths"]
    return "\n".join(line for path in paths for line in _calls_at(path, paths[path]))


def _calls_at(path: str, operations: Schema) -> Iterator[str]:
    for method in METHODS:
        if method not in operations:
            continue
        operation = operations[method]
        yield f"### `{method.upper()} {path}`\n"
        yield f"{operation.get('description', '')}\n"
        if parameters := operation.get("parameters"):
            yield "| parameter | in | value | |\n|---|---|---|---|"
            for one in parameters:
                needed = "" if one.get("required") else "optional"
                yield f"| `{one['name']}` | {one['in']} | {_cell(value(one['schema']))} | {needed} |"
            yield ""
        for kind, schema in _contents(operation.get("requestBody", {})):
            yield f"Body, `{kind}`: {value(schema)}\n"
        for status, answer in operation["responses"].items():
            shown = [value(schema) for _, schema in _contents(answer) if schema]
            yield f"- {status}: {', '.join(shown) or answer['description']}"
        yield ""


def _contents(holder: Schema) -> Iterator[tuple[str, Schema]]:
    for kind, content in holder.get("content", {}).items():
        yield kind, content.get("schema", {})


def objects() -> str:
    """Every object that calls take and give."""
    schemas = described()["components"]["schemas"]
    return "\n".join(line for name in sorted(schemas) for line in _object(name, schemas[name]))


def _object(name: str, schema: Schema) -> Iterator[str]:
    yield f"(object-{name.lower()})=\n### {name}\n"
    yield f"{schema.get('description', '')}\n"
    if "properties" in schema:
        yield "| field | value | |\n|---|---|---|"
        for field, one in schema["properties"].items():
            notes = ["needed"] if field in schema.get("required", ()) else []
            notes += [one["description"]] if "description" in one else []
            yield f"| `{field}` | {_cell(value(one))} | {_cell('; '.join(notes))} |"
        yield ""
    else:
        yield f"{value(schema)}\n"


def value(schema: Schema) -> str:
    """What a schema allows, in words, with links to objects."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#object-{name.lower()})"
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{one!r}`" for one in schema.get("enum", [schema.get("const")]))
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(map(value, schema[several])))
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {value(schema.get('items', {}))}"
    inside = schema.get("additionalProperties")
    if kind == "object" and isinstance(inside, dict):
        return f"object of {value(inside)}"
    return f"{kind}{_limits(schema)}"


def _limits(schema: Schema) -> str:
    """` (1 to 10)`, or nothing."""
    for least, most, of in (("minimum", "maximum", ""), ("minLength", "maxLength", " characters")):
        if least in schema and most in schema:
            return f" ({schema[least]} to {schema[most]}{of})"
        if least in schema:
            return f" (from {schema[least]}{of})"
        if most in schema:
            return f" (at most {schema[most]}{of})"
    return ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def commands() -> str:
    """Every command as its own `--help` says it."""
    found = [
        *_of_click(cli.main, "textmill"),
        *_of_click(api_main.main, "python -m api"),
        *_of_click(workers_main.command, "python -m workers"),
        *_of_argparse(workers.model_command.parser()),
        *_of_argparse(standalone.__main__.parser()),
    ]
    return "\n".join(f"## `{name}`\n\n```text\n{text}\n```\n" for name, text in found)


def _of_click(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    context = click.Context(command, parent, name, terminal_width=100, max_content_width=100)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for one in command.list_commands(context):
            inner = command.get_command(context, one)
            if inner is not None and inner.add_help_option:  # one that has none hands over to another parser
                yield from _of_click(inner, one, context)


def _of_argparse(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    yield parser.prog, parser.format_help().rstrip()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _of_argparse(inner)


def error_codes() -> str:
    """Every error: its code, the class that the client raises, whether trying again can help, what it says."""
    lines = ["| code | raised as | again? | |", "|---|---|---|---|"]
    for code, cls in sorted(errors.by_code().items()):
        message = (cls.__doc__ or "").strip().split("\n")[0]
        lines.append(f"| `{code}` | `{cls.__name__}` | {'yes' if cls.retry else ''} | {_cell(message)} |")
    return "\n".join(lines)


PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/reference/http": {"calls": calls, "objects": objects},
    "docs/reference/commands": {"commands": commands},
    "docs/reference/python": {"error codes": error_codes},
}
"""The pages, each with its marks and what stands between them."""
