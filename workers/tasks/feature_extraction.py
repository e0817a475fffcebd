"""Feature extraction: a vector for each window, and their mean by tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from textmill.errors import DocumentEmpty, InvalidOptions
from workers.kinds import Embedder, Kind, ModelSpec, Pooling
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.tasks import encoding
from workers.tasks.encoding import CANARY, USUAL_SENTENCES, Numbers


class FeatureExtractionRule:
    """The rule over an embedder."""

    kind: ClassVar[Kind] = Kind.VECTORS

    def __init__(self, spec: ModelSpec, model: Embedder) -> None:
        self._model = model
        frame = model.codec.frame((None, None))
        self._prefix, self._suffix = frame.prefix, frame.suffix
        self._capacity = model.window - len(frame.prefix) - len(frame.suffix)
        plan = self.bind({})
        self._canary, self._probe = (plan.prepare(text).items[0] for text in (CANARY, CANARY * USUAL_SENTENCES))

    def bind(self, options: Mapping[str, Any]) -> "FeatureExtractionPlan":
        """What is done to the vectors. Raises InvalidOptions where more numbers are wanted than there are."""
        dimensions = options.get("dimensions", self._model.size)
        if dimensions > self._model.size:
            message = f"dimensions is {dimensions}; a vector of this model has {self._model.size}"
            raise InvalidOptions(message, option="dimensions", maximum=self._model.size)
        own = self._model.embedding
        return FeatureExtractionPlan(
            self,
            pooling=options.get("pooling", own.pooling),
            normalize=options.get("normalize", own.normalize),
            dimensions=dimensions,
            refuse_long=options.get("long_documents") == "error",
        )

    def prepare(self, text: str, pooling: Pooling, refuse_long: bool) -> Prepared:
        """One item a window. Raises DocumentTooLong, and DocumentEmpty where there is not one token."""
        cut = encoding.cut(self._model.codec, text, self._capacity, refuse_long)
        rows = [[*self._prefix, *cut.inside(window), *self._suffix] for window in cut.windows]
        if not rows[0]:
            raise DocumentEmpty
        items = [Item(row, len(row), group=pooling) for row in rows]
        return Prepared(items, cut.weights, len(cut.ids), len(rows))

    def run(self, items: Sequence[Item]) -> Sequence[Numbers]:
        """A vector a window; their group is the pooling."""
        pooling: Any = items[0].group
        return self._model.vectors([item.payload for item in items], pooling)

    def canary(self) -> Item:
        """An English sentence."""
        return self._canary

    def probe(self) -> Item:
        """Some of them."""
        return self._probe

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """The text's length, as a vector."""
        return {"embedding": [float(len(text))]}


@dataclass(frozen=True, slots=True)
class FeatureExtractionPlan:
    """A job's way."""

    rule: FeatureExtractionRule
    pooling: Pooling
    normalize: bool
    dimensions: int
    refuse_long: bool

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """See `workers.runner.Plan`."""
        return self.rule.prepare(text, self.pooling, self.refuse_long)

    def assemble(self, prepared: Prepared, outputs: Sequence[Numbers]) -> Outcome:
        """See `workers.runner.Plan`."""
        vector = encoding.average(outputs, prepared.memo)[: self.dimensions]
        if self.normalize and (length := float(np.linalg.norm(vector))):
            vector = vector / np.float32(length)
        # The shortest digits that are this number in 32 bits: half of those that it has in 64.
        shown = [float(str(number)) for number in vector]
        return Outcome({"embedding": shown}, prepared.input_tokens, pieces=prepared.pieces)


RULE = FeatureExtractionRule
