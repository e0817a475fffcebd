"""The entity model's last phase: sentences marked by hand count most, templates and agreed prose keep the rest.

The teacher is wrong about two names in five where the labels are exact, so that a model taught by it alone learns its
mistakes. Here three texts of four are marked by hand, the others templated (exact as well), and one in twelve is prose
on which the teacher and the model that the phase starts from agree, since neither alone is to be believed.
"""

import argparse
import hashlib
import math
import random
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

from models.training import ner_names, ner_sentences
from models.training.debian import is_test
from models.training.ner_data import agreed
from models.training.ner_figures import MODEL, Chunk, figures, predict
from models.training.ner_loop import Plan, fit
from models.training.ner_student import load, save

Draw = Callable[[str, random.Random], str]
"""A name for a slot, as `ner_names.Names.draw`."""

PART = "validation"
PARTS = 12
"""One sentence in so many is for validation: by it the best lesson is chosen."""

NATIONALITIES = frozenset(ner_names.words()["NAT"])
DROPOUT = 0.1
"""Each sentence is seen many times: unlike the first phase, this one can learn by heart."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    last = parser.add_argument_group("last phase")
    last.add_argument("--start", type=Path, default=MODEL, help="weights that `--phase last` goes on from")
    last.add_argument("--last-lessons", type=int, default=40, help="half of the marked sentences are in each")
    last.add_argument("--last-lr", type=float, default=4e-4)
    last.add_argument("--rehearse", type=int, default=12000, help="texts asked the teacher about; 0: does without it")
    last.add_argument("--minutes", type=float, default=math.inf, help="end, with the rate down, after so long")


def train(args: argparse.Namespace, start: Path) -> None:
    """Go on from the weights in `start`; `output` has the lesson that is best on the validation part."""
    model, _ = load(start)
    tokenizer = Tokenizer.from_file(str(start / "tokenizer.json"))
    learnt, validation = deal(list(ner_sentences.read()))
    dev = [chunk | {"part": PART} for chunk in validation]
    prose = agreed(args.work / "ner", model, tokenizer, args.rehearse, args.seed) if args.rehearse else []
    names = Pools(learnt).extend(ner_names.Names(False))
    print(f"{len(learnt)} sentences, {len(prose)} agreed texts, {len(dev)} for validation", flush=True)

    best = _f1(args.output, dev) if (args.output / "model.safetensors").exists() else 0.0
    # The model is made anew with dropout in it; the config that is saved is the one that it was loaded with.
    config = model.config.to_dict()
    model = type(model).from_pretrained(
        start, dtype=model.dtype, hidden_dropout_prob=DROPOUT, attention_probs_dropout_prob=DROPOUT
    )
    plan = Plan(args.last_lessons, args.last_lr, args.budget, args.minutes, masked=0.05)
    deck = partial(lesson, learnt, prose, names, args.seed)
    for scores in fit(model, tokenizer, deck, dev, plan, args.work / "ner" / f"{args.name}-last.pt"):
        if scores[PART]["f1"] > best:
            best = scores[PART]["f1"]
            model.config.update({key: config[key] for key in config if "dropout_prob" in key})
            save(model, tokenizer, args.output)
            print(f"best so far, saved: {best}", flush=True)


def lesson(learnt: list[Chunk], prose: list[Chunk], names: ner_names.Names, seed: int, number: int) -> list[Chunk]:
    """Half of the marked sentences, other names in half of those, and templated sentences and prose among them."""
    rng = random.Random(f"{seed}/last/{number}")
    pools = Pools(learnt)
    # Shuffled anew every other lesson, whose halves these are: each sentence is seen equally often.
    order = random.Random(f"{seed}/last/{number // 2}").sample(learnt, len(learnt))[number % 2 :: 2]
    chunks = joined([pools.swapped(c, names.draw, rng) if rng.random() < 0.5 else c for c in order], rng)
    chunks += ner_names.sentences(names, False, len(chunks) // 4, seed * 2000 + number)
    chunks += rng.sample(prose, min(len(prose), len(chunks) // 11))  # its texts are three times as long
    chunks = [cased(chunk, rng) for chunk in chunks]
    rng.shuffle(chunks)
    return chunks


def deal(sentences: list[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
    """To learn from, and to validate by: by the digest of the text, so that a new sentence moves no other."""
    held = [int(hashlib.md5(c["text"].encode()).hexdigest()[:8], 16) % PARTS == 0 for c in sentences]
    pairs = list(zip(sentences, held, strict=True))
    return [c for c, is_held in pairs if not is_held], [c for c, is_held in pairs if is_held]


def _f1(folder: Path, dev: list[Chunk]) -> float:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return float(figures(dev, predict(load(folder)[0], tokenizer, dev))[PART]["f1"])


# --- the same sentences, otherwise ------------------------------------------------------------------------------------


class Pools:
    """Names as people marked them, by kind and shape, to stand in for one another."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self.names: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for chunk in chunks:
            for start, end, kind in chunk["spans"]:
                self.names[shape(chunk["text"], start, end, kind)].append(chunk["text"][start:end])

    def of(self, kind: str) -> list[str]:
        return [name for key, names in self.names.items() if key[0] == kind for name in names]

    def extend(self, names: ner_names.Names) -> ner_names.Names:
        """The same lists for the templates, with these names in them; those of the templates' test part left out."""
        more = {"FAMOUS": [n for n in self.of("PER") if " " in n], "ORG": self.of("ORG"), "LOC": self.of("LOC")}
        for slot, found in more.items():
            kept = [name for name in found if not is_test(name) and name not in ner_names.HELD_BACK]
            names.lists[slot] = kept + (names.lists[slot] if slot != "FAMOUS" else [])
        return names

    def swapped(self, chunk: Chunk, draw: Draw, rng: random.Random) -> Chunk:
        """Other names in the same places: one that occurs twice, or a person's family name, changes alike."""
        text, spans, last = "", [], 0
        instead: dict[tuple[str, str], str] = {}
        for start, end, kind in chunk["spans"]:
            old = chunk["text"][start:end]
            new = instead.get((kind, old)) or self._other(chunk["text"], start, end, kind, draw, rng)
            instead[kind, old] = new
            if kind == "PER" and " " in old and " " in new:
                instead.setdefault((kind, old.split()[-1]), new.split()[-1])
                instead.setdefault((kind, old.split()[0]), new.split()[0])
            text += chunk["text"][last:start]
            spans.append((len(text), len(text) + len(new), kind))
            text, last = text + new, end
        return chunk | {"text": text + chunk["text"][last:], "spans": spans}

    def _other(self, text: str, start: int, end: int, kind: str, draw: Draw, rng: random.Random) -> str:
        old = text[start:end]
        if rng.random() < 0.3 or not old[0].isupper():
            return old
        if kind == "PER" and rng.random() < 0.5:
            return draw("PER" if " " in old else rng.choice(("FIRST", "LAST")), rng)
        return rng.choice(self.names[shape(text, start, end, kind)])


def shape(text: str, start: int, end: int, kind: str) -> tuple[str, ...]:
    """What a name that stands in for another must have in common with it.

    A `the` before it, how many words (to three), whether it is in capitals or has digits, and of MISC whether it is a
    people: `a Norwegian mediator` turns into a Kenyan one, not into a Python.
    """
    name = text[start:end]
    people = kind == "MISC" and (name in NATIONALITIES or name.removesuffix("s") in NATIONALITIES)
    look = "capitals" if name.isupper() else "digits" if any(c.isdigit() for c in name) else ""
    the = "the" if text[:start].lower().endswith("the ") else ""
    plural = "s" if people and name.endswith("s") else ""
    return kind, the, str(min(3, len(name.split()))), look, f"people{plural}" if people else ""


def joined(chunks: list[Chunk], rng: random.Random) -> list[Chunk]:
    """Some sentences run together, two or three to a text: texts come long as well."""
    texts: list[Chunk] = []
    room = 0
    for chunk in chunks:
        if room:
            before = texts[-1]["text"] + " "
            spans = [(start + len(before), end + len(before), kind) for start, end, kind in chunk["spans"]]
            texts[-1] = texts[-1] | {"text": before + chunk["text"], "spans": texts[-1]["spans"] + spans}
            room -= 1
        else:
            texts.append(chunk)
            room = rng.choice((0, 0, 0, 0, 1, 2))
    return texts


def cased(chunk: Chunk, rng: random.Random) -> Chunk:
    """A few texts are shouted and a few whispered, so that capitals alone make no entity, nor their lack none."""
    change = rng.random()
    text = chunk["text"].upper() if change < 0.02 else chunk["text"].lower() if change < 0.04 else chunk["text"]
    return chunk | {"text": text} if len(text) == len(chunk["text"]) else chunk
