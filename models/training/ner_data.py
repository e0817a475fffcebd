"""The labelled texts of the entity model: made once, split, and dealt out in lessons."""

import argparse
import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from models.training import debian, ner_names, ner_teacher, prose
from models.training.debian import is_test
from models.training.ner_figures import Chunk, predict
from models.training.prose import is_running_text


def prepare(work: Path) -> list[Chunk]:
    """The labelled prose, made once: fetched, cut into chunks, labelled by the teacher (ten minutes on a free core)."""
    return _once(work / "labelled.jsonl", lambda: ner_teacher.label(collect(work)))


def collect(work: Path) -> list[Chunk]:
    """The prose without labels: fetched, and cut into chunks."""
    lists = debian.fetch_indexes(work.parent)
    found = debian.descriptions(lists, "en").values()
    mixed = sorted(found, key=lambda d: hashlib.md5(d.package.encode()).digest())
    prose.fetch(work)
    return list(prose.collect(work, ((d.source, p) for d in mixed for p in d.paragraphs)))


def agreed(work: Path, model: torch.nn.Module, tokenizer: Tokenizer, count: int, seed: int) -> list[Chunk]:
    """Training prose on whose entities the teacher and the model agree, of `count` texts that both are asked about.

    Made once. Of the texts in which both see nothing, a quarter stays: most of the prose is such.
    """

    def make() -> Iterator[Chunk]:
        rng = random.Random(seed)
        texts = [c for c in collect(work) if is_running_text(c["text"]) and not held_out(c)]
        labelled = list(ner_teacher.label(rng.sample(texts, min(count, len(texts)))))
        for chunk, found in zip(labelled, predict(model, tokenizer, labelled), strict=True):
            if set(chunk["spans"]) == set(found) and (found or rng.random() < 0.25):
                yield chunk

    return _once(work / "agreed.jsonl", make)


def _once(done: Path, make: Callable[[], Iterable[Chunk]]) -> list[Chunk]:
    """What was made before, else what is made now; written line by line under another name until it is whole."""
    if not done.exists():
        partial = done.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            for chunk in tqdm(make(), desc=done.stem, mininterval=10):
                file.write(json.dumps(chunk, ensure_ascii=False) + "\n")
        partial.rename(done)
    with done.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def held_out(chunk: Chunk) -> bool:
    """Test part: its source package, or (the Wikipedia articles in gensim) its own article."""
    return is_test(chunk["source"])


def split(chunks: Iterable[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
    """Training and test part, running text only; test texts with a sentence that training has too are dropped."""
    train, test = [], []
    for chunk in (c for c in chunks if is_running_text(c["text"])):
        (test if held_out(chunk) else train).append(chunk)
    seen = {sentence for chunk in train for sentence in chunk["text"].split(". ") if len(sentence) > 20}
    return train, [chunk for chunk in test if not seen.intersection(chunk["text"].split(". "))]


def select(train: list[Chunk], seed: int) -> list[Chunk]:
    """What is learnt from, mixed: texts with entities, a quarter of those without, fewer package descriptions."""
    rng = random.Random(seed)
    keep = [(1.0 if c["spans"] else 0.25) * (1.0 if c["source"].split("/")[0] in prose.SOURCES else 0.5) for c in train]
    chosen = [chunk for chunk, share in zip(train, keep, strict=True) if rng.random() < share]
    rng.shuffle(chosen)
    return chosen


def lesson(train: list[Chunk], names: ner_names.Names, number: int, args: argparse.Namespace) -> list[Chunk]:
    """The next `args.lesson` chunks of prose, other names in four of ten, and templated sentences among them.

    A few texts are shouted, so that capitals alone make no entity.
    """
    rng = random.Random(f"{args.seed}/{number}")
    chunks = [train[i % len(train)] for i in range(number * args.lesson, (number + 1) * args.lesson)]
    chunks = [ner_names.swapped(c, names, rng) if rng.random() < 0.4 else c for c in chunks]
    chunks += ner_names.sentences(names, False, args.lesson // args.templated, args.seed * 1000 + number)
    uppers = [c["text"].upper() if rng.random() < 0.02 else c["text"] for c in chunks]
    chunks = [c | {"text": u} if len(u) == len(c["text"]) else c for c, u in zip(chunks, uppers, strict=True)]
    rng.shuffle(chunks)
    return chunks
