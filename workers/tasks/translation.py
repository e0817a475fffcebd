"""Translation: one sentence is one item; everything else is put back as it was, identifiers where that is asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workers.kinds import Generated, GenerationSettings, Pair
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared
from workers.tasks.generating import GeneratingPlan, GeneratingRule, Route
from workers.text import identifiers, languages
from workers.text.segments import Segment, fit, one_line, split, trimmed

STAND_IN = "X{}"
"""What stands for an identifier that the model did not keep, in a second try."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    """One that a model is asked for."""

    source: str
    spans: Sequence[identifiers.Span] = ()
    """Where in it identifiers stand that have to be kept."""


@dataclass(frozen=True, slots=True)
class _Try:
    """A way to translate a sentence in this round."""

    sentence: int
    parts: Sequence[str | int]
    """Text that is copied, or the number of the item whose translation stands there."""
    names: Sequence[str] = ()
    """Stand-ins for its identifiers."""


@dataclass(frozen=True, slots=True)
class _Memo:
    parts: Sequence[str | int]
    """The document in order: text that is copied, or the number of the sentence whose translation stands there."""
    sentences: Sequence[_Sentence]
    tries: Sequence[_Try]
    """Of this round, for the sentences that have no translation yet."""
    done: Mapping[int, str] = field(default_factory=dict)
    """Translations by sentence."""
    output_tokens: int = 0
    truncated: bool = False
    """Whether the length limit cut one of these translations."""


class TranslationPlan(GeneratingPlan):
    """A job's way.

    Identifiers that are to be kept: a sentence is translated as it is, and taken where it has all of them, which costs
    nothing. Else it is asked for once more with stand-ins for them, and taken where these are kept. Else what stands
    between them is translated by itself. So nothing is risked where the model copies well, and nothing is ever lost.
    """

    def __init__(self, route: Route, settings: GenerationSettings, options: Mapping[str, Any]) -> None:
        super().__init__(route, settings, options)
        self._keeps = bool(options.get("copy_identifiers"))

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """Sentences as items. Sentences that occur twice are translated once. Raises DocumentTooLong."""
        parts: list[str | int] = []
        items: list[Item] = []
        sentences: list[_Sentence] = []
        numbers: dict[str, int] = {}
        tokens = 0
        for segment in split(text, self.route.source_lang):
            if not segment.translate:
                parts.append(segment.text)
                continue
            for piece, ids in self._pieces(segment, self.route.capacity):
                found = identifiers.find(piece) if self._keeps and ids is not None else ()
                if ids is None or (found and identifiers.is_all(piece, found)):
                    parts.append(piece)
                    continue
                tokens += self.route.tokens(ids)
                number = numbers.setdefault(piece, len(items))
                if number == len(items):
                    items.append(self.route.item(ids, self.settings))
                    sentences.append(_Sentence(piece, found))
                parts.append(number)
        if self.refuse_long:
            self.route.refuse(tokens)
        tries = [_Try(number, [number]) for number in range(len(sentences))]
        return Prepared(items, _Memo(parts, sentences, tries), tokens, len(items))

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

    def assemble(self, prepared: Prepared, outputs: Sequence[Generated]) -> Outcome | Prepared:
        """The translated document, or a round for the sentences that have lost identifiers."""
        memo: _Memo = prepared.memo
        translated = [self.route.codec.decode(output.ids).strip() for output in outputs]
        done = dict(memo.done)
        following: list[_Try] = []
        items: list[Item] = []
        truncated = memo.truncated
        for attempt in memo.tries:
            sentence = memo.sentences[attempt.sentence]
            said = "".join([translated[part] if isinstance(part, int) else part for part in attempt.parts])
            kept = _kept(sentence, attempt, said)
            if kept is None:
                following.append(self._again(attempt, sentence, items))
            else:
                done[attempt.sentence] = kept
                truncated |= any(outputs[part].hit_limit for part in attempt.parts if isinstance(part, int))
        tokens = memo.output_tokens + sum([len(output.ids) for output in outputs])
        if following:
            memo = replace(memo, tries=following, done=done, output_tokens=tokens, truncated=truncated)
            return Prepared(items, memo, prepared.input_tokens, prepared.pieces)
        text = "".join([done[part] if isinstance(part, int) else part for part in memo.parts])
        return Outcome({"translation_text": text}, prepared.input_tokens, tokens, prepared.pieces, truncated)

    def _again(self, before: _Try, sentence: _Sentence, items: list[Item]) -> _Try:
        """What is tried next of a sentence; its items are put to the others."""
        source, spans = sentence.source, sentence.spans
        if not before.names:
            text, names = identifiers.stand_ins(source, spans, STAND_IN)
            ids = self.route.encode(text)
            if self.route.fits(ids):
                items.append(self.route.item(ids, self.settings))
                return _Try(before.sentence, [len(items) - 1], names)
        parts: list[str | int] = []
        gaps = identifiers.between(source, spans)
        for gap, (start, end) in zip(gaps, [*spans, (0, 0)], strict=True):
            for piece in trimmed(gap):
                for text, piece_ids in self._pieces(piece, self.route.capacity):
                    parts.append(text if piece_ids is None else len(items))
                    items += [] if piece_ids is None else [self.route.item(piece_ids, self.settings)]
            parts.append(source[start:end])
        return _Try(before.sentence, parts)


def _kept(sentence: _Sentence, attempt: _Try, said: str) -> str | None:
    """The translation with the sentence's identifiers; None where it lacks some."""
    spans = sentence.spans
    if attempt.names:
        return identifiers.put_back(said, attempt.names, [sentence.source[start:end] for start, end in spans])
    # Where they were copied around what was translated, none can be lost.
    is_whole = len(attempt.parts) == 1
    return None if is_whole and identifiers.lost(sentence.source, spans, said) else said


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
