"""What the tasks of encoder-decoder models share: how items are made, and which settings their generation has."""

import functools
import hashlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textmill.errors import DocumentTooLong
from textmill.tasks import generation
from workers.kinds import Codec, EncoderDecoder, Frame, Generated, GenerationSettings, Kind, ModelSpec, Pair
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Plan, Prepared

CANARY = "The committee met in Berlin on Monday and decided to build a new bridge over the river before next summer."

DEFAULT_LENGTH = 512
"""Tokens that a model may generate that says nothing of it, and whose positions have no end (T5)."""

GENERATED_BYTES, TOKEN_BYTES = 150, 40
"""About what `Generated` takes in memory, and each of its tokens (an integer and the reference to it)."""


class Route:
    """Text to items, for one (source, target) pair; (None, None) where the model has no languages."""

    def __init__(self, codec: Codec, source_lang: str | None, frame: Frame, prefix: str, window: int) -> None:
        self.codec = codec
        self.source_lang = source_lang
        """For sentence ends."""
        self.frame = frame
        self._prefix = prefix
        around = len(frame.prefix) + len(frame.suffix)
        asking = len(codec.encode(prefix)) if prefix else 0
        self.before = len(frame.prefix) + asking
        """Tokens of an item before those of the text."""
        self.capacity = window - around - asking
        """Tokens of the text itself that fit into one item."""
        self._most = window - around

    def encode(self, text: str) -> list[int]:
        """Tokens of the text with the model's prefix, special tokens left out."""
        return self.codec.encode(self._prefix + text)

    def fits(self, ids: Sequence[int]) -> bool:
        """Whether these, as `encode` gives them, fit into one item."""
        return len(ids) <= self._most

    def tokens(self, ids: Sequence[int]) -> int:
        """How many of these, as `encode` gives them, are of the text itself."""
        return max(0, len(ids) - (self._most - self.capacity))

    def item(self, ids: Sequence[int], settings: GenerationSettings) -> Item:
        """One item of tokens as `encode` gives them."""
        payload = [*self.frame.prefix, *ids, *self.frame.suffix]
        same = _digest(settings) + array("I", payload).tobytes()
        return Item(payload, len(payload), settings.num_beams, settings, same)

    def refuse(self, tokens: int) -> None:
        """Raises DocumentTooLong where a text of so many tokens does not fit into one item."""
        if tokens > self.capacity:
            raise DocumentTooLong(f"The text has {tokens} tokens, and the model's window takes {self.capacity}.")


class GeneratingPlan(ABC):
    """A job's route and settings. options: canonical ones; a text that does not fit into one item may have to fail."""

    def __init__(self, route: Route, settings: GenerationSettings, options: Mapping[str, Any]) -> None:
        self.route = route
        self.settings = settings
        self.refuse_long = options.get("long_documents") == "error"

    @abstractmethod
    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """See `workers.runner.Plan`."""

    @abstractmethod
    def assemble(self, prepared: Prepared, outputs: Sequence[Generated]) -> Outcome | Prepared:
        """See `workers.runner.Plan`."""


class GeneratingRule(ABC):
    """The rule of a task over an encoder-decoder. A subclass says what its plan and its languages are."""

    kind: ClassVar[Kind] = Kind.GENERATION
    plan: ClassVar[type[GeneratingPlan]]
    usual_sentences: ClassVar[int]
    """In an item, for calibration."""

    def __init__(self, spec: ModelSpec, model: EncoderDecoder) -> None:
        self._spec = spec
        self._model = model
        self._routes: dict[Pair, tuple[Route, Mapping[str, Any]]] = {}
        usual = {**spec.options, **self.some_languages(), "long_documents": "auto"}
        plan, _ = self._plan({name: value for name, value in usual.items() if value is not None})
        self._canary = plan.prepare(CANARY).items[0]
        self._probe = plan.prepare(" ".join([CANARY] * self.usual_sentences)).items[0]

    def languages(self, options: Mapping[str, Any]) -> Pair:
        """The pair that the options name."""
        return None, None

    def tokenizer_languages(self, pair: Pair) -> Pair:
        """The same as the tokenizer calls it."""
        return pair

    def preset(self, pair: Pair) -> str:
        """What a checkpoint's configuration calls the task (`task_specific_params`)."""
        raise NotImplementedError

    def some_languages(self) -> Mapping[str, Any]:
        """Options with any pair that the model knows, for the canary."""
        return {}

    def bind(self, options: Mapping[str, Any]) -> Plan:
        """Route, settings and what is done with long texts. Raises ProcessingFailed for a language that is unknown, and
        NotOffered for settings that the model's backend leaves to another."""
        plan, settings = self._plan(options)
        self._model.check(settings)
        return plan

    def _plan(self, options: Mapping[str, Any]) -> tuple[Plan, GenerationSettings]:
        pair = self.languages(options)
        found = self._routes.get(pair)
        if found is None:
            defaults = self._model.defaults(self.preset(pair))
            frame = self._model.codec.frame(self.tokenizer_languages(pair))
            route = Route(self._model.codec, pair[0], frame, defaults.get("prefix", ""), self._model.window)
            found = self._routes[pair] = (route, defaults)
        route, defaults = found
        settings = settings_of(defaults, options, self._model.limit, route.frame)
        if options.get("faithful"):
            settings = replace(settings, faithful=route.before)
        return self.plan(route, settings, options), settings

    def run(self, items: Sequence[Item]) -> Sequence[Generated]:
        """One generation for all items; their group is its settings."""
        group: Any = items[0].group
        return self._model.generate([item.payload for item in items], group)

    def kept(self, output: Generated) -> tuple[Generated, int]:
        """As it is."""
        return output, GENERATED_BYTES + TOKEN_BYTES * len(output.ids)

    def canary(self) -> Item:
        """An English sentence."""
        return self._canary

    def probe(self) -> Item:
        """Some of them."""
        return self._probe


@functools.lru_cache(maxsize=256)
def _digest(settings: GenerationSettings) -> bytes:
    return hashlib.blake2b(repr(settings).encode(), digest_size=16).digest()


def settings_of(
    defaults: Mapping[str, Any], options: Mapping[str, Any], limit: int | None, frame: Frame
) -> GenerationSettings:
    """One set of settings out of the checkpoint's defaults and a job's options (`textmill.tasks.generation.lay_over`).

    limit: the most that the model may generate, start token included; it cuts what is asked for beyond it.
    """
    merged = generation.lay_over(defaults, options)
    longest = generation.decoder_length(merged) or limit or DEFAULT_LENGTH
    longest = max(2, min(longest, limit or longest))
    shortest = merged.get("min_length") or 0
    known: dict[str, Any] = {
        name: merged[name]
        for name in ("num_beams", "length_penalty", "no_repeat_ngram_size", "repetition_penalty", "early_stopping")
        if merged.get(name) is not None
    }
    # Under a maximum that the model cuts, a minimum may have no room left.
    shortest = shortest if shortest <= longest else longest // 2
    return GenerationSettings(
        longest,
        shortest,
        forced_bos_token_id=frame.forced_bos_token_id,
        decoder_start_token_id=frame.decoder_start_token_id,
        **known,
    )
