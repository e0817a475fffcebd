"""Text classification: windows side by side, their logits averaged by their tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from workers.kinds import Kind, Logits, ModelSpec, Row, SequenceClassifier
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.tasks import encoding
from workers.tasks.encoding import CANARY, USUAL_SENTENCES

_FUNCTIONS: dict[str, Callable[[Logits], Logits]] = {
    "softmax": encoding.softmax,
    "sigmoid": encoding.sigmoid,
    "none": lambda logits: logits,
}


class TextClassificationRule:
    """The rule over a sequence classifier."""

    kind: ClassVar[Kind] = Kind.SEQUENCE_SCORES

    def __init__(self, spec: ModelSpec, model: SequenceClassifier) -> None:
        self.model = model
        frame = model.codec.frame((None, None))
        self._prefix, self._suffix = frame.prefix, frame.suffix
        self._capacity = model.window - len(frame.prefix) - len(frame.suffix)
        self._canary, self._probe = (self.prepare(text, False).items[0] for text in (CANARY, CANARY * USUAL_SENTENCES))

    def bind(self, options: Mapping[str, Any]) -> "TextClassificationPlan":
        """How many labels are reported, and as what."""
        function = options.get("function_to_apply", self.model.function)
        return TextClassificationPlan(
            self, options.get("top_k", 1), _FUNCTIONS[function], options.get("long_documents") == "error"
        )

    def prepare(self, text: str, refuse_long: bool) -> Prepared:
        """One item a window. Raises DocumentTooLong."""
        cut = encoding.cut(self.model.codec, text, self._capacity, refuse_long)
        rows = [[*self._prefix, *cut.inside(window), *self._suffix] for window in cut.windows]
        return Prepared([Item(Row(row), len(row)) for row in rows], cut.weights, len(cut.ids), len(rows))

    def run(self, items: Sequence[Item]) -> Sequence[Logits]:
        """The logits of each window."""
        return self.model.logits([item.payload for item in items])

    def canary(self) -> Item:
        """An English sentence."""
        return self._canary

    def probe(self) -> Item:
        """Some of them."""
        return self._probe

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """One label, which is certain."""
        return {"labels": [{"label": "echo", "score": 1.0}]}


@dataclass(frozen=True, slots=True)
class TextClassificationPlan:
    """A job's way."""

    rule: TextClassificationRule
    top_k: int
    function: Callable[[Logits], Logits]
    refuse_long: bool

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """See `workers.runner.Plan`."""
        return self.rule.prepare(text, self.refuse_long)

    def assemble(self, prepared: Prepared, outputs: Sequence[Logits]) -> Outcome:
        """See `workers.runner.Plan`."""
        scores = self.function(encoding.average(outputs, prepared.memo))
        labels = encoding.best_first(self.rule.model.labels, scores, self.top_k)
        return Outcome({"labels": labels}, prepared.input_tokens, pieces=prepared.pieces)


RULE = TextClassificationRule
