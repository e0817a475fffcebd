"""Summarization: once where a text fits, else map and reduce, or choose, over its chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workers.kinds import Generated, GenerationSettings, Pair
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.tasks.generating import GeneratingPlan, GeneratingRule, Route
from workers.text import reduce, sentences


@dataclass(frozen=True, slots=True)
class _Memo:
    """One round."""

    tokens: int
    """Of this round's text."""
    ready: str | None = None
    """The text that is returned as it is; None where there are items to run."""
    map_round: int = 0
    """From 1; 0 in the last round, whose only item is the summary."""
    truncated: bool = False


class SummarizationPlan(GeneratingPlan):
    """A job's way."""

    def __init__(self, route: Route, settings: GenerationSettings, options: Mapping[str, Any]) -> None:
        super().__init__(route, settings, options)
        self._chooses = options.get("reduce") == "choose"

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """The first round. Raises DocumentTooLong."""
        ids = self.route.encode(text)
        tokens = self.route.tokens(ids)
        if self.refuse_long:
            self.route.refuse(tokens)
        return self._round(_Memo(tokens), text, ids, tokens, 0)

    def assemble(self, prepared: Prepared, outputs: Sequence[Generated]) -> Outcome | Prepared:
        """The summary, or the next round over the chunks' summaries. Raises ReduceDidNotConverge."""
        memo: _Memo = prepared.memo
        route = self.route
        if memo.ready is not None:
            return Outcome({"summary_text": memo.ready}, prepared.input_tokens, 0, prepared.pieces, memo.truncated)
        texts = [self._said(item, output) for item, output in zip(prepared.items, outputs, strict=True)]
        if not memo.map_round:
            truncated = memo.truncated or self._is_cut(outputs[0])
            return Outcome(
                {"summary_text": texts[0]}, prepared.input_tokens, len(outputs[0].ids), prepared.pieces, truncated
            )
        if self._chooses:
            return self._chosen(prepared, texts, outputs)
        text = " ".join([part for part in texts if part])
        ids = route.encode(text)
        tokens = route.tokens(ids)
        truncated = memo.truncated
        if reduce.next_round(memo.map_round, memo.tokens, tokens, route.capacity) == "cut":
            ids, truncated = _chunks(route, text, route.capacity)[0], True
        following = replace(memo, tokens=tokens, truncated=truncated)
        return self._round(following, text, ids, prepared.input_tokens, prepared.pieces)

    def _said(self, item: Item, output: Generated) -> str:
        """What the model says of an item. Where nothing of that was faithful, the item's first sentence, or as many
        tokens of it as the model might have said: an empty summary would pass for an answer."""
        codec = self.route.codec
        said = codec.decode(output.ids).strip()
        if said or self.settings.faithful is None:
            return said
        source = codec.read(item.payload[self.route.before :]).strip()
        first = next(sentences.split(source, self.route.source_lang), "").strip()
        ids = codec.encode(first)
        settings: Any = item.group
        most = max(1, settings.max_length - 2)
        return first if len(ids) <= most else codec.read(ids[:most]).strip()

    def _is_cut(self, output: Generated) -> bool:
        return output.hit_limit or (self.settings.faithful is not None and not output.ids)

    def _chosen(self, prepared: Prepared, texts: Sequence[str], outputs: Sequence[Generated]) -> Outcome:
        chunks = [self.route.codec.read(item.payload[self.route.before :]) for item in prepared.items]
        best = reduce.central(texts, chunks)
        tokens, truncated = len(outputs[best].ids), self._is_cut(outputs[best])
        return Outcome({"summary_text": texts[best]}, prepared.input_tokens, tokens, prepared.pieces, truncated)

    def _round(self, memo: _Memo, text: str, ids: list[int], input_tokens: int, pieces: int) -> Prepared:
        """What to run for this text: nothing, one summary, or one for each chunk."""
        route, settings = self.route, self.settings
        if memo.tokens <= settings.min_length or not text.strip():
            # Shorter than the summary asked for: a model made to lengthen it would invent.
            return Prepared([], replace(memo, ready=text, map_round=0), input_tokens, pieces)
        if route.fits(ids):
            return Prepared([route.item(ids, settings)], replace(memo, map_round=0), input_tokens, pieces + 1)
        items = []
        for chunk in _chunks(route, text, route.capacity):
            chunk_tokens = route.tokens(chunk)
            longest = reduce.map_max_length(chunk_tokens, route.capacity, settings.max_length)
            # One that is to be the summary is made as that is; the others are to shrink the text.
            items.append(route.item(chunk, settings if self._chooses else settings.with_lengths(0, longest)))
        return Prepared(items, replace(memo, map_round=memo.map_round + 1), input_tokens, pieces + len(items))


def _chunks(route: Route, text: str, limit: int) -> list[list[int]]:
    """The tokens of each chunk of a text that does not fit."""
    found: list[list[int]] = []
    for chunk in reduce.chunks(text, route.codec.starts(text), limit, route.source_lang):
        ids = route.encode(chunk)
        # A chunk on its own may take a token more than it did inside the text: then it is cut finer.
        found += [ids] if route.fits(ids) else _chunks(route, chunk, max(1, limit * 3 // 4))
    return found


class SummarizationRule(GeneratingRule):
    """Documents are summarized as a whole."""

    plan = SummarizationPlan
    usual_sentences = 6

    def preset(self, pair: Pair) -> str:
        """The name of T5 and BART for it."""
        return "summarization"

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """The text is its own summary."""
        return {"summary_text": text}


RULE = SummarizationRule
