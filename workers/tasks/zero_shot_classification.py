"""Zero-shot classification: does the text entail "This example is about travel."? Asked of each label, over windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from textmill.errors import InvalidOptions, ModelUnavailable
from textmill.tasks.zero_shot_classification import DEFAULT_TEMPLATE, PLACE
from workers.kinds import Kind, Logits, ModelSpec, SequenceClassifier
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.tasks import encoding
from workers.tasks.encoding import CANARY, USUAL_SENTENCES

CANARY_LABELS = ["politics", "cooking"]

LEAST_ROOM = 8
"""Tokens of a text that have to fit beside a label, or its windows would be too small to mean anything."""


class ZeroShotClassificationRule:
    """The rule over a classifier of natural language inference."""

    kind: ClassVar[Kind] = Kind.SEQUENCE_SCORES

    def __init__(self, spec: ModelSpec, model: SequenceClassifier) -> None:
        self.model = model
        self.frame = model.codec.pair_frame()
        entailing = [index for index, name in enumerate(model.labels) if name.lower().startswith("entail")]
        if not entailing:
            found = ", ".join(model.labels)
            raise ModelUnavailable(f"{spec.source} is no model of inference: no label `entailment` among {found}")
        self.entailment = entailing[0]
        # As transformers has it: the first label contradicts, or the last where the first entails.
        self.contradiction = -1 if self.entailment == 0 else 0
        plan = self.bind({"candidate_labels": CANARY_LABELS})
        self._canary, self._probe = (plan.prepare(text).items[0] for text in (CANARY, CANARY * USUAL_SENTENCES))

    def bind(self, options: Mapping[str, Any]) -> "ZeroShotClassificationPlan":
        """The job's labels as hypotheses, tokenized once. Raises InvalidOptions where one is too long for the model."""
        template, labels = options.get("hypothesis_template", DEFAULT_TEMPLATE), options["candidate_labels"]
        hypotheses = [self.model.codec.encode(template.replace(PLACE, label)) for label in labels]
        capacity = self.model.window - self.frame.size - max(map(len, hypotheses))
        if capacity < LEAST_ROOM:
            message = f"candidate_labels: one makes a hypothesis that fills the model's window of {self.model.window}"
            raise InvalidOptions(message, option="candidate_labels")
        multi_label, refuse_long = options.get("multi_label", False), options.get("long_documents") == "error"
        return ZeroShotClassificationPlan(self, labels, hypotheses, capacity, multi_label, refuse_long)

    def run(self, items: Sequence[Item]) -> Sequence[Logits]:
        """The logits of each pair."""
        return self.model.logits([item.payload for item in items])

    def scores(self, logits: Logits, multi_label: bool) -> Logits:
        """Of each label, out of its logits, (labels, 3 or so)."""
        if multi_label or len(logits) == 1:
            return encoding.softmax(logits[:, [self.contradiction, self.entailment]])[:, 1]
        return encoding.softmax(logits[:, self.entailment])

    def canary(self) -> Item:
        """An English sentence, and a label."""
        return self._canary

    def probe(self) -> Item:
        """Some of them, and a label."""
        return self._probe

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """One label, which is certain."""
        return {"labels": [{"label": "echo", "score": 1.0}]}


@dataclass(frozen=True, slots=True)
class ZeroShotClassificationPlan:
    """A job's way."""

    rule: ZeroShotClassificationRule
    labels: Sequence[str]
    hypotheses: Sequence[Sequence[int]]
    capacity: int
    multi_label: bool
    refuse_long: bool

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """An item for each label and window; the text is tokenized once. Raises DocumentTooLong."""
        cut = encoding.cut(self.rule.model.codec, text, self.capacity, self.refuse_long)
        pairs = [
            self.rule.frame.row(cut.inside(window), hypothesis)
            for hypothesis in self.hypotheses
            for window in cut.windows
        ]
        items = [Item(pair, len(pair.ids)) for pair in pairs]
        return Prepared(items, cut.weights, len(cut.ids), len(cut.windows))

    def assemble(self, prepared: Prepared, outputs: Sequence[Logits]) -> Outcome:
        """See `workers.runner.Plan`."""
        weights = prepared.memo
        parts = [outputs[first : first + len(weights)] for first in range(0, len(outputs), len(weights))]
        logits = np.stack([encoding.average(part, weights) for part in parts])
        labels = encoding.best_first(self.labels, self.rule.scores(logits, self.multi_label))
        return Outcome({"labels": labels}, prepared.input_tokens, pieces=prepared.pieces)


RULE = ZeroShotClassificationRule
