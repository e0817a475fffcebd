"""What happens when everybody comes at once?

    python -m benchmarks.overload
    python -m benchmarks.overload --parts everybody --seconds 30
    python -m benchmarks.overload --parts huge --documents 1000000

On PostgreSQL with one api: 300 pollers and 20 producers, a second apart and then without any pause; submits while
100,000 jobs of one document wait; a job of a million documents, its memory, its polls, and small jobs beside it. The
clients are on the same machine. Prints a table, writes a plot of the memory, and last one line of JSON; exit code 1
where something was lost, or answered with an error that is not "try again later".
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from benchmarks import machine, servers
from benchmarks.overload import plot
from benchmarks.overload.parts import PARTS, Row, Sizes

PLOT = servers.ROOT / "benchmarks" / "plots" / "overload.svg"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    add("--pollers", type=int, default=300)
    add("--producers", type=int, default=20)
    add("--seconds", type=float, default=30, help="for which they come, at each pace")
    add("--documents", type=int, default=1_000_000, help="of the huge job")
    add("--active", type=int, default=100_000, help="jobs of one document that wait")
    add("--submits", type=int, default=400, help="that are timed")
    add("--plot", type=Path, default=PLOT, help="where the plot goes (SVG)")
    return parser.parse_args(arguments)


def table(rows: list[Row]) -> str:
    """A line for each row: its part, and what it says."""
    lines = ["| part | |", "|---|---|"]
    for row in rows:
        said = ", ".join(f"{key} {value}" for key, value in row.items() if key not in ("part", "samples"))
        lines.append(f"| {row['part']} | {said} |")
    return "\n".join(lines)


def main() -> int:
    """0: nothing was lost, and nobody was answered with an undocumented error."""
    arguments = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its servers are stopped then, too
    chosen = ("pollers", "producers", "seconds", "documents", "active", "submits")
    sizes = Sizes(**{name: getattr(arguments, name) for name in chosen})
    rows: list[Row] = []
    for part in arguments.parts:
        print(f"-- {part}", flush=True)
        for row in PARTS[part](sizes):
            print(table([row]).splitlines()[-1], flush=True)
            rows.append(row)
            if row.get("what") == "run":
                plot.draw(row, arguments.plot)
    bad = sum(row.get("bad_count", 0) + row.get("lost", 0) for row in rows)
    result = {"device": machine.device(), "commit": machine.checkout(), "rows": rows, "bad": bad}
    print(f"\n{table(rows)}\n\n{json.dumps(result)}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
