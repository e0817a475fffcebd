"""The training loop that both sequence-to-sequence models share: seeded, resumable, with a progress bar."""

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=Path(".training"), help="folder for data and checkpoints")
    # Two trainings with a thread each finish before two with two threads each, which wait for one another.
    parser.add_argument("--threads", type=int, default=os.cpu_count())


@dataclass(frozen=True)
class Example:
    """Piece ids with the end mark."""

    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class Batch:
    """source, mask: (rows, source tokens); inputs, labels: (rows, target tokens), labels -100 where padded.

    `number` names the batch: it is the same in every epoch, and so are its members.
    """

    number: int
    source: Tensor
    mask: Tensor
    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; tokens are padded ones, the larger of a batch's two sides."""

    epochs: int
    tokens: int = 3000
    warmup: int = 200
    seed: int = 3
    checkpoint_every: int = 200
    steps: int | None = None
    """Ends the training before its epochs do, with the learning rate at zero."""
    minutes: float | None = None
    """Of the clock, after which it ends, with the learning rate at zero; what it stood still for counts."""


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def collate(number: int, examples: Sequence[Example], pad_id: int) -> Batch:
    source = pad([e.source for e in examples], pad_id)
    # The pad token also starts the decoder.
    inputs = pad([[pad_id, *e.target[:-1]] for e in examples], pad_id)
    labels = pad([e.target for e in examples], -100)
    return Batch(number, source, (source != pad_id).long(), inputs, labels)


def batches(examples: Sequence[Example], tokens: int, pad_id: int, seed: int) -> list[Batch]:
    """Batches of alike lengths, at most `tokens` wide: rows times the longer side."""
    size = lambda e: (len(e.source), len(e.target))  # noqa: E731
    ordered = sorted(random.Random(seed).sample(examples, len(examples)), key=size)
    found: list[list[Example]] = [[]]
    width = 0
    for example in ordered:
        width = max(width, *size(example))
        if found[-1] and width * (len(found[-1]) + 1) > tokens:
            found.append([])
            width = max(size(example))
        found[-1].append(example)
    return [collate(number, part, pad_id) for number, part in enumerate(found)]


def fit(
    model: nn.Module,
    groups: list[dict[str, object]],
    examples: Sequence[Example],
    loss: Callable[[Batch], Tensor],
    plan: Plan,
    pad_id: int,
    work: Path,
) -> None:
    """Train to the plan's end, from `work`/checkpoint.pt where there is one. The learning rate falls linearly to zero,
    over the steps, or over the minutes where they are the shorter way.

    `groups` are AdamW's parameter groups, each with its own "lr".
    """
    parts = batches(examples, plan.tokens, pad_id, plan.seed)
    order = random.Random(plan.seed)
    schedule = [batch for _ in range(plan.epochs) for batch in order.sample(parts, len(parts))][: plan.steps]
    total = len(schedule)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    checkpoint = work / "checkpoint.pt"
    start, begun = 0, time.time()

    def minutes() -> float:
        return (time.time() - begun) / 60

    def done(step: int) -> float:
        """Share of the plan."""
        return max(step / (total + 1), minutes() / plan.minutes if plan.minutes else 0.0)

    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: max(0.0, min((n + 1) / plan.warmup, 1 - done(n))))
    torch.manual_seed(plan.seed)
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        rate.load_state_dict(saved["rate"])
        torch.set_rng_state(saved["rng"])
        start = saved["step"]
        begun -= 60 * saved.get("minutes", 0.0)
    trained = [p for p in model.parameters() if p.requires_grad]
    for step, value in _steps(schedule[start:], loss, optimizer, rate, trained, start):
        late = plan.minutes is not None and minutes() >= plan.minutes
        if (step + 1) % plan.checkpoint_every == 0 or step + 1 == total or late:
            with (work / "curve.tsv").open("a") as curve:
                curve.write(f"{step + 1}\t{value:.4f}\n")
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rate": rate.state_dict()}
            state |= {"rng": torch.get_rng_state(), "step": step + 1, "minutes": minutes()}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").rename(checkpoint)
        if late:
            break


def _steps(
    schedule: Sequence[Batch],
    loss: Callable[[Batch], Tensor],
    optimizer: torch.optim.Optimizer,
    rate: torch.optim.lr_scheduler.LRScheduler,
    trained: list[nn.Parameter],
    start: int,
) -> Iterator[tuple[int, float]]:
    """Run the schedule -> each step's number and the running mean of the loss."""
    mean = 0.0
    with tqdm(schedule, initial=start, total=start + len(schedule), mininterval=10, smoothing=0.02) as bar:
        for step, batch in enumerate(bar, start):
            value = loss(batch)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            rate.step()
            mean = value.item() if step == start else 0.98 * mean + 0.02 * value.item()
            bar.set_postfix(loss=f"{mean:.3f}", refresh=False)
            yield step, mean
