"""Kinds of models: what one is asked for, and what it gives, whatever computes it.

A rule asks for a kind, a backend offers some; `workers/runner.py` puts them together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from textmill.tasks.task import Offer

# --- which model ------------------------------------------------------------------------------------------------------

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8", "int8_float16", "int8_bfloat16"]
"""Number formats. Which of them there are depends on backend and device; auto: the backend's choice."""


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
    cache_dir: Path = Path(".textmill/cache")
    """Where a backend keeps what it makes of checkpoints."""


# --- what goes in and comes out ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Generated:
    """What a model made of one item."""

    ids: Sequence[int]
    """Tokens, without the start and the end."""
    hit_limit: bool
    """Whether it ended at the length limit and not by itself."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Tokens are drawn and not chosen. What is drawn for a row hangs on seed and row alone, not on its batch."""

    seed: int
    temperature: float = 1.0
    top_k: int | None = None
    """Only so many of the likeliest tokens; None: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that come to this share together."""


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
    sampling: Sampling | None = None
    """Of decoders alone; None: the likeliest."""
    faithful: int | None = None
    """Of encoder-decoders alone: only words of the text and function words, none three times in a row. The text begins
    at this token of each row: what stands before asks for the task. None: whatever is likeliest."""

    def with_lengths(self, min_length: int, max_length: int) -> "GenerationSettings":
        """The same with other lengths."""
        return replace(self, min_length=min_length, max_length=max_length)


Scores = NDArray[np.float32]
"""Of one item: the probability of each label for each token, (tokens, labels), special tokens left out."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a language pair puts around a text, and where decoding starts."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    forced_bos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    """The fields of GenerationSettings that name the target language."""


@dataclass(frozen=True, slots=True)
class Row:
    """The tokens of one text, or of two."""

    ids: Sequence[int]
    """Special ones included."""
    second: int | None = None
    """Where the second text begins, for models that tell the two apart; None: there is one."""


Logits = NDArray[np.float32]
"""What a model says of one row before any function makes probabilities of it."""


@dataclass(frozen=True, slots=True)
class PairFrame:
    """What goes around two texts that are read together."""

    prefix: tuple[int, ...]
    middle: tuple[int, ...]
    suffix: tuple[int, ...]
    second: int
    """How many tokens of the middle are still counted to the first text."""

    @property
    def size(self) -> int:
        """Tokens that it takes."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    def row(self, first: Sequence[int], second: Sequence[int]) -> Row:
        """Both texts in it."""
        ids = [*self.prefix, *first, *self.middle, *second, *self.suffix]
        return Row(ids, len(self.prefix) + len(first) + self.second)


Pooling = Literal["mean", "cls", "max"]
"""How the vectors of a row's tokens become one."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """How a checkpoint wants its vectors."""

    pooling: Pooling = "mean"
    normalize: bool = False


@dataclass(frozen=True, slots=True)
class Fillings:
    """The likeliest tokens for each mask of a row, best first, both (masks, k)."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FillingSettings:
    """What the rows of one filling agree on (their `group`)."""

    top_k: int
    targets: tuple[int, ...] | None = None
    """The only tokens that count; None: all."""


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

    def words(self, text: str) -> tuple[list[int], Offsets, list[int | None]]:
        """Token ids with their places and the number of the word that each belongs to, as the tokenizer sees words."""

    def word_starts(self, text: str, ids: Sequence[int], offsets: Offsets) -> list[int]:
        """The indices of the tokens that begin a word."""

    def starts(self, text: str) -> list[int]:
        """Where each token of the text begins, in code points, ascending."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated ids, special tokens left out."""

    def surfaces(self) -> list[str]:
        """What each token adds to a generated text, by id; empty for special ones."""

    def read(self, ids: Sequence[int]) -> str:
        """The text of input ids, special tokens left out: what a model is shown."""

    def decode_all(self, ids: Sequence[int]) -> str:
        """The same with the special tokens."""

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """One text of messages, up to where the assistant goes on, its special tokens written out: `encode` is all that
        it needs. Raises ChatTemplateMissing, MessagesRefused."""

    def token(self, text: str) -> int | None:
        """The one token that the text is; None where it is none of the vocabulary, or several."""

    @property
    def mask(self) -> tuple[str, int] | None:
        """The token that stands for one to be guessed, and its id."""

    def pair_frame(self) -> PairFrame:
        """What goes around two texts. Raises ModelUnavailable where the tokenizer knows no pairs."""

    @property
    def known_languages(self) -> frozenset[str]:
        """The tokenizer's own codes; empty where it has none."""

    def frame(self, pair: Pair) -> Frame:
        """What goes around a text of this pair. Raises ProcessingFailed where the model does not know a language."""


# --- the kinds --------------------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """What a model computes. Each member has a protocol below; a new one is a member, a protocol and contract tests."""

    GENERATION = "generation"
    """Text from text, by an encoder-decoder: `EncoderDecoder`."""
    TOKEN_SCORES = "token scores"
    """A distribution over labels for each token: `TokenClassifier`."""
    CONTINUATION = "continuation"
    """More text after a text, by a decoder: `Decoder`."""
    SEQUENCE_SCORES = "sequence scores"
    """Logits over labels for a text or a pair of them: `SequenceClassifier`."""
    SPANS = "spans"
    """Logits for each token to begin or to end what is looked for: `SpanFinder`."""
    MASKS = "masks"
    """The likeliest tokens for those that are masked: `MaskFiller`."""
    VECTORS = "vectors"
    """A vector for a text: `Embedder`."""
    TEXT = "text"
    """The text itself: `TextMirror`. No model; for stand-ins."""


class NotOffered(Exception):
    """The backend does not do this, and its stand-in may: a model, when it is opened; a job's options, when they are
    bound. Says why."""


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

    def check(self, settings: GenerationSettings) -> None:
        """Raises NotOffered for settings that are left to the backend's stand-in."""

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


class Decoder(Model, Protocol):
    """Of the kind CONTINUATION."""

    codec: Codec
    window: int
    """Tokens, special ones included, of the text and of what is generated together."""

    def defaults(self) -> Mapping[str, Any]:
        """The checkpoint's own generation options."""

    def check(self, settings: GenerationSettings) -> None:
        """Raises NotOffered for settings that are left to the backend's stand-in."""

    def needs_equal_lengths(self, settings: GenerationSettings) -> bool:
        """Whether rows of different lengths would be generations one after the other by these settings: then they are
        kept apart, or a batch of many would take as many times its time."""

    def generate(self, rows: Sequence[Sequence[int]], settings: GenerationSettings) -> Sequence[Generated]:
        """One generation for all rows (token ids, special ones included). The lengths of the settings count what is
        generated and one token more, as if each row were one start token. The answer has the new tokens alone."""


class SequenceClassifier(Model, Protocol):
    """Of the kind SEQUENCE_SCORES."""

    codec: Codec
    window: int
    labels: Sequence[str]
    """By index."""
    function: Literal["softmax", "sigmoid", "none"]
    """What makes scores of its logits, by its configuration."""

    def logits(self, rows: Sequence[Row]) -> Sequence[Logits]:
        """One forward pass -> (labels,) of each row."""


class SpanFinder(Model, Protocol):
    """Of the kind SPANS."""

    codec: Codec
    window: int

    def spans(self, rows: Sequence[Row]) -> Sequence[Logits]:
        """One forward pass -> (2, tokens) of each row: to begin and to end there."""


class MaskFiller(Model, Protocol):
    """Of the kind MASKS."""

    codec: Codec
    window: int

    def fill(self, rows: Sequence[Sequence[int]], settings: FillingSettings) -> Sequence[Fillings]:
        """One forward pass. Scores are probabilities among all tokens, also where only some count."""


class Embedder(Model, Protocol):
    """Of the kind VECTORS."""

    codec: Codec
    window: int
    size: int
    """Numbers of a vector."""
    embedding: Embedding
    """The checkpoint's own way."""

    def vectors(self, rows: Sequence[Sequence[int]], pooling: Pooling) -> Sequence[NDArray[np.float32]]:
        """One forward pass -> (size,) of each row, special tokens counted, not normalized."""


class TextMirror(Model, Protocol):
    """Of the kind TEXT."""

    def texts(self, payloads: Sequence[Any]) -> Sequence[str]:
        """The texts."""
