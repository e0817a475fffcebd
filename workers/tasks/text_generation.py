"""Text generation: one item a text or a conversation, which shares the window with what is generated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from textmill.errors import DocumentEmpty, DocumentTooLong
from textmill.tasks.text_generation import DRAWING
from workers.kinds import Decoder, Generated, GenerationSettings, Kind, ModelSpec, Sampling
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.tasks.encoding import CANARY

DEFAULT_NEW_TOKENS = 128
"""Where neither the job nor the catalogue nor the checkpoint says how many."""

CANARY_NEW_TOKENS = 8

_SAME_NAME = ("num_beams", "length_penalty", "no_repeat_ngram_size", "repetition_penalty", "early_stopping")


class Together(NamedTuple):
    """What items of one generation have in common: an item's group."""

    settings: GenerationSettings
    length: int | None
    """Tokens; None where they may differ."""


class TextGenerationRule:
    """The rule over a decoder."""

    kind: ClassVar[Kind] = Kind.CONTINUATION

    def __init__(self, spec: ModelSpec, model: Decoder) -> None:
        self.model = model
        self.frame = model.codec.frame((None, None))
        usual = replace(self._settings(dict(spec.options)), sampling=None)
        self._canary = self._item(CANARY, usual.with_lengths(0, min(usual.max_length, CANARY_NEW_TOKENS + 1)))
        self._probe = self._item(CANARY, usual)

    def bind(self, options: Mapping[str, Any]) -> "TextGenerationPlan":
        """The settings. Raises NotOffered for those that the model's backend leaves to another."""
        settings = self._settings(options)
        self.model.check(settings)
        return TextGenerationPlan(self, settings, self.model.needs_equal_lengths(settings))

    def _settings(self, options: Mapping[str, Any]) -> GenerationSettings:
        """The checkpoint's, and the job's over them."""
        merged = {**self.model.defaults(), **({"num_beams": 1} if options.get("do_sample") else {}), **options}
        # The checkpoint's `max_length` would count the text: it says nothing of how much is to be new.
        new = merged.get("max_new_tokens") or min(DEFAULT_NEW_TOKENS, self.model.window // 2)
        least = options.get("min_new_tokens", 0)
        if "max_new_tokens" not in options:
            new = max(new, least)  # whoever asks for so many cannot be expected to know of the default
        new = min(new, self.model.window - 1)
        least = min(least, new)
        given = {name: merged[name] for name in _SAME_NAME if merged.get(name) is not None}
        return GenerationSettings(new + 1, least + 1 if least else 0, sampling=_sampling(options), **given)

    def _item(self, text: str, settings: GenerationSettings) -> Item:
        """Of a text that is ours, and may be cut where the window is small."""
        room = max(1, self.model.window - settings.max_length + 1)
        ids = [*self.frame.prefix, *self.model.codec.encode(text), *self.frame.suffix][:room]
        return self.item(ids, settings, self.model.needs_equal_lengths(settings))

    @staticmethod
    def item(ids: Sequence[int], settings: GenerationSettings, apart: bool) -> Item:
        """One item. apart: it shares a batch with none of another length."""
        return Item(ids, len(ids), settings.num_beams, Together(settings, len(ids) if apart else None))

    def run(self, items: Sequence[Item]) -> Sequence[Generated]:
        """One generation for all items; their group has its settings."""
        group: Any = items[0].group
        return self.model.generate([item.payload for item in items], group.settings)

    def canary(self) -> Item:
        """An English sentence."""
        return self._canary

    def probe(self) -> Item:
        """The same, with as much to be generated as by default."""
        return self._probe

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """The text again, or the last message."""
        messages = fields.get("messages")
        return {"generated_text": messages[-1]["content"] if messages else text}


def _sampling(options: Mapping[str, Any]) -> Sampling | None:
    """What is said of drawing; the checkpoint's own wishes are not, since a job that draws names its seed itself."""
    if not options.get("do_sample"):
        return None
    return Sampling(**{name: options[name] for name in DRAWING if name in options})


@dataclass(frozen=True, slots=True)
class TextGenerationPlan:
    """A job's way."""

    rule: TextGenerationRule
    settings: GenerationSettings
    apart: bool
    """Whether texts of different lengths are kept apart."""

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """One item. Raises DocumentTooLong where no room is left for what is to be generated, DocumentEmpty, and what
        `Codec.chat` raises."""
        rule = self.rule
        if messages := fields.get("messages"):
            ids = inside = rule.model.codec.encode(rule.model.codec.chat(messages))
        else:
            inside = rule.model.codec.encode(text)
            ids = [*rule.frame.prefix, *inside, *rule.frame.suffix]
        new = self.settings.max_length - 1
        if len(ids) + new > rule.model.window:
            raise DocumentTooLong(
                f"The text has {len(ids)} tokens, and {new} are to be generated: the model's window takes "
                f"{rule.model.window} together. Ask for fewer (max_new_tokens), or shorten the text."
            )
        if not ids:
            raise DocumentEmpty("The text has no token to go on from.")
        return Prepared([rule.item(ids, self.settings, self.apart)], None, len(inside), 1)

    def assemble(self, prepared: Prepared, outputs: Sequence[Generated]) -> Outcome:
        """See `workers.runner.Plan`."""
        codec = self.rule.model.codec
        [item], [output] = prepared.items, outputs
        # Together, and then without the text: alone, many tokenizers would take away the space that comes first.
        text = codec.decode([*item.payload, *output.ids])[len(codec.decode(item.payload)) :]
        return Outcome({"generated_text": text}, prepared.input_tokens, len(output.ids), 1, output.hit_limit)


RULE = TextGenerationRule
