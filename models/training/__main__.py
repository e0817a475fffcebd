"""How the bundled models came about, and how good they are: `python -m models.training TASK --help`."""

import argparse
import importlib
import sys
from importlib.util import find_spec

from textmill.tasks import TASKS

PROGRAMS = {
    task.name: f"train the shipped model: {task.title}" for task in TASKS if find_spec(f"models.training.{task.name}")
} | {
    "quality": "measure the shipped models on their test parts",
    "quantize": "fine-tune a model of your own to answer in int8 as it does in float32",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    for name, purpose in PROGRAMS.items():
        task = tasks.add_parser(name, help=purpose, description=purpose)
        # Only the chosen module is imported: each needs packages that the others do without.
        if name in sys.argv[1:2]:
            importlib.import_module(f"models.training.{name}").add_arguments(task)
    args = parser.parse_args()
    importlib.import_module(f"models.training.{args.task}").main(args)


if __name__ == "__main__":
    main()
