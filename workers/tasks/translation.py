"""A document's way through a translation model: one sentence is one item; everything else is put back as it was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workers.backends.torch.generation import Generated, Settings
from workers.runner import Item, Outcome, Prepared
from workers.tasks.route import Route
from workers.text.segments import Segment, fit, one_line, split


@dataclass(frozen=True, slots=True)
class _Memo:
    route: Route
    parts: Sequence[str | int]
    """The document in order: text that is copied, or the number of the item whose translation stands there."""


def prepare(route: Route, text: str, settings: Settings, refuse_long: bool) -> Prepared:
    """Sentences as items. Sentences that occur twice are translated once. Raises DocumentTooLong."""
    parts: list[str | int] = []
    items: list[Item] = []
    numbers: dict[str, int] = {}
    tokens = 0
    for segment in split(text, route.source_lang):
        if not segment.translate:
            parts.append(segment.text)
            continue
        for piece, ids in _pieces(route, segment, route.capacity):
            if ids is None:
                parts.append(piece)
                continue
            tokens += route.tokens(ids)
            number = numbers.setdefault(piece, len(items))
            if number == len(items):
                items.append(route.item(ids, settings))
            parts.append(number)
    if refuse_long:
        route.refuse(tokens)
    return Prepared(items, _Memo(route, parts), tokens, len(items))


def _pieces(route: Route, segment: Segment, limit: int) -> Iterator[tuple[str, list[int] | None]]:
    """(text, tokens) of a sentence that fits, or of its pieces; (text, None) for what is copied between them."""
    if not segment.translate:
        yield segment.text, None
        return
    source = one_line(segment.text)
    if len(source) <= 64 * limit:  # far longer ones are cut before they are tokenized whole
        ids = route.encode(source)
        if route.fits(ids):
            yield source, ids
            return
    # A piece on its own may take a token more than it did inside the sentence: then it is cut finer.
    for piece in fit(segment.text, limit, route.codec.starts):
        yield from _pieces(route, piece, max(1, limit * 3 // 4))


def assemble(prepared: Prepared, outputs: Sequence[Generated]) -> Outcome:
    """The translated document."""
    memo: _Memo = prepared.memo
    translated = [memo.route.codec.decode(output.ids).strip() for output in outputs]
    text = "".join([translated[part] if isinstance(part, int) else part for part in memo.parts])
    return Outcome(
        {"translation_text": text},
        prepared.input_tokens,
        sum([len(output.ids) for output in outputs]),
        prepared.pieces,
        any(output.hit_limit for output in outputs),
    )
