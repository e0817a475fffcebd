"""Train the entity model: `python -m models.training ner`; judge it: `python -m models.training quality ner`.

prose          texts of packages                              ner_teacher  labels them
ner_names      templated sentences, exact labels              ner_data     both, split and dealt out in lessons
ner_sentences  sentences marked by hand                       ner_last     the last phase, which learns from them most
ner_student    MiniLM cut down, its cased vocabulary          ner_loop     the loop of both phases
ner_figures    the test parts and the figures                 ner_origins  names by origin and sex

The first phase learns from the teacher and from templates, the last from what people marked; `--phase last` goes on
from the weights in `--start` and can do without the teacher and its packages (`--rehearse 0`).
"""

import argparse
import json
import os
from pathlib import Path

import torch
from tokenizers import Tokenizer

from models.training import ner_last, ner_names
from models.training.ner_data import lesson, prepare, select, split
from models.training.ner_figures import MODEL, Chunk, dev_part, evaluate, write_test_part
from models.training.ner_loop import Plan, fit
from models.training.ner_student import build, save, train_tokenizer


def train(args: argparse.Namespace) -> None:
    """The first phase: from MiniLM's layers, by the teacher's labels and templates; writes the model to `output`."""
    work = args.work / "ner"
    prose, test = split(prepare(work))
    prose = select(prose, args.seed)
    wordnet = next((work / "debian" / "wordnet-base").glob("**/data.noun"))
    names, unseen = ner_names.Names(False, wordnet), ner_names.Names(True, wordnet)
    tokenizer = vocabulary(prose, names, args)
    model = build(tokenizer, args.layers, args.width)
    print(f"{len(prose)} chunks of prose, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    write_test_part(unseen)
    dev, plan = dev_part(test, unseen), Plan(args.lessons, args.lr, args.budget)
    for _ in fit(model, tokenizer, lambda n: lesson(prose, names, n, args), dev, plan, work / f"{args.name}.pt"):
        pass
    save(model, tokenizer, args.output)


def vocabulary(prose: list[Chunk], names: ner_names.Names, args: argparse.Namespace) -> Tokenizer:
    """The student's pieces, learnt on training text and on names (which are what most needs whole words)."""
    path = args.work / "ner" / f"{args.name}-tokenizer.json"
    if not path.exists():
        templated = ner_names.sentences(names, False, len(prose) // 20, args.seed)
        texts = (chunk["text"] for part in (prose[::3], templated) for chunk in part)
        train_tokenizer(texts, args.vocabulary).save(str(path))
    return Tokenizer.from_file(str(path))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=Path(".training"), help="downloads, labels and checkpoints")
    parser.add_argument("--output", type=Path, default=MODEL, help="where the model goes")
    parser.add_argument("--name", default="run", help="name of the checkpoint; a known one is resumed")
    parser.add_argument("--phase", choices=("both", "first", "last"), default="both")
    parser.add_argument("--layers", type=int, default=3, help="encoder layers kept (of 6)")
    parser.add_argument("--width", type=int, default=512, help="feed-forward neurons kept (of 1536)")
    parser.add_argument("--vocabulary", type=int, default=4800, help="pieces")
    parser.add_argument("--lesson", type=int, default=4000, help="texts of prose between two reports and checkpoints")
    parser.add_argument("--lessons", type=int, default=38)
    parser.add_argument("--templated", type=int, default=3, help="texts of prose to one of templated sentences")
    parser.add_argument("--budget", type=int, default=1024, help="padded tokens a batch")
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    ner_last.add_arguments(parser)


def main(args: argparse.Namespace) -> None:
    """Make the data, train, write the model and print its figures."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    (args.work / "ner").mkdir(parents=True, exist_ok=True)
    if args.phase != "last":
        train(args)
    if args.phase != "first":
        ner_last.train(args, args.output if args.phase == "both" else args.start)
    print(json.dumps(evaluate(args.output), indent=2))
