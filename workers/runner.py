"""The seam between the queue and the models: what engine and shards see of a model, and what it is made of.

A document's way has three steps:

    prepare   text -> items that fit the model        (task thread: tokenizing, splitting)
    run       items -> outputs, one for each item     (engine thread: one forward pass or one generation)
    assemble  outputs -> Outcome, or another round    (task thread: stitching, joining, reducing)

A *rule* (`workers/tasks/`) knows the first and the last, a *backend* (`workers/backends/`) the one between. They meet
here: a rule asks for a *kind* of model, a backend computes kinds, and neither knows the other.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from textmill import tasks
from textmill.tasks.task import Offer
from workers.faults import Fault

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


@dataclass(frozen=True, slots=True)
class Generated:
    """What a model made of one item."""

    ids: Sequence[int]
    """Tokens, without the start and the end."""
    hit_limit: bool
    """Whether it ended at the length limit and not by itself."""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """What the items of one generation agree on (their `group`), with nothing left open but what only the checkpoint
    knows. Lengths are in tokens of the decoder and count its start token, as in transformers."""

    max_length: int
    min_length: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    forced_bos_token_id: int | None = None
    """The target language's token, where the model wants it second; None: the checkpoint's own."""
    decoder_start_token_id: int | None = None
    """The same, where the model wants it first."""

    def with_lengths(self, min_length: int, max_length: int) -> "GenerationSettings":
        """The same with other lengths."""
        return replace(self, min_length=min_length, max_length=max_length)


Scores = NDArray[np.float32]
"""Of one item: the probability of each label for each token, (tokens, labels), special tokens left out."""


# --- which model ------------------------------------------------------------------------------------------------------

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of the catalogue, as this process is to run it (what `textmill.tasks` calls an offered model)."""

    name: str
    task: str | None
    """None: any task (the stand-in)."""
    source: str
    """A folder, or an id on the hub."""
    window: int
    """Tokens that the model takes at once, special ones included; also the most that it may generate."""
    revision: str | None = None
    """The hub's commit. A folder's revision is the digest of what is in it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The catalogue's defaults."""
    labels: Sequence[str] | None = None
    offer: Offer = field(default_factory=Offer)
    """The catalogue's keys that only this task's models have."""
    backend: str = "auto"
    dtype: Precision = "auto"
    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1"."""
    threads: int = 0
    """CPU threads of one pass; 0: one for each core."""


class Kind(StrEnum):
    """What a model computes. Each member has a protocol below; a new one is a member, a protocol and contract tests."""

    GENERATION = "generation"
    """Text from text, by an encoder-decoder: `EncoderDecoder`."""
    TOKEN_SCORES = "token scores"
    """A distribution over labels for each token: `TokenClassifier`."""
    TEXT = "text"
    """The text itself: `TextMirror`. No model; for stand-ins."""


# --- what a backend gives ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """What a language pair puts around a text, and where decoding starts."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    forced_bos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    """The fields of GenerationSettings that name the target language."""


Pair = tuple[str | None, str | None]
"""(source, target) language, as the catalogue writes them."""

Offsets = Sequence[tuple[int, int]]
"""(start, end) of each token in the text, in code points."""


class Codec(Protocol):
    """Text to token ids and back. Called from many threads at once."""

    def encode(self, text: str) -> list[int]:
        """Token ids, special tokens left out."""

    def encode_with_offsets(self, text: str) -> tuple[list[int], Offsets]:
        """Token ids with their places. Raises ModelUnavailable where the tokenizer does not know them."""

    def word_starts(self, text: str, ids: Sequence[int], offsets: Offsets) -> list[int]:
        """The indices of the tokens that begin a word."""

    def starts(self, text: str) -> list[int]:
        """Where each token of the text begins, in code points, ascending."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated ids, special tokens left out."""

    @property
    def known_languages(self) -> frozenset[str]:
        """The tokenizer's own codes; empty where it has none."""

    def frame(self, pair: Pair) -> Frame:
        """What goes around a text of this pair. Raises ProcessingFailed where the model does not know a language."""


class Model(Protocol):
    """One model of a backend, opened: what can be known without its weights is known.

    `load`, `unload` and what computes are called from the engine's threads, one at a time.
    """

    revision: str
    """What the results record as `model_revision`: the hub's commit, or a digest of the folder."""
    dtype: str
    """The number format that it computes in, as results record it: "float32"."""

    def load(self) -> None:
        """Bring the weights to the device. Raises ModelUnavailable, and what the backend's `fault` understands."""

    def unload(self) -> None:
        """Give the device's memory back. `load` may be called again."""

    def memory_bytes(self) -> int:
        """Device memory that the loaded weights take; 0 while unloaded."""


class EncoderDecoder(Model, Protocol):
    """Of the kind GENERATION."""

    codec: Codec
    window: int
    """Tokens of input, special ones included."""
    limit: int | None
    """The most that it may generate, start token included; None: no limit."""

    def defaults(self, preset: str) -> Mapping[str, Any]:
        """The checkpoint's own generation options, those for the preset ("translation_en_to_fr") over the general ones,
        and a `prefix` that it wants before each text."""

    def generate(self, rows: Sequence[Sequence[int]], settings: GenerationSettings) -> Sequence[Generated]:
        """One generation for all rows (token ids, special ones included)."""


class TokenClassifier(Model, Protocol):
    """Of the kind TOKEN_SCORES."""

    codec: Codec
    window: int
    labels: Sequence[str]
    """By index, as in the configuration: "O", "B-PER", "I-PER"."""

    def token_scores(self, rows: Sequence[Sequence[int]], around: tuple[int, int]) -> Sequence[Scores]:
        """One forward pass. around: how many special tokens begin and end each row; they get no scores."""


class TextMirror(Model, Protocol):
    """Of the kind TEXT."""

    def texts(self, payloads: Sequence[Any]) -> Sequence[str]:
        """The texts."""


class Backend(Protocol):
    """What runs models of some kinds: a folder of `workers/backends/`. Making one loads no framework."""

    name: str
    rank: int
    """`auto` takes the highest that can."""
    kinds: frozenset[Kind]
    batch_tokens: int | None
    """Padded tokens of a batch; None: found by trial (`workers/engine/calibration.py`)."""

    def inspect(self, spec: ModelSpec, kind: Kind) -> str | None:
        """Why it cannot run the model: kind, device, number format, architecture, not installed. None: it can."""

    def adapt(self, rule: "type[TaskRule]", spec: ModelSpec, model: Any) -> "Rule":
        """The rule over an opened model: the task's own, or one that stands in for it."""

    def open(self, spec: ModelSpec, kind: Kind) -> Any:
        """Read configuration and tokenizer -> a Model of that kind. From a task thread. Raises ModelUnavailable."""

    def surroundings(self, spec: ModelSpec) -> AbstractContextManager[Any]:
        """What the engine's thread runs in from the first loaded model on: thread counts, inference mode."""

    def fault(self, error: BaseException) -> Fault:
        """What an exception of its models means for batch and process."""


# --- what a task gives ------------------------------------------------------------------------------------------------


class Plan(Protocol):
    """A rule bound to one job's options, for the life of a lease. Called from one thread at a time."""

    def prepare(self, text: str) -> Prepared:
        """Cut the text into items that fit the model. Raises DocumentError (DocumentTooLong, ...)."""

    def assemble(self, prepared: Prepared, outputs: Sequence[Any]) -> Outcome | Prepared:
        """The document's outcome from its items' outputs (same order), or another round. Raises DocumentError."""


class Rule(Protocol):
    """A way from text to items and back, over one opened model. Called from many threads at once, but `run`."""

    def bind(self, options: Mapping[str, Any]) -> Plan:
        """The plan of a job with these canonical options (`textmill.tasks`). Raises TextmillError."""

    def run(self, items: Sequence[Item]) -> Sequence[Any]:
        """One output for each item, in order, by the model. All items are of one group. From the engine's thread."""

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
    def echo(text: str) -> Mapping[str, Any]:
        """The output where a stand-in gives back the text."""


class ModelRunner:
    """One model of the catalogue on one device: a rule bound to a backend.

    `rule_of(task)`: the task's rule. A model that serves any task makes the rule of each when it is first bound to it.
    """

    def __init__(self, spec: ModelSpec, kind: Kind, backend: Backend, rule_of: Callable[[str], type[TaskRule]]) -> None:
        self.spec = spec
        self.kind = kind
        self.backend = backend
        self._rule_of = rule_of
        self._rules: dict[str, Rule] = {}
        self._model: Any = None

    @property
    def name(self) -> str:
        """The model's name in the catalogue."""
        return self.spec.name

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
        self._model = self.backend.open(self.spec, self.kind)
        self._any = self._rule(self.spec.task or tasks.NAMES[0])

    def bind(self, task: str, options: Mapping[str, Any]) -> Plan:
        """The plan of a job. `options`: as they are stored with it. Made canonical once more, which changes nothing
        unless an earlier release has stored them. Raises InvalidOptions and other TextmillErrors."""
        return self._rule(task).bind(tasks.get(task).canonical(self.spec, options))

    def run(self, items: Sequence[Item]) -> Sequence[Any]:
        """One output for each item. Whatever it raises, `backend.fault` says what that means."""
        return self._any.run(items)

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

    def _rule(self, task: str) -> Rule:
        rule = self._rules.get(task)
        if rule is None:
            if self.spec.task not in (None, task):
                raise ValueError(f"the model {self.name} is for {self.spec.task}, not {task}")
            rule = self._rules[task] = self.backend.adapt(self._rule_of(task), self.spec, self._model)
        return rule
