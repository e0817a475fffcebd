"""The seam between the queue and the models: what engine and shards see of a model, and what it is made of.

A document's way has three steps:

    prepare   text -> items that fit the model        (task thread: tokenizing, splitting)
    run       items -> outputs, one for each item     (engine thread: one forward pass or one generation)
    assemble  outputs -> Outcome, or another round    (task thread: stitching, joining, reducing)

A *rule* (`workers/tasks/`) knows the first and the last, a *backend* (`workers/backends/`) the one between. They meet
here: a rule asks for a *kind* of model, a backend computes kinds, and neither knows the other.
"""

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from textmill import tasks
from textmill.errors import ModelUnavailable
from workers import metrics
from workers.faults import Fault
from workers.kinds import Kind, ModelSpec, NotOffered

log = logging.getLogger(__name__)

BY = " by "
"""Between a model's name and a backend's: the engine's name of a second runner. Names in the catalogue have no
spaces."""

# --- what travels -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A piece of a document that fits the model: the unit of batching."""

    payload: Any
    """What the model needs to run it (token ids): opaque to the engine."""

    length: int
    """Tokens of input, at least 1: the dimension that is padded to the batch's longest."""

    rows: int = 1
    """Rows that it takes on the device (beams): a batch of n items has sum(rows) * max(length) padded tokens."""

    group: Hashable = None
    """Items share a batch only where model and group are equal (options that one generation must agree on)."""

    same: bytes | None = None
    """Items of a model whose `same` is equal have equal answers, so that one is run for all: it says payload and group.
    None: the answer is this item's own (one that is drawn at random)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document that has an output."""

    output: Mapping[str, Any]
    input_tokens: int = 0
    output_tokens: int = 0
    pieces: int = 0
    truncated: bool = False


@dataclass(slots=True)
class Prepared:
    """One round of a document: the items to run, and what `assemble` needs to know besides their outputs."""

    items: Sequence[Item]
    """May be empty (an empty text): `assemble` is then called at once with no outputs."""

    memo: Any = None
    """The rule's own: offsets, separators, the round's number."""

    input_tokens: int = 0
    pieces: int = field(default=0)


Fields = Mapping[str, Any]
"""What a document has beside its text (`textmill.tasks.Task.fields`)."""

NO_FIELDS: Fields = MappingProxyType({})


class Backend(Protocol):
    """What runs models of some kinds: a folder of `workers/backends/`. Making one loads no framework."""

    name: str
    rank: int
    """`auto` takes the highest that can."""
    kinds: frozenset[Kind]
    batch_tokens: int | None
    """Padded tokens of a batch; None: found by trial (`workers/engine/calibration.py`)."""
    stand_in: str | None
    """The backend that does what this one leaves to it (`NotOffered`)."""

    def inspect(self, spec: ModelSpec, kind: Kind) -> str | None:
        """Why it cannot run the model: kind, device, number format, architecture, not installed. None: it can."""

    def adapt(self, rule: "type[TaskRule]", spec: ModelSpec, model: Any) -> "Rule":
        """The rule over an opened model: the task's own, or one that stands in for it."""

    def import_ahead(self) -> None:
        """Import what `open` would import at its first call. Called from any thread. Raises what imports raise."""

    def open(self, spec: ModelSpec, kind: Kind) -> Any:
        """Read configuration and tokenizer -> a Model of that kind. From a task thread.

        Raises ModelUnavailable, and NotOffered for a model that is its stand-in's.
        """

    def surroundings(self, spec: ModelSpec) -> AbstractContextManager[Any]:
        """What the engine's thread runs in from the first loaded model on: thread counts, inference mode."""

    def fault(self, error: BaseException) -> Fault:
        """What an exception of its models means for batch and process."""


# --- what a task gives ------------------------------------------------------------------------------------------------


class Plan(Protocol):
    """A rule bound to one job's options, for the life of a lease. Called from one thread at a time."""

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """Cut the text into items that fit the model. fields: what the document has beside it, as its task has them.

        Raises DocumentError (DocumentTooLong, ...).
        """

    def assemble(self, prepared: Prepared, outputs: Sequence[Any]) -> Outcome | Prepared:
        """The document's outcome from its items' outputs (same order), or another round. Raises DocumentError."""


class Rule(Protocol):
    """A way from text to items and back, over one opened model. Called from many threads at once, but `run`."""

    def bind(self, options: Mapping[str, Any]) -> Plan:
        """The plan of a job with these canonical options (`textmill.tasks`). Raises TextmillError, and NotOffered for
        options that the backend leaves to its stand-in."""

    def run(self, items: Sequence[Item]) -> Sequence[Any]:
        """One output for each item, in order, by the model. All items are of one group. From the engine's thread."""

    def kept(self, output: Any) -> tuple[Any, int]:
        """The output of an item that has a `same`, fit for being kept, and the bytes that it takes."""

    def canary(self) -> Item:
        """An item that is known to be good: where it fails too, the model is at fault and not the document."""

    def probe(self) -> Item:
        """An item that is known to be good, as long as usual texts' items are: what a calibration runs."""


class TaskRule(Rule, Protocol):
    """A task's own rule, as its module has it (`RULE`)."""

    kind: ClassVar[Kind]
    """The kind of model that it needs."""

    def __init__(self, spec: ModelSpec, model: Any) -> None: ...

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """The output where a stand-in gives back the text, or what stands for it."""


class ModelRunner:
    """One model of the catalogue on one device: a rule bound to a backend.

    `rule_of(task)`: the task's rule. A model that serves any task makes the rule of each when it is first bound to it.
    `stand_in`: what does the rest where the backend does not do all (`Backend.stand_in`), and how it sees the model.
    Whether it is needed for the model is known when that is opened, and for a job when it is bound. A model that needs
    both for its jobs has two runners, which are two models to the engine: each is loaded when it is needed, counted,
    calibrated and unloaded by itself. `name`: the engine's for this one.
    """

    def __init__(
        self,
        spec: ModelSpec,
        kind: Kind,
        backend: Backend,
        rule_of: Callable[[str], type[TaskRule]],
        stand_in: tuple[ModelSpec, Backend] | None = None,
        name: str | None = None,
    ) -> None:
        self.spec = spec
        self.kind = kind
        self.backend = backend
        self.name = name or spec.name
        """The engine's name for it: that in the catalogue, or that of a second runner of the same model."""
        self._stand_in = stand_in
        self._rule_of = rule_of
        self._rules: dict[str, Rule] = {}
        self._model: Any = None

    @property
    def stand_in(self) -> str | None:
        """The engine's name of the runner for what `bind` leaves to it; None: there is none."""
        return None if self._stand_in is None else f"{self.spec.name}{BY}{self._stand_in[1].name}"

    @property
    def revision(self) -> str:
        """What results record as `model_revision`."""
        return str(self._model.revision)

    @property
    def dtype(self) -> str:
        """The number format that results record."""
        return str(self._model.dtype)

    def open(self) -> None:
        """Read configuration and tokenizer, so that `bind` works. Called once, from a task thread.

        Raises ModelUnavailable.
        """
        try:
            self._model = self.backend.open(self.spec, self.kind)
        except NotOffered as reason:
            self._take_over(reason)
        self._any = self._rule(self.spec.task or tasks.NAMES[0])

    def bind(self, task: str, options: Mapping[str, Any]) -> Plan:
        """The plan of a job. `options`: as they are stored with it. Made canonical once more, which changes nothing
        unless an earlier release has stored them. Raises InvalidOptions and other TextmillErrors, and NotOffered where
        the job is for `stand_in`."""
        return self._rule(task).bind(tasks.get(task).canonical(self.spec, options))

    def run(self, items: Sequence[Item]) -> Sequence[Any]:
        """One output for each item. Whatever it raises, `backend.fault` says what that means."""
        outputs = self._any.run(items)
        metrics.RUN_BY.labels(self.spec.name, self.backend.name, self.dtype).inc(len(items))
        return outputs

    def kept(self, output: Any) -> tuple[Any, int]:
        """An output as it is kept for equal items, and the bytes that it takes."""
        return self._any.kept(output)

    def canary(self) -> Item:
        """An item that is known to be good."""
        return self._any.canary()

    def probe(self) -> Item:
        """An item that is known to be good, of usual length."""
        return self._any.probe()

    def load(self) -> None:
        """Bring the weights to the device. Called from the engine's threads."""
        self._model.load()

    def unload(self) -> None:
        """Give the device's memory back."""
        self._model.unload()

    def memory_bytes(self) -> int:
        """Device memory that the loaded weights take; 0 while unloaded."""
        return int(self._model.memory_bytes())

    def _take_over(self, reason: NotOffered) -> None:
        if self._stand_in is None:
            raise ModelUnavailable(f"{self.spec.name}: the backend {self.backend.name} cannot run it: {reason}")
        log.warning("%s: run by %s, not %s: %s", self.name, self._stand_in[1].name, self.backend.name, reason)
        (self.spec, self.backend), self._stand_in = self._stand_in, None
        self._model = self.backend.open(self.spec, self.kind)

    def _rule(self, task: str) -> Rule:
        rule = self._rules.get(task)
        if rule is None:
            if self.spec.task not in (None, task):
                raise ValueError(f"the model {self.name} is for {self.spec.task}, not {task}")
            rule = self._rules[task] = self.backend.adapt(self._rule_of(task), self.spec, self._model)
        return rule


def bound(
    open_model: Callable[[str], ModelRunner], model: str, task: str, options: Mapping[str, Any]
) -> tuple[ModelRunner, Plan]:
    """The runner and the plan of a job: the model's own runner, or the second one where that leaves the job to it.

    `open_model(name)`: the opened runner of the engine's name. Raises what that and `ModelRunner.bind` raise.
    """
    runner = open_model(model)
    try:
        return runner, runner.bind(task, options)
    except NotOffered as reason:
        if runner.stand_in is None:
            raise ModelUnavailable(f"{model}: the backend {runner.backend.name} cannot do this: {reason}") from reason
        log.debug("%s: a job is left to %s: %s", model, runner.stand_in, reason)
    second = open_model(runner.stand_in)
    return second, second.bind(task, options)
