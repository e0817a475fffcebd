"""The figures of the model cards: the shipped models on the test parts that lie beside this program."""

import argparse
import importlib

from models.training.shipped import MODELS
from store.catalogue import load

FOLDERS = {task: entry.source for task, entry in load(MODELS / "catalogue.toml").bundled().items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="*", metavar="task", help=f"some of {', '.join(FOLDERS)}; all without")
    parser.add_argument(
        "--dtype",
        choices=("float32", "int8"),
        help="by CTranslate2 in this number format; without, by torch in float32",
    )
    parser.add_argument("--limit", type=int, help="texts of each test part, for a quick look")


def main(args: argparse.Namespace) -> None:
    unknown = set(args.tasks) - set(FOLDERS)
    if unknown:
        raise SystemExit(f"no such task: {', '.join(sorted(unknown))}; there are {', '.join(FOLDERS)}")
    for task in args.tasks or FOLDERS:
        figures = importlib.import_module(f"models.training.{task}").evaluate(
            MODELS / FOLDERS[task], args.limit, args.dtype
        )
        print(f"{FOLDERS[task]}")
        for name, value in figures.items():
            print(f"  {name}: {value:.3f}" if isinstance(value, float) else f"  {name}: {value}", flush=True)
