"""Does anybody wait for somebody else's huge job?

    make bench-fairness
    python -m benchmarks.fairness --parts small throughput --documents 2000 --repeats 5
    python -m benchmarks.fairness --parts throughput --against before.txt     what the bulk job alone lost since then

The whole system as `make up` has it, its models loaded and calibrated before the clock starts, beside a translation job
of 12,000 package descriptions. Prints a table and the aims, writes a plot of the waits, and last one line of JSON.
`before.txt` is what the same command printed on another checkout (with this folder copied there, where it is older).
"""

import argparse
import json
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from benchmarks import machine, servers
from benchmarks.fairness import plot, report
from benchmarks.fairness.parts import PARTS, Sizes
from benchmarks.fairness.report import Row
from benchmarks.fairness.system import BULK_TASK, TASKS, Installation
from textmill.errors import TextmillError

PLOT = servers.ROOT / "benchmarks" / "plots" / "fairness.svg"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fairness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    add("--database", choices=["sqlite", "postgresql"], default="sqlite")
    add("--processes", type=int, default=2, help="of the workers on the CPU, with one thread each")
    add("--documents", type=int, default=12_000, help=f"of the bulk job ({BULK_TASK})")
    add("--repeats", type=int, default=20, help="small jobs of each kind, and restarts of the workers")
    add("--pause", type=float, default=3, help="seconds between two small jobs, on average")
    add("--settle", type=float, default=10, help="seconds for which the bulk job runs before anything is measured")
    add("--share-documents", type=int, default=2_000, help="of each of the ten keys' jobs")
    add("--share-seconds", type=float, default=60, help="for which the keys' work is counted")
    add("--rate-documents", type=int, default=2_000, help="of the bulk job whose documents per second are taken")
    add("--rounds", type=int, default=2, help="of that job alone, and as many beside small ones, in turns")
    add("--beside", choices=TASKS, default="ner", help="the task of the small job every second")
    add("--against", type=Path, metavar="FILE", help="what this command printed on another checkout")
    add("--plot", type=Path, default=PLOT, help="where the plot goes (SVG)")
    return parser.parse_args(arguments)


def earlier(path: Path | None) -> list[Row]:
    """The rows of an earlier run, from its last line."""
    if path is None:
        return []
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["rows"]
    return rows


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of all parts that were asked for, as each part ends."""
    sizes = Sizes(
        documents=arguments.documents,
        repeats=arguments.repeats,
        pause_seconds=arguments.pause,
        settle_seconds=arguments.settle,
        share_documents=arguments.share_documents,
        share_seconds=arguments.share_seconds,
        rate_documents=arguments.rate_documents,
        rounds=arguments.rounds,
        beside=arguments.beside,
    )
    with tempfile.TemporaryDirectory(prefix="textmill-bench-") as name:
        installation = Installation(Path(name), arguments.database, arguments.processes)
        for part in arguments.parts:
            print(f"-- {part}", flush=True)
            yield from PARTS[part](installation, sizes)


def show(rows: list[Row], checkout: str, arguments: argparse.Namespace) -> None:
    """The table, the plot and the line of JSON."""
    aims = report.aims(rows, earlier(arguments.against))
    plot.draw(rows, arguments.plot)
    print(f"\n{report.table(rows, aims)}\n")
    result = {
        "device": f"{machine.device()}, {arguments.processes} worker processes",
        "commit": checkout,
        "rows": rows,
        "aims": aims,
    }
    print(json.dumps(result), flush=True)


def main() -> int:
    """Exit codes: 0 measured (met or not), 1 a part failed, 130 interrupted. Parts that had ended are shown all the
    same: they took a quarter of an hour each."""
    arguments = parse()
    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored where a shell started this behind itself
        signal.signal(number, signal.default_int_handler)
    checkout = machine.checkout()
    earlier(arguments.against)  # a file that cannot be read is better known now
    rows: list[Row] = []
    code = 0
    try:
        for row in measure(arguments):
            rows.append(row)  # one by one: those of earlier parts stay when a later one fails
    except KeyboardInterrupt:
        print("Interrupted; everything is stopped.", file=sys.stderr)
        code = 130
    except (RuntimeError, TimeoutError, TextmillError):
        traceback.print_exc()
        code = 1
    if rows:
        show(rows, checkout, arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
