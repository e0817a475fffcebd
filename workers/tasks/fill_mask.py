"""Fill-mask: the text once where it fits, else the window around each mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textmill.errors import InvalidOptions, MaskMissing, ModelUnavailable
from workers.kinds import Fillings, FillingSettings, Kind, MaskFiller, ModelSpec
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.tasks import encoding
from workers.tasks.encoding import CANARY, USUAL_SENTENCES

MASKS = ("[MASK]", "<mask>")
"""Taken for the model's own, so that a text need not be written for one model."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A mask: the item that it is guessed in, and its number and place there."""

    item: int
    number: int
    at: int


class FillMaskRule:
    """The rule over a masked language model."""

    kind: ClassVar[Kind] = Kind.MASKS

    def __init__(self, spec: ModelSpec, model: MaskFiller) -> None:
        self.model = model
        mask = model.codec.mask
        if mask is None:
            raise ModelUnavailable(f"the tokenizer of {spec.source} has no mask token")
        self._token, self.id = mask
        frame = model.codec.frame((None, None))
        self._prefix, self._suffix = frame.prefix, frame.suffix
        self._capacity = model.window - len(frame.prefix) - len(frame.suffix)
        plan = self.bind({})
        masked = CANARY.replace("Berlin", self._token)
        self._canary = plan.prepare(masked).items[0]
        self._probe = plan.prepare(" ".join([masked, *[CANARY] * (USUAL_SENTENCES - 1)])).items[0]

    def bind(self, options: Mapping[str, Any]) -> "FillMaskPlan":
        """How many words are reported. Raises InvalidOptions for a target that is not one token of the model's."""
        targets = options.get("targets")
        found = {target: self.model.codec.token(target) for target in targets or ()}
        if unknown := [target for target, token in found.items() if token is None]:
            message = f"targets: not one token of this model: {', '.join(unknown)}"
            raise InvalidOptions(message, option="targets", unknown=unknown)
        ids = tuple(sorted({token for token in found.values() if token is not None})) if targets else None
        settings = FillingSettings(options.get("top_k", 5), ids)
        return FillMaskPlan(self, settings, options.get("long_documents") == "error")

    def prepare(self, text: str, settings: FillingSettings, refuse_long: bool) -> Prepared:
        """One item for all masks, or one for each. Raises MaskMissing, DocumentTooLong."""
        for written in MASKS:
            text = text.replace(written, self._token)
        ids = self.model.codec.encode(text)
        masks = [index for index, token in enumerate(ids) if token == self.id]
        if not masks:
            raise MaskMissing
        encoding.refuse(len(ids), self._capacity, refuse_long)
        starts = [max(0, min(mask - self._capacity // 2, len(ids) - self._capacity)) for mask in masks]
        items: list[Item] = []
        places: list[_Place] = []
        before = len(self._prefix)
        for mask, start in zip(masks, starts, strict=True):
            inside = ids[start : start + self._capacity]
            row = [*self._prefix, *inside, *self._suffix]
            if not items or items[-1].payload != row:
                items.append(Item(row, len(row), group=settings))
            number = sum(1 for other in masks if start <= other < mask)
            places.append(_Place(len(items) - 1, number, before + mask - start))
        return Prepared(items, places, len(ids), len(items))

    def fillings(self, prepared: Prepared, outputs: Sequence[Fillings]) -> list[list[dict[str, Any]]]:
        """The words for each mask, with the text around it as the model reads it."""
        places: Sequence[_Place] = prepared.memo
        codec = self.model.codec
        # As in transformers: the special tokens stay where there are other masks, which are some of them.
        decode = codec.decode if len(places) == 1 else codec.decode_all
        found = []
        for place in places:
            filling, row = outputs[place.item], list(prepared.items[place.item].payload)
            words = []
            scores = encoding.numbers(filling.scores[place.number])
            for token, score in zip(filling.ids[place.number].tolist(), scores.tolist(), strict=True):
                row[place.at] = token
                word = codec.decode_all([token])
                words.append({"token_str": word, "token": token, "score": score, "sequence": decode(row)})
            found.append(words)
        return found

    def run(self, items: Sequence[Item]) -> Sequence[Fillings]:
        """The likeliest tokens; their group says how many and which count."""
        settings: Any = items[0].group
        return self.model.fill([item.payload for item in items], settings)

    def canary(self) -> Item:
        """An English sentence with a mask."""
        return self._canary

    def probe(self) -> Item:
        """Some of them."""
        return self._probe

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """One mask, and the text for it."""
        return {"masks": [[{"token_str": text, "token": 0, "score": 1.0, "sequence": text}]]}


@dataclass(frozen=True, slots=True)
class FillMaskPlan:
    """A job's way."""

    rule: FillMaskRule
    settings: FillingSettings
    refuse_long: bool

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """See `workers.runner.Plan`."""
        return self.rule.prepare(text, self.settings, self.refuse_long)

    def assemble(self, prepared: Prepared, outputs: Sequence[Fillings]) -> Outcome:
        """See `workers.runner.Plan`."""
        masks = self.rule.fillings(prepared, outputs)
        return Outcome({"masks": masks}, prepared.input_tokens, pieces=prepared.pieces)


RULE = FillMaskRule
