"""How fast is it, against everything that could be used in its place?

    make bench                              ours and the best peers of every question
    make bench QUESTION=translation-greedy  every side of one question
    python -m benchmarks translation-greedy entities --rounds 5 --documents 60

Sides take turns, round by round, in one run on one machine; their answers are compared before the clock starts. Prints
a table for each question and the aims, writes a plot, and last one line of JSON.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import report, servers
from benchmarks.machine import checkout, device
from benchmarks.questions import QUESTIONS
from benchmarks.questions.question import Arm, Measured, Question

PLOT = servers.ROOT / "benchmarks" / "plots" / "bench.svg"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("questions", nargs="*", metavar="QUESTION", help=f"of {', '.join(QUESTIONS)} (all)")
    add("--every-side", action="store_true", help="also those that are slow or seldom the best (one question: always)")
    add("--rounds", type=int, default=3, help="of each side")
    add("--documents", type=int, help="of sides that take them in bulk (each question has its own number)")
    add("--plain-documents", type=int, help="of sides that take them one by one")
    add("--plot", type=Path, default=PLOT, help="where the plot goes (SVG)")
    parsed = parser.parse_args(arguments)
    if unknown := set(parsed.questions) - set(QUESTIONS):
        parser.error(f"no such question: {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    return parsed


def sized(question: Question, arguments: argparse.Namespace) -> Question:
    """The question with the numbers of documents that were asked for."""
    wanted = {"documents": arguments.documents, "plain_documents": arguments.plain_documents}
    size = replace(question.size, **{name: number for name, number in wanted.items() if number is not None})
    return replace(question, size=size)


def measure(question: Question, arms: list[Arm], rounds: int) -> dict[str, list[Measured]]:
    """Every arm's rounds, taken in turn."""
    measured: dict[str, list[Measured]] = {arm.name: [] for arm in arms}
    with tempfile.TemporaryDirectory(prefix="textmill-bench-") as name, contextlib.ExitStack() as started:
        kept = {
            arm.name: started.enter_context(arm.start(question.size, _folder(name, arm.name, "kept")))
            for arm in arms
            if arm.side_by_side
        }
        for number in range(rounds):
            for arm in arms:
                if arm.name in kept:
                    one = kept[arm.name]()
                else:
                    with arm.start(question.size, _folder(name, arm.name, str(number))) as run:
                        one = run()
                measured[arm.name].append(one)
                print(f"  {arm.name}: {one.rate:,.1f} documents/s", flush=True)
    return measured


def _folder(parent: str, arm: str, number: str) -> Path:
    folder = Path(parent) / f"{''.join(filter(str.isalnum, arm))}-{number}"
    folder.mkdir()
    return folder


def main() -> int:
    """Ask, show, and tell. Whether an aim was met changes no exit code: these machines are noisy."""
    from benchmarks import plot  # of the group `bench`, which the tests do without

    arguments = parse()
    asked = [sized(QUESTIONS[name], arguments) for name in arguments.questions or QUESTIONS]
    every = arguments.every_side or len(arguments.questions) == 1
    rows: list[dict[str, Any]] = []
    aims: dict[str, dict[str, Any]] = {}
    panels, tables = [], []
    for question in asked:
        print(f"-- {question.name}", flush=True)
        arms = [arm for arm in question.arms(question.size) if every or arm.standard]
        measured = measure(question, arms, arguments.rounds)
        found = report.rows(question, measured)
        rows += found
        aims |= report.aims(question, measured)
        panels.append((question.heading, found, {arm.name for arm in arms if arm.ours}))
        tables.append(report.table(question, measured, {arm.name: arm.why for arm in arms}))
    plot.draw(panels, arguments.plot)
    print("\n" + "\n\n".join([*tables, report.aims_table(aims)]) + "\n")
    print(json.dumps({"device": device(), "commit": checkout(), "rows": rows, "aims": aims}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
