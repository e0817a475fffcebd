"""Question answering: windows that overlap, and the best span over all.

The rule is that of transformers' pipeline, which version 5 has no more: in each window a softmax over the tokens of the
text (and the first token, which stands for "no answer"), once for where the answer begins and once for where it ends; a
span's score is the product of the two; spans are widened to whole words. What differs, on purpose: a span that several
windows or several cuts of a word give counts once, with its best score, and no white space is at its ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textmill.errors import DocumentTooLong, ProcessingFailed
from workers.kinds import Kind, Logits, ModelSpec, SpanFinder
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.tasks import encoding
from workers.tasks.encoding import CANARY
from workers.text import spans, windows

CANARY_QUESTION = "Where did the committee meet?"
USUAL_SENTENCES = 8

OVERLAP = 128
"""Tokens that neighbouring windows share, where these are large enough: so an answer is whole in one of them."""


@dataclass(frozen=True, slots=True)
class _Memo:
    words: spans.Words
    first: int
    """Where the text begins in each row."""
    windows: Sequence[windows.Window]


class QuestionAnsweringRule:
    """The rule over a span finder."""

    kind: ClassVar[Kind] = Kind.SPANS

    def __init__(self, spec: ModelSpec, model: SpanFinder) -> None:
        self.model = model
        self.frame = model.codec.pair_frame()
        plan = self.bind({"question": CANARY_QUESTION})
        self._canary, self._probe = (plan.prepare(text).items[0] for text in (CANARY, CANARY * USUAL_SENTENCES))

    def bind(self, options: Mapping[str, Any]) -> "QuestionAnsweringPlan":
        """The job's question, and which answers are reported."""
        return QuestionAnsweringPlan(
            self,
            question=options.get("question"),
            top_k=options.get("top_k", 1),
            longest=options.get("max_answer_len", 15),
            may_be_none=options.get("handle_impossible_answer", False),
            refuse_long=options.get("long_documents") == "error",
        )

    def run(self, items: Sequence[Item]) -> Sequence[Logits]:
        """Logits of begin and end for each token of each row."""
        return self.model.spans([item.payload for item in items])

    def canary(self) -> Item:
        """A question, and a sentence that answers it."""
        return self._canary

    def probe(self) -> Item:
        """Some of them."""
        return self._probe

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """The whole text."""
        return {"answers": [{"answer": text, "score": 1.0, "start": 0, "end": len(text)}]}


@dataclass(frozen=True, slots=True)
class QuestionAnsweringPlan:
    """A job's way."""

    rule: QuestionAnsweringRule
    question: str | None
    top_k: int
    longest: int
    """Tokens of an answer."""
    may_be_none: bool
    refuse_long: bool

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """The question beside each window of the text. Raises DocumentTooLong."""
        asked = fields.get("question", self.question)
        if asked is None:
            raise ProcessingFailed("The document has no question.")
        rule, codec = self.rule, self.rule.model.codec
        question = codec.encode(asked)
        room = rule.model.window - rule.frame.size
        capacity = room - len(question)
        if capacity < room // 2:
            raise DocumentTooLong(f"The question has {len(question)} tokens, more than half of the model's window.")
        ids, offsets, words = codec.words(text)
        encoding.refuse(len(ids), capacity, self.refuse_long)
        starts = codec.word_starts(text, ids, offsets)
        overlap = min(OVERLAP, (capacity - 1) // 2)
        plan = windows.plan(len(ids), starts, capacity, overlap) if text.strip() else []
        rows = [rule.frame.row(question, ids[window.start : window.stop]) for window in plan]
        first = len(rule.frame.prefix) + len(question) + len(rule.frame.middle)
        memo = _Memo(spans.Words(text, offsets, words), first, plan)
        return Prepared([Item(row, len(row.ids)) for row in rows], memo, len(ids), len(rows))

    def assemble(self, prepared: Prepared, outputs: Sequence[Logits]) -> Outcome:
        """See `workers.runner.Plan`."""
        memo: _Memo = prepared.memo
        found = spans.Found(memo.words, self.longest)
        # Without special tokens before the text there is none that stands for "no answer".
        none = 0 if self.rule.frame.prefix else None
        for window, logits in zip(memo.windows, outputs, strict=True):
            inside = slice(memo.first, memo.first + window.stop - window.start)
            found.add(encoding.numbers(logits), inside, window.start, none, self.top_k)
        answers = found.best(self.top_k, self.may_be_none)
        return Outcome({"answers": answers}, prepared.input_tokens, pieces=prepared.pieces)


RULE = QuestionAnsweringRule
