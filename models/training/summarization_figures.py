"""How good the summarizer is: on descriptions of software, which it knows, and on texts of other kinds."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import sentencepiece as spm

from models.training import debian, shipped, textrank
from models.training.served import Format
from models.training.summarization_data import content
from store.catalogue import load
from workers import model_comparison
from workers.models import spec_of
from workers.text import faithful, sentences

TEST, OTHERS = "summarization_test.jsonl.bz2", "summarization_others.jsonl.bz2"
KINDS = ("manual pages", "technical documentation", "encyclopedic prose", "other prose")
"""Of the texts of `OTHERS`: {"kind", "source", "text", "summary"}; the first have their pages' NAME phrases, the others
what a reader wrote of them."""


def summaries(model_dir: Path, texts: Sequence[str], faithfully: bool, dtype: Format = "float32") -> list[str]:
    """What a job with the catalogue's options gets, by the backend that a worker on the CPU would take."""
    entries = load(shipped.MODELS / "catalogue.toml").bundled()
    spec = spec_of(entries["summarization"].model_copy(update={"path": model_dir}), "cpu", dtype=dtype)
    return [answer["summary_text"] for answer in model_comparison.run(spec, texts, {"faithful": faithfully}).answers]


def evaluate(model_dir: Path, limit: int | None = None, dtype: Format | None = None) -> dict[str, float | int]:
    """ROUGE-L (F, no stemming), beside baselines, and what no summary should do. limit: texts of each part. dtype: None
    is float32."""
    dtype = dtype or "float32"
    pairs = shipped.read_test(TEST, limit)
    texts, references = [text for text, _ in pairs], [synopsis for _, synopsis in pairs]
    outputs = summaries(model_dir, texts, True, dtype)
    free = summaries(model_dir, texts, False, dtype)
    tokenizer = spm.SentencePieceProcessor(str(model_dir / "source.spm"))
    figures: dict[str, float | int] = {
        "descriptions": len(pairs),
        "ROUGE-L": rouge(outputs, references),
        "ROUGE-L without `faithful`": rouge(free, references),
        "ROUGE-L of the first sentence": rouge([debian.sentences(text)[0] for text in texts], references),
        "ROUGE-L of the first ten words": rouge([" ".join(text.split()[:10]) for text in texts], references),
        "loops": sum(is_loop(output, tokenizer) for output in outputs),
        "loops without `faithful`": sum(is_loop(output, tokenizer) for output in free),
        "share of content words that the text does not have": invented(texts, outputs),
        "the same without `faithful`": invented(texts, free),
        "outputs with an unknown sign": shipped.unknown_signs([*outputs, *free]),
    }
    others = shipped.read_rows(OTHERS)
    of_each = {kind: [row for row in others if row["kind"] == kind][:limit] for kind in KINDS}
    rows = [row for kind in KINDS for row in of_each[kind]]
    asked = [row["text"] for row in rows]
    found = dict(zip(asked, summaries(model_dir, asked, True, dtype), strict=True))
    best = {text: best_sentence(text) for text in found}
    for kind, some in [("texts of other kinds", rows), *of_each.items()]:
        wanted = [row["summary"] for row in some]
        figures |= {
            kind: len(some),
            f"{kind}: ROUGE-L": rouge([found[row["text"]] for row in some], wanted),
            f"{kind}: ROUGE-L of TextRank's best sentence": rouge([best[row["text"]] for row in some], wanted),
        }
    return figures | {
        "texts of other kinds: loops": sum(is_loop(output, tokenizer) for output in found.values()),
        "texts of other kinds: share of content words that the text does not have": invented(
            list(found), list(found.values())
        ),
    }


def rouge(outputs: Sequence[str], references: Sequence[str]) -> float:
    """The mean ROUGE-L F of pairs."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    scores = [scorer.score(b, a)["rougeL"].fmeasure for a, b in zip(outputs, references, strict=True)]
    return sum(scores) / len(scores)


def best_sentence(text: str) -> str:
    found = [sentence.strip() for sentence in sentences.split(text, "en") if sentence.strip()]
    return found[textrank.best(found)]


def is_loop(summary: str, tokenizer: spm.SentencePieceProcessor) -> bool:
    """Whether a word or a piece comes three times in a row, or half of the words or of the pieces are repetitions."""
    return repeats(summary.lower().split()) or repeats(tokenizer.encode(summary))


def repeats(tokens: Sequence[object]) -> bool:
    """Whether one comes three times in a row, or at least half of them were there before."""
    doubled = [a == b for a, b in pairwise(tokens)]
    thrice = any(a and b for a, b in pairwise(doubled))
    return thrice or (len(tokens) > 1 and 2 * len(set(tokens)) <= len(tokens))


def invented(texts: Sequence[str], outputs: Sequence[str]) -> float:
    """Share of all content words of the outputs that a faithful summary of their texts could not have."""
    words = missing = 0
    for text, output in zip(texts, outputs, strict=True):
        found, allowed = content(output), faithful.allowed(text)
        words += len(found)
        missing += sum(word not in allowed for word in found)
    return missing / max(1, words)
