"""Train the entity model: `python -m models.training ner`; judge it: `python -m models.training quality ner`.

prose        texts of packages                                ner_teacher  labels them
ner_names    templated sentences, exact labels                ner_data     both, split and dealt out in lessons
ner_student  MiniLM cut down, its cased vocabulary            ner_figures  the test part and the figures
"""

import argparse
import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Encoding, Tokenizer
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import BertForTokenClassification

from models.training import ner_names
from models.training.ner_data import lesson, prepare, select, split
from models.training.ner_figures import MODEL, Chunk, dev_part, evaluate, figures, predict, write_test_part
from models.training.ner_student import LABELS, WINDOW, build, save, train_tokenizer
from models.training.ner_teacher import Span

IGNORED = -100
"""Label of special tokens and padding: no loss."""


# --- tokens and labels -----------------------------------------------------------------------------------------------


def tag(offsets: Sequence[tuple[int, int]], spans: Iterable[Span]) -> list[int]:
    """Label ids of the pieces: B- on a span's first, I- on its others; special tokens (empty offsets) are ignored."""
    tags = [0 if end > start else IGNORED for start, end in offsets]
    for first, last, kind in spans:
        inside = [i for i, (start, end) in enumerate(offsets) if start < last and end > first and end > start]
        for place, index in enumerate(inside):
            tags[index] = LABELS.index(f"{'I' if place else 'B'}-{kind}")
    return tags


def marked(encoding: Encoding, spans: Iterable[Span]) -> list[int]:
    """The labels, those of words' later pieces raised by len(LABELS)."""
    tags, words = tag(encoding.offsets, spans), encoding.word_ids
    later = [i > 0 and words[i] is not None and words[i] == words[i - 1] for i in range(len(words))]
    return [t + len(LABELS) * (isnt_first and t != IGNORED) for t, isnt_first in zip(tags, later, strict=True)]


def batches(
    chunks: list[Chunk], tokenizer: Tokenizer, budget: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids, labels), both (batch, length), of texts of like length; padded tokens per batch <= budget.

    A label of a word's later piece counts less (see `fit`); it is stored as its id + len(LABELS).
    """
    for start in range(0, len(chunks), 4096):
        part = chunks[start : start + 4096]
        encoded = tokenizer.encode_batch([c["text"] for c in part])
        rows = [(e.ids[:WINDOW], marked(e, c["spans"])[:WINDOW]) for e, c in zip(encoded, part, strict=True)]
        rows.sort(key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            if len(row[0]) * (len(groups[-1]) + 1) > budget:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            length = max(len(ids) for ids, _ in group)
            ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in group])
            yield ids, torch.tensor([tags + [IGNORED] * (length - len(tags)) for _, tags in group])


# --- training --------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    work = args.work / "ner"
    torch.manual_seed(args.seed)
    prose, test = split(prepare(work))
    prose = select(prose, args.seed)
    wordnet = next((work / "debian" / "wordnet-base").glob("**/data.noun"))
    names, unseen = ner_names.Names(False, wordnet), ner_names.Names(True, wordnet)
    tokenizer = vocabulary(prose, names, args)
    model = build(tokenizer, args.layers, args.width)
    print(f"{len(prose)} chunks of prose, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    write_test_part(test, unseen)
    fit(model, tokenizer, prose, names, dev_part(test, unseen), args)
    save(model, tokenizer, args.output)
    print(json.dumps(evaluate(args.output), indent=2))


def vocabulary(prose: list[Chunk], names: ner_names.Names, args: argparse.Namespace) -> Tokenizer:
    """The student's pieces, learnt on training text and on names (which are what most needs whole words)."""
    path = args.work / "ner" / f"{args.name}-tokenizer.json"
    if not path.exists():
        templated = ner_names.sentences(names, False, len(prose) // 20, args.seed)
        texts = (chunk["text"] for part in (prose[::3], templated) for chunk in part)
        train_tokenizer(texts, args.vocabulary).save(str(path))
    return Tokenizer.from_file(str(path))


def fit(
    model: BertForTokenClassification,
    tokenizer: Tokenizer,
    prose: list[Chunk],
    names: ner_names.Names,
    dev: list[Chunk],
    args: argparse.Namespace,
) -> None:
    """Train in place; the state is kept after every lesson: an interrupted run goes on after the last whole one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # A CPU without bf16 instructions emulates them, many times slower than float32.
    bf16 = device == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    model.to(torch.device(device))  # type: ignore[arg-type]  # its stub knows no module method
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    state = args.work / "ner" / f"{args.name}.pt"
    first = 0
    if state.exists():
        saved = torch.load(state, map_location=device)
        first = saved["lesson"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    for number in range(first, args.lessons):
        model.train()
        losses: list[float] = []
        chunks = lesson(prose, names, number, args)
        bar = tqdm(total=len(chunks), desc=f"lesson {number + 1}/{args.lessons}", mininterval=15)
        for ids, tags in batches(chunks, tokenizer, args.budget, random.Random(number)):
            set_rate(optimizer, args.lr, (number + bar.n / bar.total) / args.lessons)
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                logits = model(input_ids=ids.to(device), attention_mask=(ids != 0).long().to(device)).logits
            loss = loss_of(logits.float().flatten(0, 1), tags.to(device).flatten())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            bar.update(len(ids))
            bar.set_postfix(loss=sum(losses[-50:]) / len(losses[-50:]), refresh=False)
        bar.close()
        scores = {
            key: value["f1"] for key, value in figures(dev, predict(model, tokenizer, dev)).items() if " " not in key
        }
        print(
            f"lesson {number + 1}: loss {sum(losses) / len(losses):.4f}, {len(losses)} steps, F1 {scores}", flush=True
        )
        torch.save({"lesson": number + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, state)
    model.cpu()


def loss_of(logits: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over pieces; a word's later pieces count a third, since its first decides (strategy first)."""
    later = tags >= len(LABELS)
    labels = torch.where(later, tags - len(LABELS), tags)
    each = cross_entropy(logits, labels, ignore_index=IGNORED, label_smoothing=0.02, reduction="none")
    weights = torch.where(later, 0.33, 1.0) * (tags != IGNORED)
    return (each * weights).sum() / weights.sum()


def set_rate(optimizer: torch.optim.Optimizer, peak: float, progress: float) -> None:
    """Warm up over the first 3 percent, then fall along a cosine to 2 percent of the peak."""
    rate = min(progress / 0.03 + 0.01, 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress)))
    for part in optimizer.param_groups:
        part["lr"] = peak * rate


# --- command ---------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=Path(".training"), help="downloads, labels and checkpoints")
    parser.add_argument("--output", type=Path, default=MODEL, help="where the model goes")
    parser.add_argument("--name", default="run", help="name of the checkpoint; a known one is resumed")
    parser.add_argument("--layers", type=int, default=3, help="encoder layers kept (of 6)")
    parser.add_argument("--width", type=int, default=512, help="feed-forward neurons kept (of 1536)")
    parser.add_argument("--vocabulary", type=int, default=4800, help="pieces")
    parser.add_argument("--lesson", type=int, default=4000, help="texts of prose between two reports and checkpoints")
    parser.add_argument("--lessons", type=int, default=38)
    parser.add_argument("--templated", type=int, default=3, help="texts of prose to one of templated sentences")
    parser.add_argument("--budget", type=int, default=1024, help="padded tokens a batch")
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=1)


def main(args: argparse.Namespace) -> None:
    """Make the data, train, write the model and print its figures."""
    train(args)
