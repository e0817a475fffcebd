"""The catalogue: which models this installation offers, read from a TOML file and checked before anything starts.

Producers choose from the catalogue by name, or by task and languages; never from the hub. The api reads it to refuse a
job early, the workers to load what the job asks for. Nothing here imports torch or transformers: a local folder is
judged by its config.json and by the headers of its weights. `docs/models.md` describes the file.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from store.model_folder import FolderError, inspect
from store.toml_lines import line_of
from textmill.errors import CatalogueError, InvalidOptions, ModelNotFound
from textmill.wire import OPTIONS, Task

Model = TypeVar("Model", bound=BaseModel)

HUB = "hub:"
"""Prefix of a source on the hub. Without a prefix a mistyped folder would silently become a download."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""A model's name is also the name of its Celery queue and a label in metrics."""

LANGUAGE_OPTIONS = ("source_lang", "target_lang")
LIMITED = ("min_length", "max_length", "max_new_tokens")


class Declared(BaseModel):
    """One entry as it stands in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    task: Task
    source: Annotated[str, Field(min_length=1)]
    """A folder, relative to the catalogue file, or `hub:owner/name`."""
    revision: str | None = None
    """Hub: the commit to fetch (left out: `main`, as it is when first fetched). Folder: a label of your own.

    Recorded in results.
    """
    source_langs: list[str] = Field(default_factory=list)
    target_langs: list[str] = Field(default_factory=list)
    """ISO 639 codes. A translation model takes any of its source languages to any other of its target languages."""
    lang_codes: dict[str, str] = Field(default_factory=dict)
    """What the model's tokenizer calls a language, where that is not the ISO code (NLLB: `en = "eng_Latn"`)."""
    window: Annotated[int, Field(ge=8, le=1_000_000)]
    """Tokens of input that the model takes at once, special tokens included; also the most that it may generate."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Defaults of this model's options; a job's own win. What neither says comes from generation_config.json."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What the weights are loaded as; auto: bfloat16 where the device is fast at it, float32 elsewhere."""
    licence: Annotated[str, Field(min_length=1)]
    limitations: Annotated[str, Field(min_length=1)]
    default: bool = False
    """Chosen for its task (and language pair) where a job names no model."""

    @model_validator(mode="after")
    def _languages_belong_to_translation(self) -> Self:
        wanted, given = self.task == "translation", (bool(self.source_langs), bool(self.target_langs))
        if given != (wanted, wanted):
            raise ValueError("source_langs and target_langs: a translation model needs both, any other has neither")
        if unknown := sorted(set(self.lang_codes) - {*self.source_langs, *self.target_langs}):
            raise ValueError(f"lang_codes names languages that are in neither list: {', '.join(unknown)}")
        return self


class Entry(Declared):
    """A model on offer: what the file says, and what its folder shows."""

    name: Annotated[str, Field(pattern=NAME)]
    task: Task | None  # type: ignore[assignment]
    """None: any task (the echo model only)."""
    local: bool
    path: Path | None = None
    """The folder of a local model; None for the hub and for echo."""
    architecture: str | None = None
    """The transformers class named in config.json; None where that was not read (hub)."""
    labels: list[str] | None = None
    """Entity labels without B- and I- (NER in a local folder); None: unknown before loading."""

    def languages(self, options: Mapping[str, object]) -> tuple[str | None, str | None]:
        """The (source, target) languages that the options ask for, as this entry writes them.

        An only language need not be named. (None, None) for models that do not translate. Raises InvalidOptions where a
        language is unknown or missing.
        """
        if self.task != "translation":
            return None, None
        found = []
        for option, offered in zip(LANGUAGE_OPTIONS, (self.source_langs, self.target_langs), strict=True):
            asked = options.get(option)
            lang = self.match(str(asked), offered) if asked is not None else offered[0] if len(offered) == 1 else None
            if lang is None:
                problem = f"has no {option} {asked!r}" if asked is not None else f"needs {option}"
                raise InvalidOptions(
                    f"the model {self.name} {problem}: {', '.join(offered)}", option=option, valid=offered
                )
            found.append(lang)
        if found[0] == found[1]:
            raise InvalidOptions(f"source_lang and target_lang are both {found[0]}", option="target_lang")
        return found[0], found[1]

    def match(self, asked: str, offered: list[str]) -> str | None:
        """The offered code that a spelling means: `pt_BR`, `PT` and the tokenizer's own code all find `pt`."""
        wanted = asked.replace("_", "-").lower()
        by_spelling = {code.replace("_", "-").lower(): code for code in offered}
        by_spelling |= {
            self.lang_codes[code].replace("_", "-").lower(): code for code in offered if code in self.lang_codes
        }
        return by_spelling.get(wanted) or by_spelling.get(wanted.split("-")[0])

    def tokenizer_code(self, lang: str) -> str:
        """What this model's tokenizer calls the language."""
        return self.lang_codes.get(lang, lang)

    def public(self) -> dict[str, Any]:
        """What `GET /v1/models` shows. The place of a local folder stays private."""
        shown = self.model_dump(
            include={
                "name",
                "task",
                "default",
                "source_langs",
                "target_langs",
                "window",
                "options",
                "labels",
                "revision",
            }
            | {"dtype", "architecture", "licence", "limitations"}
        )
        return shown | {"source": None if self.local else self.source}


ECHO = Entry(
    name="echo", task=None, source="echo", local=True, window=512, licence="Apache-2.0",
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

    def resolve(self, task: Task, model: str | None, options: Mapping[str, object]) -> Entry:
        """The model of that name, or the default for the task and language pair.

        Checks task and languages, no other option. Raises ModelNotFound (no such name, or nothing offered for the task
        or pair) and InvalidOptions (the model is for another task; a language is missing or unknown to it).
        """
        if model is not None:
            entry = self.get(model)
            if entry.task not in (None, task):
                fitting = [e.name for e in self.for_task(task)]
                raise InvalidOptions(
                    f"the model {model} is for {entry.task}, not {task}; for that: {', '.join(fitting)}", valid=fitting
                )
            entry.languages(options)
            return entry
        candidates = sorted(self.for_task(task), key=lambda entry: not entry.default)
        if task == "translation":
            candidates = _for_pair(candidates, options)
        if not candidates:
            raise ModelNotFound(f"the catalogue has no model for {task}", task=task)
        return candidates[0]

    def for_task(self, task: Task) -> list[Entry]:
        """Entries made for the task, in the order of the file."""
        return [entry for entry in self.entries.values() if entry.task == task]

    def with_echo(self) -> "Catalogue":
        """The same catalogue and the echo model, which serves any task by name and is never a default."""
        return Catalogue(MappingProxyType({**self.entries, ECHO.name: ECHO}))


def _for_pair(candidates: list[Entry], options: Mapping[str, object]) -> list[Entry]:
    """Which translation models can do what the options ask; raises where that is nothing, or guesswork.

    Without source_lang only models of a single source language count, and they must agree: German read as French comes
    out as fluent nonsense. Without target_lang only defaults count, and they must agree too.
    """
    source, target = (options.get(option) for option in LANGUAGE_OPTIONS)
    for option in LANGUAGE_OPTIONS:
        _check_offered(candidates, option, options.get(option))
    fitting = []
    for entry in candidates:
        if target is None and not entry.default:
            continue
        try:
            fitting.append((entry, entry.languages(options)))
        except InvalidOptions:
            continue
    pairs = {pair for _, pair in fitting}
    if not fitting or ((source is None or target is None) and len(pairs) > 1):
        offered = sorted(
            {f"{s}-{t}" for entry in candidates for s in entry.source_langs for t in entry.target_langs if s != t}
        )
        missing = [option for option in LANGUAGE_OPTIONS if options.get(option) is None]
        if missing:
            raise InvalidOptions(f"translation needs {' and '.join(missing)} here", valid=offered, missing=missing)
        raise ModelNotFound(f"no model in the catalogue translates from {source} to {target}", valid=offered)
    return [entry for entry, _ in fitting]


def _check_offered(candidates: list[Entry], option: str, asked: object) -> None:
    """Raises ModelNotFound for a language that no model has on this side."""
    sides = [(entry, entry.source_langs if option == "source_lang" else entry.target_langs) for entry in candidates]
    if asked is None or not candidates or any(entry.match(str(asked), offered) for entry, offered in sides):
        return
    offered = sorted({lang for _, langs in sides for lang in langs})
    message = f"{option} {str(asked)!r} is not offered; offered are: {', '.join(offered)}"
    raise ModelNotFound(message, option=option, valid=offered)


def check_options(entry: Entry, options: Mapping[str, object]) -> None:
    """Limits that depend on the model; the form of each option is checked by `textmill.wire` before.

    Raises InvalidOptions with the valid values: lengths beyond the window, a minimum above the maximum, unknown labels.
    """
    merged = {**entry.options, **options}
    lengths = {name: value for name in LIMITED if isinstance(value := merged.get(name), int)}
    for name, value in lengths.items():
        if value > entry.window:
            message = f"{name} is {value}; the model {entry.name} takes and gives at most {entry.window} tokens"
            raise InvalidOptions(message, option=name, maximum=entry.window)
    # A job that sets max_new_tokens overrides the catalogue's max_length, as in transformers.
    upper = "max_new_tokens" if "max_new_tokens" in lengths else "max_length"
    if upper in lengths and lengths.get("min_length", 0) > lengths[upper]:
        raise InvalidOptions(
            f"min_length {lengths['min_length']} is above {upper} {lengths[upper]}", option="min_length"
        )
    labels = options.get("labels")
    if isinstance(labels, list) and entry.labels is not None and (unknown := sorted(set(labels) - set(entry.labels))):
        message = (
            f"the model {entry.name} has no label {', '.join(map(str, unknown))}; it has: {', '.join(entry.labels)}"
        )
        raise InvalidOptions(message, option="labels", valid=entry.labels)


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
    declared = _validated(Declared, table)
    _validated(OPTIONS[declared.task], declared.options, "options")
    fields = declared.model_dump() | {"name": name, "local": not declared.source.startswith(HUB)}
    if not fields["local"]:
        return _validated(Entry, fields | {"source": declared.source.removeprefix(HUB)})
    try:
        folder = inspect((base / declared.source).resolve(), declared.task, declared.window)
    except FolderError as error:
        raise _EntryError(error.key, str(error)) from error
    facts = {"path": folder.path, "architecture": folder.architecture, "labels": folder.labels}
    return _validated(Entry, fields | facts)


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
    """The entry's own options are within its limits, and it is the only default of its task (and language pair).

    With two defaults, which one serves a job would hang on the order of the file. Raises _EntryError.
    """
    try:
        check_options(entry, {})
    except InvalidOptions as error:
        raise _EntryError("options", error.message) from error
    for other in entries.values():
        clash = entry.default and other.default and other is not entry and other.task == entry.task
        if clash and entry.task == "translation":
            clash = not (set(entry.source_langs).isdisjoint(other.source_langs))
            clash = clash and not set(entry.target_langs).isdisjoint(other.target_langs)
        if clash:
            raise _EntryError("default", f"{other.name} is the default already")
