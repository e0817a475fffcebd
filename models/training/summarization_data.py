"""What the summarizer's last phase reads: descriptions, manual pages, software catalogues and prose without summaries.

Every source whose digest is held out (`debian.is_test`) is left out, whatever kind of text it has.
"""

import gzip
import hashlib
import html
import itertools
import json
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from models.training import debian, manuals, prose
from models.training.debian import is_test
from workers.text import faithful

Pair = tuple[str, str]
"""A text and what is to be said of it."""

NEXT_RELEASE = "trixie"
"""Its packages that the pinned release has not are training material too; none is tested on."""
LEAST = 0.6
"""Share of a phrase's words that its text must have: of less, deletion leaves no phrase."""

_LISTED = "a an the and or but of in on at to from by for with within into via per as that which is"
_DANGLING = frozenset(_LISTED.split())


# --- phrases -------------------------------------------------------------------------------------------------------


def content(text: str) -> list[str]:
    """The words of a text that are no function words."""
    return [word for word in faithful.words(text) if word.lower() not in faithful.FUNCTION_WORDS]


def support(text: str, summary: str) -> float:
    """Share of the summary's content words that a faithful summary of the text may have; 0 where it has none."""
    words, allowed = content(summary), faithful.allowed(text)
    return sum(word in allowed for word in words) / len(words) if words else 0.0


def grounded(text: str, phrase: str) -> str:
    """The phrase without what the text does not have, and without what dangles then: ""where less than `LEAST` of its
    content words, or only one, is left.

    The product's summaries are made of the text's words (`workers.text.faithful`): this is the most that can be had.
    """
    if support(text, phrase) < LEAST:
        return ""
    allowed = faithful.allowed(text)
    parts = phrase.split()
    places = [place for place, part in enumerate(parts) if allowed.issuperset(faithful.words(part))]
    for before, after in itertools.pairwise(places):
        # "extensions to (...) of it": what stood between them was the point.
        if after > before + 1 and _dangles(parts[before]) and _dangles(parts[after]):
            return ""
    kept = [parts[place] for place in places]
    if len(kept) < len(parts):
        kept = [part for part in kept if part.strip("()[]\"'")]
        while kept and _dangles(kept[-1]):
            kept.pop()
        while kept and _dangles(kept[0]) and kept[0].lower() not in ("a", "an", "the"):
            kept.pop(0)
    said = " ".join(kept)
    if len(kept) < len(parts):
        said = re.sub(r"[()\[\]]", "", said).strip(" ,;:-") if _unbalanced(said) else said.strip(" ,;:-")
    return said if len(content(said)) >= 2 else ""


def _dangles(part: str) -> bool:
    return part.lower() in _DANGLING or not faithful.words(part)


def _unbalanced(text: str) -> bool:
    return text.count("(") != text.count(")") or text.count("[") != text.count("]")


# --- gap sentences -------------------------------------------------------------------------------------------------


def overlap(sentence: Counter[str], rest: Counter[str]) -> float:
    """ROUGE-1 F of a sentence's words against those of the rest."""
    common = (sentence & rest).total()
    return 2 * common / (sentence.total() + rest.total()) if common else 0.0


def gap_sentence(sentences: Sequence[str], shortest: int = 5, longest: int = 30) -> int | None:
    """The number of the sentence that says most about the others (Zhang et al. 2020, PEGASUS: the one with the best
    ROUGE-1 F against them), of those with so many words; None where no sentence has.

    Unlike there it stays in the text, so that what is learnt is to find and copy it.
    """
    counts = [Counter(word.lower() for word in faithful.words(s)) for s in sentences]
    whole = sum(counts, Counter())
    scores = {
        number: overlap(count, whole - count)
        for number, count in enumerate(counts)
        if shortest <= len(sentences[number].split()) <= longest and sentences[number][-1:] in ".!?\"')"
    }
    return max(scores, key=lambda number: (scores[number], -number), default=None)


def passages(chunks: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Neighbouring chunks of one source joined to 30 to 140 words, one in eight to 280: {"source", "text"}."""
    packed: list[str] = []
    source, words, limit = "", 0, 0
    for chunk in chunks:
        if not prose.is_running_text(chunk["text"]):
            continue
        size = len(chunk["text"].split())
        if packed and (chunk["source"] != source or words + size > limit):
            yield {"source": source, "text": " ".join(packed)}
            packed, words = [], 0
        if not packed:
            source = chunk["source"]
            digest = hashlib.md5(chunk["text"].encode()).digest()
            limit = 30 + digest[0] * (250 if digest[1] < 32 else 110) // 255
        packed.append(chunk["text"])
        words += size
    if packed:
        yield {"source": source, "text": " ".join(packed)}


def gap_pairs(work: Path) -> Iterator[Pair]:
    """Passages of prose with the sentence of each that says most about the rest."""
    from sentencex import segment

    prose.fetch(work)
    for passage in passages(prose.collect(work, ())):
        sentences = [s.strip() for s in segment("en", passage["text"]) if s.strip()]
        if is_test(passage["source"]) or len(sentences) < 2:
            continue
        best = gap_sentence(sentences)
        if best is not None:
            yield passage["text"], sentences[best]


# --- phrases that were written for texts ---------------------------------------------------------------------------


def description_pairs(work: Path) -> Iterator[Pair]:
    """Descriptions of the pinned release and of new packages of the next, with what is grounded of their synopses;
    where that is all of one, the pair comes twice."""
    lists = debian.fetch_indexes(work)
    known = {d.package for d in debian.descriptions(lists, "en").values()}
    bodies = {d.body for d in debian.descriptions(lists, "en").values()}
    later = debian.fetch_indexes(work, NEXT_RELEASE)
    new = {d.body for d in debian.descriptions(later, "en").values() if d.package not in known} - bodies
    pairs = [*debian.summary_pairs(lists, held_out=False)]
    pairs += [(text, synopsis) for text, synopsis in debian.summary_pairs(later, held_out=False) if text in new]
    for text, synopsis in pairs:
        if said := grounded(text, synopsis):
            yield from [(text, said)] * (1 + (said == synopsis))


def manual_pairs(work: Path, lists: Path) -> Iterator[Pair]:
    """The first 2,000 characters of manual pages with what is grounded of their NAME phrases."""
    index = debian.descriptions(lists, "en")
    names = manuals.packages(index)
    manuals.fetch(work, names)
    for page in manuals.pages(work, names, index):
        text = page.text[:2000]
        if not is_test(page.source) and len(text) >= 80 and (said := grounded(text, page.phrase)):
            yield text, said


def catalogue_pairs(work: Path, lists: Path) -> Iterator[Pair]:
    """Descriptions of AppStream's catalogue with what is grounded of their summaries."""
    file = work / "components.yml.gz"
    if not file.exists():
        address = f"{debian.archive()}dists/{debian.RELEASE}/main/dep11/Components-amd64.yml.gz"
        with urllib.request.urlopen(address) as answer:
            file.write_bytes(answer.read())
    index = debian.descriptions(lists, "en")
    for component in yaml.load_all(gzip.decompress(file.read_bytes()), Loader=yaml.CSafeLoader):
        package = index.get(component.get("Package", ""))
        summary, description = (component.get(key, {}).get("C", "") for key in ("Summary", "Description"))
        text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", description))).strip()
        if package and not package.held_out and len(text) >= 80 and (said := grounded(text, summary)):
            yield text, said


def pairs(work: Path) -> dict[str, list[Pair]]:
    """All kinds of pairs, each made once: `work`/KIND.jsonl."""
    work.mkdir(parents=True, exist_ok=True)
    lists = debian.fetch_indexes(work)
    makers: dict[str, Callable[[], Iterator[Pair]]] = {
        "manuals": lambda: manual_pairs(work / "manuals", lists),
        "catalogue": lambda: catalogue_pairs(work, lists),
        "gaps": lambda: gap_pairs(work / "prose"),
        "descriptions": lambda: description_pairs(work),
    }
    return {kind: _once(work / f"{kind}.jsonl", make) for kind, make in makers.items()}


def _once(done: Path, make: Callable[[], Iterator[Pair]]) -> list[Pair]:
    if not done.exists():
        lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in make()]
        partial = done.with_suffix(".partial")
        partial.write_text("".join(lines), encoding="utf-8")
        partial.rename(done)
    with done.open(encoding="utf-8") as file:
        return [(text, said) for text, said in map(json.loads, file)]
