"""What a task is, as far as producers, the api and the catalogue need to know: one `Task` describes one.

How a text becomes items and comes back is the workers' half of a task. Nothing here knows a framework or a model's
weights.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError

from textmill.base import Request, Wire
from textmill.errors import InvalidDocument, InvalidOptions


class TaskOptions(Request):
    """Options that every task has."""

    # The docstring below a field is its description: in JSON schemas, and in the tables of the pages.
    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, strict=True, use_attribute_docstrings=True
    )

    long_documents: Literal["auto", "error"] | None = None
    """A text beyond the model's window: handled by the task's rule (`auto`), or failed with `document_too_long`."""


class DocumentFields(Request):
    """What a task's documents have beside their id and their text: nothing, unless the task says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    instead_of_text: ClassVar[frozenset[str]] = frozenset()
    """Those that a document may have in the place of its text."""


class Offer(BaseModel):
    """The keys of a catalogue entry that only the models of one task have: none, unless the task says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def public(self) -> dict[str, Any]:
        """What `GET /v1/models` shows of them."""
        return self.model_dump()


class Offered(Protocol):
    """What a task needs to know of a model: an entry of the catalogue, or what a worker makes of one."""

    @property
    def name(self) -> str: ...
    @property
    def window(self) -> int:
        """Tokens of input that the model takes at once; also the most that it may generate."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Defaults of the job's options."""

    @property
    def labels(self) -> Sequence[str] | None:
        """What the model can find; None: unknown, or the task has none."""

    @property
    def offer(self) -> BaseModel:
        """The task's own keys; those of no task for a model that serves every task (echo)."""


class Candidate(Offered, Protocol):
    """An entry of the catalogue: a model that a job which names none may get."""

    @property
    def default(self) -> bool: ...
    @property
    def chat_template(self) -> bool | None:
        """Whether its tokenizer can make one text of messages; None: unknown before it is loaded."""


C = TypeVar("C", bound=Candidate)


@dataclass(frozen=True)
class Task:
    """One task. Its methods say what holds for most tasks; a task that differs overrides them."""

    name: str
    """As the transformers library calls it."""
    title: str
    """What it does, in one sentence."""
    options: type[TaskOptions]
    output: type[Wire]
    """What becomes of a document."""
    architectures: tuple[str, ...]
    """How the names of the transformers classes end that can serve it."""
    aliases: tuple[str, ...] = ()
    """Other names that are taken for it."""
    offer: type[Offer] = Offer
    fields: type[DocumentFields] = DocumentFields
    """What its documents have beside their id and their text."""

    def labels(self, config: Mapping[str, Any]) -> list[str] | None:
        """What a model of this task can find, after its config.json; None where the task has no labels."""
        return None

    def shown(self, output: Mapping[str, Any]) -> str:
        """What became of a document, for people; programs take the output."""
        return json.dumps(dict(output), ensure_ascii=False, indent=1)

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options under their own names, without those that are None. Raises InvalidOptions with the valid ones.

        Looks at the form of each option alone: what depends on the model is `canonical`'s to check.
        """
        try:
            return self.options.model_validate(dict(options)).model_dump(exclude_none=True)
        except ValidationError as error:
            valid = list(self.options.model_fields)
            found = [{"option": str(one["loc"][0]), "message": self._said(one)} for one in error.errors()]
            message = f"{found[0]['option']}: {found[0]['message']}; options of {self.name}: {', '.join(valid)}"
            raise InvalidOptions(message, valid=valid, errors=found) from error

    def _said(self, error: Any) -> str:
        if error["type"] != "extra_forbidden":
            return str(error["msg"])
        for name, field in self.options.model_fields.items():
            alias = field.validation_alias
            if isinstance(alias, AliasChoices) and error["loc"][0] in alias.choices:
                return f"given twice, as {name} too"
        return f"{self.name} has no such option"

    def check_fields(
        self, fields: Mapping[str, Any], options: Mapping[str, Any], model: Candidate | None = None
    ) -> None:
        """Raises InvalidDocument where these cannot be what a document has beside its text, in a job with these
        (canonical) options. model: the job's; None: it is no more in the catalogue."""
        try:
            self.fields.model_validate(dict(fields))
        except ValidationError as error:
            first = error.errors()[0]
            field, valid = str(first["loc"][0]), ["text", *self.fields.model_fields]
            unknown = first["type"] == "extra_forbidden" and len(first["loc"]) == 1
            problem = f"{self.name} has no such field" if unknown else str(first["msg"])
            place = ".".join(map(str, first["loc"]))
            message = f"{place}: {problem}; a document of {self.name} has: {', '.join(valid)}"
            raise InvalidDocument(message, field=field, valid=valid) from error

    def lay_over(self, lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
        """One layer of options over another: what the upper one gives (and is not None) wins."""
        return {name: value for layer in (lower, upper) for name, value in layer.items() if value is not None}

    def check(self, model: Offered, options: Mapping[str, Any]) -> None:
        """Raises InvalidOptions with the valid values where `checked` options are beyond this model, each by itself
        or together."""

    def defaults(self, model: Offered) -> dict[str, Any]:
        """The options that the catalogue gives the model, as one checked layer. Raises InvalidOptions."""
        own = self.checked(model.options)
        self.check(model, own)
        return self.lay_over({}, own)

    def canonical(self, model: Offered, options: Mapping[str, Any]) -> dict[str, Any]:
        """What a job's options come to for this model: all that is decided before a text is seen.

        Under their own names, over the model's defaults, within its limits. What neither the job nor the catalogue
        says is left out, and the checkpoint's own settings hold. Doing it twice changes nothing. Raises InvalidOptions.
        """
        given = self.checked(options)
        self.check(model, given)
        merged = self.lay_over(self.defaults(model), given)
        self.check(model, merged)
        return merged

    def choose(self, candidates: Sequence[C], options: Mapping[str, Any]) -> C:
        """Which of the catalogue's models of this task (at least one, in its order) serves a job that names none.

        options: the job's, checked. Raises ModelNotFound, InvalidOptions.
        """
        return next((model for model in candidates if model.default), candidates[0])

    def clashes(self, one: Offered, other: Offered) -> bool:
        """Whether two models cannot both be the default: which of them serves a job would hang on their order."""
        return True
