"""The catalogue: which models this installation offers, read from a TOML file and checked before anything starts.

Producers choose from the catalogue by name, or by task and languages; never from the hub. The api reads it to refuse a
job early, the workers to load what the job asks for. Nothing here imports torch or transformers: a local folder is
judged by its config.json and by the headers of its weights. What only one task's models have (their languages) is that
task's to describe: `textmill.tasks`. `docs/models.md` describes the file.
"""

import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from store.model_folder import FolderError, inspect
from store.toml_lines import line_of
from textmill import tasks
from textmill.errors import CatalogueError, InvalidOptions, InvalidRequest, ModelNotFound
from textmill.tasks import Offer, Task
from textmill.wire import TaskName

Model = TypeVar("Model", bound=BaseModel)

HUB = "hub:"
"""Prefix of a source on the hub. Without a prefix a mistyped folder would silently become a download."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""A model's name is also the name of its Celery queue and a label in metrics."""


PACKAGE = r"^[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z0-9_-]+)*$"


class Declared(BaseModel):
    """One entry as it stands in the file, without the keys that are its task's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    task: TaskName
    source: Annotated[str, Field(min_length=1)]
    """A folder, relative to the catalogue file, or `hub:owner/name`."""
    package: Annotated[str, Field(pattern=PACKAGE)] | None = None
    """A Python package that has the same weights, and the folder in it (`name/folder`): taken instead where it is
    installed."""
    revision: str | None = None
    """Hub: the commit to fetch (left out: `main`, as it is when first fetched). Folder: a label of your own.

    Recorded in results.
    """
    window: Annotated[int, Field(ge=8, le=1_000_000)]
    """Tokens of input that the model takes at once, special tokens included; also the most that it may generate."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Defaults of this model's options; a job's own win. What neither says comes from generation_config.json."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int8_float16", "int8_bfloat16"] = "auto"
    """The number format; auto: bfloat16 where the device is fast at it, float32 elsewhere. int8 is CTranslate2's."""
    cpu_dtype: Literal["float32", "bfloat16", "float16", "int8"] | None = None
    """The number format on a CPU, in place of `dtype`: an entry is for both kinds of machine."""
    backend: Annotated[str, Field(min_length=1)] = "auto"
    """What runs the model; auto: the fastest that the worker has and that can. The workers know their names."""
    licence: Annotated[str, Field(min_length=1)]
    limitations: Annotated[str, Field(min_length=1)]
    default: bool = False
    """Chosen where a job names no model; which entries of one task may both be, the task says."""


class Entry(Declared):
    """A model on offer: what the file says, and what its folder shows."""

    name: Annotated[str, Field(pattern=NAME)]
    task: str | None  # type: ignore[assignment]
    """None: any task (the echo model only)."""
    offer: Offer = Field(default_factory=Offer)
    """The task's own keys, in its own type."""
    local: bool
    path: Path | None = None
    """The folder of a local model; None for the hub and for echo."""
    architecture: str | None = None
    """The transformers class named in config.json; None where that was not read (hub)."""
    labels: list[str] | None = None
    """What a local model of a task with labels can find; None: unknown before loading, or the task has none."""
    chat_template: bool | None = None
    """Whether a local model's tokenizer can make one text of messages; None: unknown before loading."""

    def public(self) -> dict[str, Any]:
        """What `GET /v1/models` shows: the same fields for every model, also those of another task's offer, empty.

        The place of a local folder stays private.
        """
        shown = self.model_dump(
            include={"name", "task", "default", "window", "options", "labels", "revision", "dtype", "cpu_dtype"}
            | {"backend", "architecture", "licence", "limitations", "chat_template"}
        )
        for offer in (*(task.offer.model_construct() for task in tasks.TASKS), self.offer):
            shown |= offer.public()
        return shown | {"source": None if self.local else self.source}


ECHO = Entry(
    name="echo", task=None, source="echo", backend="echo", local=True, window=512, licence="Apache-2.0",
    limitations="Not a model: it gives back its input, for trying out and measuring everything around the models.",
)  # fmt: skip


@dataclass(frozen=True)
class Catalogue:
    """The entries by name, in the order of the file."""

    entries: Mapping[str, Entry]

    def get(self, name: str) -> Entry:
        """Raises ModelNotFound, naming what is offered."""
        if name not in self.entries:
            offered = list(self.entries)
            raise ModelNotFound(f"no model {name!r} in the catalogue; it has: {', '.join(offered)}", valid=offered)
        return self.entries[name]

    def resolve(self, task: str, model: str | None, options: Mapping[str, object]) -> Entry:
        """The model of that name, or the one that the task chooses for the job's (checked) options.

        A named model is looked at for its task alone: `Task.canonical` says whether it can do what the options ask.
        Raises ModelNotFound (no such name, or nothing on offer) and InvalidOptions (the model is for another task; the
        options say too little to choose by).
        """
        wanted = tasks.get(task)
        candidates = self.for_task(wanted.name)
        if model is not None:
            entry = self.get(model)
            if entry.task not in (None, wanted.name):
                fitting = [candidate.name for candidate in candidates]
                message = f"the model {model} is for {entry.task}, not {wanted.name}; for that: {', '.join(fitting)}"
                raise InvalidOptions(message, valid=fitting)
            return entry
        if not candidates:
            raise ModelNotFound(f"the catalogue has no model for {wanted.name}", task=wanted.name)
        return wanted.choose(candidates, options)

    def for_task(self, task: str) -> list[Entry]:
        """Entries made for the task, in the order of the file."""
        return [entry for entry in self.entries.values() if entry.task == task]

    def bundled(self) -> dict[str, Entry]:
        """The first model of each task that comes with the catalogue."""
        found: dict[str, Entry] = {}
        for entry in self.entries.values():
            if entry.local and entry.package is None and entry.task is not None:
                found.setdefault(entry.task, entry)
        return found

    def with_echo(self) -> "Catalogue":
        """The same catalogue and the echo model, which serves any task by name and is never a default."""
        return Catalogue(MappingProxyType({**self.entries, ECHO.name: ECHO}))


def load(path: Path) -> Catalogue:
    """Read and check the file and its local folders. Raises CatalogueError with the line and the reason."""
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise CatalogueError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path}: not TOML: {error}") from error
    entries: dict[str, Entry] = {}
    for name, table in tables.items():
        try:
            entries[name] = entry = _entry(path.parent, name, table)
            _check_defaults(entry, entries)
        except _EntryError as wrong:
            line = line_of(text, name, wrong.key)
            raise CatalogueError(f"{path}:{line}: {name}: {wrong}", line=line, model=name, key=wrong.key) from wrong
    if not entries:
        raise CatalogueError(f"{path}: names no model")
    return Catalogue(MappingProxyType(entries))


class _EntryError(Exception):
    """An entry is wrong; `key` is the line's key, or None for the whole entry."""

    def __init__(self, key: str | None, reason: str) -> None:
        super().__init__(f"{key}: {reason}" if key else reason)
        self.key = key


def _entry(base: Path, name: str, table: object) -> Entry:
    """One table of the file as an Entry; raises _EntryError."""
    if not isinstance(table, dict):
        raise _EntryError(None, "expected a table, as in [name-of-the-model]")
    task = _task_of(table)
    general, own = Declared.model_fields, task.offer.model_fields
    if unknown := next((key for key in table if key not in general and key not in own), None):
        raise _EntryError(unknown, f"unknown; known are: {', '.join([*general, *own])}")
    declared = _validated(Declared, {key: value for key, value in table.items() if key in general})
    offer = _validated(task.offer, {key: value for key, value in table.items() if key in own})
    _validated(task.options, declared.options, "options")
    packaged = _packaged(declared.package)
    local = packaged is not None or not declared.source.startswith(HUB)
    fields = declared.model_dump() | {"name": name, "local": local, "offer": offer}
    fields["source"] = declared.source.removeprefix(HUB)
    if not local:
        return _validated(Entry, fields)
    try:
        folder = inspect(packaged or (base / declared.source).resolve(), task, declared.window)
    except FolderError as error:
        raise _EntryError(error.key if packaged is None else "package", str(error)) from error
    facts = {"path": folder.path, "architecture": folder.architecture, "labels": folder.labels}
    facts["chat_template"] = folder.chat_template
    return _validated(Entry, fields | facts)


def _packaged(package: str | None) -> Path | None:
    """The folder in the package; None where none is named, or it is not installed."""
    if package is None:
        return None
    name, _, folder = package.partition("/")
    found = importlib.util.find_spec(name)  # which imports nothing of it
    places = found.submodule_search_locations if found is not None else None
    return Path(next(iter(places))) / folder if places else None


def _task_of(table: Mapping[str, object]) -> Task:
    """The entry's task, which says what other keys it may have. Raises _EntryError."""
    if "task" not in table:
        raise _EntryError("task", "Field required")
    try:
        return tasks.get(str(table["task"]))
    except InvalidRequest as error:
        raise _EntryError("task", error.message) from error


def _validated(model: type[Model], fields: Mapping[str, object], inside: str | None = None) -> Model:
    """The fields as that model; raises _EntryError, an unknown key before what it was meant to be."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in ([inside] if inside else []) + list(first["loc"]))
        if first["type"] == "extra_forbidden":
            raise _EntryError(key, f"unknown; known are: {', '.join(model.model_fields)}") from error
        raise _EntryError(key or None, first["msg"]) from error


def _check_defaults(entry: Entry, entries: Mapping[str, Entry]) -> None:
    """The entry's own options are within its limits, and no other default is in its way. Raises _EntryError."""
    task = tasks.get(str(entry.task))
    try:
        task.defaults(entry)
    except InvalidOptions as error:
        raise _EntryError("options", error.message) from error
    for other in entries.values():
        both = entry.default and other.default and other is not entry and other.task == entry.task
        if both and task.clashes(entry, other):
            raise _EntryError("default", f"{other.name} is the default already")
