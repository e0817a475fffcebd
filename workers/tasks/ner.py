"""Named entities: windows over one tokenization, scores stitched, entities put together over the whole document."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from textmill.errors import DocumentTooLong, ProcessingFailed
from workers.kinds import Kind, ModelSpec, Offsets, Scores, TokenClassifier
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.text import entities, windows

CANARY = "Maria Silva of the World Bank flew from Lisbon to Berlin on Monday, and met the press there."

USUAL_SENTENCES = 6
"""In a document, for calibration."""


@dataclass(frozen=True, slots=True)
class _Memo:
    """What `assemble` needs of a document besides its scores."""

    text: str
    offsets: Offsets
    word_starts: Sequence[int]
    windows: Sequence[windows.Window]


class NerRule:
    """The rule over a token classifier."""

    kind: ClassVar[Kind] = Kind.TOKEN_SCORES

    def __init__(self, spec: ModelSpec, model: TokenClassifier) -> None:
        self._model = model
        frame = model.codec.frame((None, None))
        self._around = (len(frame.prefix), len(frame.suffix))
        self._frame = frame
        self._labels = entities.Labels.of(model.labels)
        self._capacity = model.window - sum(self._around)
        plan = self.bind({**spec.options, "long_documents": "auto"})
        self._canary = plan.prepare(CANARY).items[0]
        self._probe = plan.prepare(" ".join([CANARY] * USUAL_SENTENCES)).items[0]

    def bind(self, options: Mapping[str, Any]) -> "NerPlan":
        """How entities are put together, and which of them are reported."""
        labels = options.get("labels")
        return NerPlan(
            self,
            strategy=options.get("aggregation_strategy", "simple"),
            labels=frozenset(labels) if labels is not None else None,
            min_score=options.get("min_score", 0.0),
            names_only=options.get("names_only", False),
            refuse_long=options.get("long_documents") == "error",
        )

    def prepare(self, text: str, refuse_long: bool) -> Prepared:
        """Tokenize the document once and lay windows over it. Raises DocumentTooLong."""
        codec = self._model.codec
        ids, offsets = codec.encode_with_offsets(text)
        count = len(ids)
        if refuse_long and count > self._capacity:
            raise DocumentTooLong(f"The text has {count} tokens, and the model's window takes {self._capacity}.")
        word_starts = codec.word_starts(text, ids, offsets)
        plan = windows.plan(count, word_starts, self._capacity, self._capacity // 4) if count else []
        items = []
        for w in plan:
            inside = ids if len(plan) == 1 else ids[w.start : w.stop]
            payload = [*self._frame.prefix, *inside, *self._frame.suffix]
            items.append(Item(payload, len(payload), same=array("I", payload).tobytes()))
        return Prepared(items, _Memo(text, offsets, word_starts, plan), count, len(items))

    def run(self, items: Sequence[Item]) -> Sequence[Scores]:
        """The probability of each label for each token."""
        return self._model.token_scores([item.payload for item in items], self._around)

    def kept(self, output: Scores) -> tuple[Scores, int]:
        """A copy: the original is a view of its whole batch."""
        return output.copy(), output.nbytes

    def entities(
        self, prepared: Prepared, outputs: Sequence[Scores], strategy: entities.Strategy, **filters: Any
    ) -> list[dict[str, Any]]:
        """Stitch the windows' scores and aggregate them over the whole document."""
        memo: _Memo = prepared.memo
        if not outputs:
            return []
        scores = windows.stitch(memo.windows, outputs)
        if np.isnan(scores).any():
            raise ProcessingFailed("The model's scores are not numbers; float32 may help where float16 was chosen.")
        return entities.extract(memo.text, memo.offsets, memo.word_starts, scores, self._labels, strategy, **filters)

    def canary(self) -> Item:
        """A sentence with names."""
        return self._canary

    def probe(self) -> Item:
        """Some of them."""
        return self._probe

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """No entities."""
        return {"entities": []}


@dataclass(frozen=True, slots=True)
class NerPlan:
    """A job's way."""

    rule: NerRule
    strategy: entities.Strategy
    labels: frozenset[str] | None
    """The groups to report; None: all."""
    min_score: float
    names_only: bool
    refuse_long: bool

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """See `workers.runner.Plan`."""
        return self.rule.prepare(text, self.refuse_long)

    def assemble(self, prepared: Prepared, outputs: Sequence[Scores]) -> Outcome:
        """See `workers.runner.Plan`."""
        filters = {"only": self.labels, "min_score": self.min_score, "names_only": self.names_only}
        found = self.rule.entities(prepared, outputs, self.strategy, **filters)
        return Outcome({"entities": found}, prepared.input_tokens, pieces=prepared.pieces)


RULE = NerRule
