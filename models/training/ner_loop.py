"""The entity model's training loop: seeded, resumed after every lesson, with an end by the clock where one is set."""

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Encoding, Tokenizer
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import BertForTokenClassification

from models.training.ner_figures import Chunk, figures, predict
from models.training.ner_student import LABELS, SPECIAL, WINDOW
from models.training.ner_teacher import Span

IGNORED = -100
"""Label of special tokens and padding: no loss."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    `budget`: padded tokens a batch. `masked`: share of pieces hidden, so that what stands around a name is learnt from
    too. `minutes`: the rate falls, and training ends, by whichever is used up first, these or the lessons.
    """

    lessons: int
    lr: float
    budget: int
    minutes: float = math.inf
    masked: float = 0.0


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


def fit(
    model: BertForTokenClassification,
    tokenizer: Tokenizer,
    lesson: Callable[[int], list[Chunk]],
    dev: list[Chunk],
    plan: Plan,
    state: Path,
) -> Iterator[dict[str, Any]]:
    """Train in place; after each lesson yield the figures on `dev`, by part and label.

    `state` is written after every lesson: an interrupted run goes on after the last whole one.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # A CPU without bf16 instructions emulates them, many times slower than float32.
    bf16 = device == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    model.to(torch.device(device))  # type: ignore[arg-type]  # its stub knows no module method
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    number, spent = _resume(state, model, optimizer, device)
    began = time.monotonic() - spent
    used = 0.0
    while number < plan.lessons and used < 1:
        model.train()
        losses: list[float] = []
        chunks = lesson(number)
        bar = tqdm(total=len(chunks), desc=f"lesson {number + 1}/{plan.lessons}", mininterval=15)
        for ids, tags in batches(chunks, tokenizer, plan.budget, random.Random(number)):
            used = max((number + bar.n / bar.total) / plan.lessons, (time.monotonic() - began) / 60 / plan.minutes)
            if used >= 1:
                break
            set_rate(optimizer, plan.lr, used)
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                logits = model(input_ids=_masked(ids, plan).to(device), attention_mask=(ids != 0).long().to(device))[0]
            loss = loss_of(logits.float().flatten(0, 1), tags.to(device).flatten())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            bar.update(len(ids))
            bar.set_postfix(loss=sum(losses[-50:]) / len(losses[-50:]), refresh=False)
        bar.close()
        number += 1
        scores = figures(dev, predict(model, tokenizer, dev))
        short = {key: value["f1"] for key, value in scores.items() if " " not in key}
        mean = sum(losses) / max(1, len(losses))
        print(f"lesson {number}: loss {mean:.4f}, {len(losses)} steps, F1 {short}, {used:.0%} of the plan", flush=True)
        saved = {"lesson": number, "spent": time.monotonic() - began, "model": model.state_dict()}
        torch.save(saved | {"optimizer": optimizer.state_dict()}, state.with_suffix(".new"))
        state.with_suffix(".new").rename(state)
        yield scores
    model.cpu()


def _resume(
    state: Path, model: BertForTokenClassification, optimizer: torch.optim.Optimizer, device: str
) -> tuple[int, float]:
    """What an earlier run did of it: lessons and seconds."""
    if not state.exists():
        return 0, 0.0
    saved = torch.load(state, map_location=device)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["lesson"], saved["spent"]


def _masked(ids: torch.Tensor, plan: Plan) -> torch.Tensor:
    hidden = (torch.rand(ids.shape) < plan.masked) & (ids >= len(SPECIAL))
    return ids.masked_fill(hidden, SPECIAL.index("[MASK]"))


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
