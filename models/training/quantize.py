"""Fine-tune a model of one's own to answer in CTranslate2's int8 as in float32: `python -m models.training quantize`.

It needs the model's folder and texts of the kind that it is for, no answers: the teacher is the model in float32.
Batch by batch it answers greedily, and a copy that is rounded as int8 rounds it (`int8.py`) learns the teacher's
distribution over the tokens of these answers, or over the labels; in one step of four without the rounding, so that in
float32 it stays what it was. For encoder-decoders, and for token classification by BERT and its kin.
"""

import argparse
import copy
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    GenerationConfig,
)

from models.training import served
from models.training.int8 import Int8
from models.training.loop import pad
from workers.checkpoint.checkpoint import Checkpoint

KEPT_APART = 200
"""Texts, a tenth at most, that are not learnt from, to measure by."""
FLOAT_EVERY = 4
"""One step of so many is without rounding."""
WARMUP = 20
"""Steps."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train. tokens: of a batch's texts, padded. steps: the end where it comes before the
    clock's."""

    minutes: float
    rate: float
    tokens: int = 1000
    seed: int = 3
    steps: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL_FOLDER", help="config.json, tokenizer, safetensors")
    parser.add_argument(
        "--texts", type=Path, required=True, metavar="FILE",
        help="a text a line, or .jsonl with a `text` each, as the model gets them: sentences for a translation model",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the new model goes; without it, no training")
    parser.add_argument("--minutes", type=float, default=20, help="of training (20)")
    parser.add_argument("--rate", type=float, default=2e-5, help="AdamW's, from which it falls to zero (2e-5)")
    parser.add_argument("--tokens", type=int, default=1000, help="of a batch's texts, padded (1000)")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--measure", action="store_true",
        help="print how many answers int8 shares with float32 by CTranslate2, before and after, on texts kept apart",
    )  # fmt: skip


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    learnt, apart = split(read(args.texts), args.seed)
    if not apart:
        raise SystemExit(f"{args.texts} has fewer than ten texts")
    if args.out is None and not args.measure:
        raise SystemExit("nothing to do: --out FOLDER trains, --measure measures")
    before = measured(args.model, apart, args.threads) if args.measure else None
    if before is not None:
        print(f"before: int8 gives {share(before['int8'], before['float32'])} of the answers of float32", flush=True)
    if args.out is None:
        return
    if args.out.resolve() == args.model.resolve():
        raise SystemExit("--out is the model itself, which stays as it is")
    student = load(args.model)
    train(student, args.model, learnt, Plan(args.minutes, args.rate, args.tokens, args.seed))
    save(student, args.model, args.out)
    if before is not None:
        after = measured(args.out, apart, args.threads)
        print(f"after: int8 gives {share(after['int8'], after['float32'])} of the answers of float32")
        print(f"float32 gives {share(after['float32'], before['float32'])} of its answers from before")
        print(f"int8 gives {share(after['int8'], before['float32'])} of the answers of float32 from before")


# --- texts ------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[str]:
    """Distinct texts: one a line, or of a `.jsonl` the field `text`."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return list(
        dict.fromkeys(json.loads(line)["text"] for line in lines) if path.suffix == ".jsonl" else dict.fromkeys(lines)
    )


def split(texts: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Those to learn from, and those to measure by."""
    mixed = random.Random(seed).sample(texts, len(texts))
    apart = min(KEPT_APART, len(mixed) // 10)
    return mixed[apart:], mixed[:apart]


# --- training ---------------------------------------------------------------------------------------------------------


def load(folder: Path) -> Any:
    """The model in float32. Raises SystemExit where it is of another kind."""
    config = AutoConfig.from_pretrained(folder)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForTokenClassification
    if not config.is_encoder_decoder and not any("TokenClassification" in name for name in config.architectures or ()):
        raise SystemExit(f"{folder} is neither an encoder-decoder nor for token classification")
    return kind.from_pretrained(folder, dtype=torch.float32).eval()  # without dropout: there is nothing to overfit


def train(student: Any, folder: Path, texts: Sequence[str], plan: Plan) -> list[tuple[bool, float]]:
    """Train in place, by the clock -> of each step, whether it was in int8, and its loss."""
    torch.manual_seed(plan.seed)
    teacher = copy.deepcopy(student).requires_grad_(False)
    names = stored(student, folder)
    trained = {name: weight for name, weight in student.named_parameters() if name in names}
    for name, weight in student.named_parameters():
        weight.requires_grad_(name in trained)
    lessons = Lessons(teacher, folder, texts, plan)
    int8 = Int8(student)
    optimizer = torch.optim.AdamW(trained.values(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    losses: list[tuple[bool, float]] = []
    began, told = time.monotonic(), 0.0
    while True:
        for lesson in lessons.epoch(len(losses)):
            used = (time.monotonic() - began) / 60 / plan.minutes
            if plan.steps is not None:
                used = max(used, len(losses) / plan.steps)
            if used >= 1:
                return losses
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * min((len(losses) + 1) / WARMUP, 1 - used)
            simulated = (len(losses) + 1) % FLOAT_EVERY != 0
            loss = lesson(int8 if simulated else student)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimizer.step()
            losses.append((simulated, loss.item()))
            if used >= told:
                print(f"{len(losses)} steps, {used:.0%} of the time, distance {_recent(losses)}", flush=True)
                told += 0.05


def _recent(losses: Sequence[tuple[bool, float]]) -> str:
    """Of the last steps of either form."""
    found = []
    for name, form in (("int8", True), ("float32", False)):
        some = [value for simulated, value in losses[-200:] if simulated is form]
        found.append(f"{name} {sum(some) / len(some):.5f}" if some else "")
    return ", ".join(filter(None, found))


Lesson = Callable[[Callable[..., Any]], Tensor]
"""From what answers in the model's place to its distance from the teacher, in nats a token."""


class Lessons:
    """What the teacher says to the texts. Asked once about each batch, it is remembered."""

    def __init__(self, teacher: Any, folder: Path, texts: Sequence[str], plan: Plan) -> None:
        self.teacher, self.seed = teacher, plan.seed
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.pad_id = tokenizer.pad_token_id
        longest = min(served.LONGEST, tokenizer.model_max_length, _positions(teacher.config))
        rows = sorted(tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"], key=len)
        self.batches: list[list[list[int]]] = [[]]
        for row in rows:
            if len(row) * (len(self.batches[-1]) + 1) > plan.tokens and self.batches[-1]:
                self.batches.append([])
            self.batches[-1].append(row)
        self.answers: dict[int, Tensor] = {}
        self.generation: GenerationConfig | None = None
        if teacher.config.is_encoder_decoder:
            self.generation = Checkpoint(str(folder)).generation_config(teacher.config)
            # Greedy: several beams take more time than learning does.
            self.generation.update(num_beams=1, early_stopping=False, do_sample=False)

    def epoch(self, number: int) -> Any:
        """All batches in an order of its own."""
        order = random.Random(f"{self.seed}/{number}").sample(range(len(self.batches)), len(self.batches))
        return (self.lesson(batch) for batch in order)

    def lesson(self, batch: int) -> Lesson:
        """One batch."""
        ids = pad(self.batches[batch], self.pad_id)
        inputs = {
            "input_ids": ids,
            "attention_mask": (
                torch.arange(ids.shape[1]) < torch.tensor([[len(row)] for row in self.batches[batch]])
            ).long(),
        }
        counted = inputs["attention_mask"].bool()
        if self.generation is not None:
            answers = self._answers(batch, inputs)
            inputs["decoder_input_ids"] = answers[:, :-1]
            ends = (answers[:, 1:] == self.teacher.config.eos_token_id).long()
            counted = ends.cumsum(1) - ends == 0  # up to the first end, which counts
        with torch.inference_mode():
            wanted = self._scores(self.teacher, inputs, counted)
        wanted = wanted.clone()

        def distance(model: Callable[..., Any]) -> Tensor:
            return functional.kl_div(
                self._scores(model, inputs, counted), wanted, reduction="batchmean", log_target=True
            )

        return distance

    def _scores(self, model: Callable[..., Any], inputs: dict[str, Tensor], counted: Tensor) -> Tensor:
        extra = {"use_cache": False} if self.generation is not None else {}
        return model(**inputs, **extra).logits[counted].log_softmax(-1)

    def _answers(self, batch: int, inputs: dict[str, Tensor]) -> Tensor:
        if batch not in self.answers:
            with torch.inference_mode():
                self.answers[batch] = self.teacher.generate(**inputs, generation_config=self.generation)
        return self.answers[batch].clone()


def _positions(config: Any) -> int:
    return getattr(config, "max_position_embeddings", None) or served.LONGEST


# --- the folder -------------------------------------------------------------------------------------------------------


def stored(model: Any, folder: Path) -> set[str]:
    """The names of those parameters that the folder's safetensors have: what is learnt. Of tied ones the first name.

    Raises SystemExit where they have names that the model does not know: then it could not be written as it was read.
    """
    places = {weight.data_ptr(): name for name, weight in model.named_parameters()}
    tensors = model.state_dict()
    names = set()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            found = [tensors[name].data_ptr() for name in weights.keys() if name in tensors]  # noqa: SIM118
        names |= {places[place] for place in found if place in places}
    if not names:
        raise SystemExit(f"{folder} has no safetensors by the names of its model: write it with save_pretrained first")
    return names


def save(model: Any, folder: Path, out: Path) -> None:
    """A copy of the folder with the model's weights: the same files, names and number formats."""
    out.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.is_file() and file.suffix != ".safetensors":
            shutil.copyfile(file, out / file.name)
    tensors = model.state_dict()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            old = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
            about = weights.metadata()
        new = {
            name: tensors[name].detach().to(value.dtype).contiguous().clone() if name in tensors else value
            for name, value in old.items()
        }
        save_file(new, out / file.name, metadata=about)
        (out / file.name).chmod(0o644)  # written as 0600, which a service's own user could not read


# --- measuring --------------------------------------------------------------------------------------------------------


def measured(folder: Path, texts: Sequence[str], threads: int) -> dict[str, list[Any]]:
    """What the folder's model answers in each number format by CTranslate2: a text, or each token's label."""
    if AutoConfig.from_pretrained(folder).is_encoder_decoder:
        return {form: list(served.generate(folder, texts, form, threads)) for form in ("float32", "int8")}
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    found: dict[str, list[Any]] = {}
    for form in ("float32", "int8"):
        model = served.token_classifier(folder, form, threads)
        longest = min(served.LONGEST, tokenizer.model_max_length)
        rows = [tokenizer(text, truncation=True, max_length=longest, return_tensors="pt") for text in texts]
        with torch.inference_mode():
            found[form] = [model(**row).logits.argmax(-1).tolist() for row in rows]
    return found


def share(some: Sequence[Any], others: Sequence[Any]) -> str:
    """How many are equal."""
    same = sum(a == b for a, b in zip(some, others, strict=True))
    return f"{same} of {len(some)} ({same / max(1, len(some)):.1%})"
