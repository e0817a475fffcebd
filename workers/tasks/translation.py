"""Translation: one sentence is one item; everything else is put back as it was."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.kinds import Generated, Pair
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.tasks.generating import GeneratingPlan, GeneratingRule
from workers.text import languages
from workers.text.segments import Segment, fit, one_line, split


@dataclass(frozen=True, slots=True)
class _Memo:
    parts: Sequence[str | int]
    """The document in order: text that is copied, or the number of the item whose translation stands there."""


class TranslationPlan(GeneratingPlan):
    """A job's way."""

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """Sentences as items. Sentences that occur twice are translated once. Raises DocumentTooLong."""
        parts: list[str | int] = []
        items: list[Item] = []
        numbers: dict[str, int] = {}
        tokens = 0
        for segment in split(text, self.route.source_lang):
            if not segment.translate:
                parts.append(segment.text)
                continue
            for piece, ids in self._pieces(segment, self.route.capacity):
                if ids is None:
                    parts.append(piece)
                    continue
                tokens += self.route.tokens(ids)
                number = numbers.setdefault(piece, len(items))
                if number == len(items):
                    items.append(self.route.item(ids, self.settings))
                parts.append(number)
        if self.refuse_long:
            self.route.refuse(tokens)
        return Prepared(items, _Memo(parts), tokens, len(items))

    def _pieces(self, segment: Segment, limit: int) -> Iterator[tuple[str, list[int] | None]]:
        """(text, tokens) of a sentence that fits, or of its pieces; (text, None) for what is copied between them."""
        if not segment.translate:
            yield segment.text, None
            return
        source = one_line(segment.text)
        if len(source) <= 64 * limit:  # far longer ones are cut before they are tokenized whole
            ids = self.route.encode(source)
            if self.route.fits(ids):
                yield source, ids
                return
        # A piece on its own may take a token more than it did inside the sentence: then it is cut finer.
        for piece in fit(segment.text, limit, self.route.codec.starts):
            yield from self._pieces(piece, max(1, limit * 3 // 4))

    def assemble(self, prepared: Prepared, outputs: Sequence[Generated]) -> Outcome:
        """The translated document."""
        memo: _Memo = prepared.memo
        translated = [self.route.codec.decode(output.ids).strip() for output in outputs]
        text = "".join([translated[part] if isinstance(part, int) else part for part in memo.parts])
        return Outcome(
            {"translation_text": text},
            prepared.input_tokens,
            sum([len(output.ids) for output in outputs]),
            prepared.pieces,
            any(output.hit_limit for output in outputs),
        )


class TranslationRule(GeneratingRule):
    """Documents are translated sentence by sentence."""

    plan = TranslationPlan
    usual_sentences = 1

    def languages(self, options: Mapping[str, Any]) -> Pair:
        """As the options name them. Canonical ones name both, unless the model does not tell languages apart."""
        return options.get("source_lang"), options.get("target_lang")

    def tokenizer_languages(self, pair: Pair) -> Pair:
        """By the catalogue's `lang_codes`."""
        offer: Any = self._spec.offer
        source, target = (lang and offer.tokenizer_code(lang) for lang in pair)
        return source, target

    def preset(self, pair: Pair) -> str:
        """T5's name for it."""
        source, target = (languages.two_letters(lang) if lang else lang for lang in pair)
        return f"translation_{source}_to_{target}"

    def some_languages(self) -> Mapping[str, Any]:
        """The catalogue's first, or the tokenizer's first where the catalogue names none."""
        offer: Any = self._spec.offer
        sources, targets = tuple(offer.source_langs), tuple(offer.target_langs)
        if not sources and not targets and (known := sorted(self._model.codec.known_languages)):
            sources = targets = tuple(known)
        defaults = self._spec.options
        source = defaults.get("source_lang") or next(iter(sources), None)
        target = defaults.get("target_lang") or next((t for t in targets if t != source), None)
        return {"source_lang": source, "target_lang": target}

    @staticmethod
    def echo(text: str, fields: Fields = NO_FIELDS) -> Mapping[str, Any]:
        """The text is its own translation."""
        return {"translation_text": text}


RULE = TranslationRule
