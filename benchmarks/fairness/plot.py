"""The waits as a plot: each kind's small jobs as dots and a box, with the aims as lines."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import svg
from benchmarks.fairness.report import LOADS, TARGETS, Row, label

LEAST = 0.01
"""Seconds; a logarithmic axis has no zero."""

BESIDE, IDLE, AIM = "tab:blue", "0.6", "tab:red"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the plot (SVG) of the rows of `small` and `load`; nothing where there are none."""
    shown = [row for row in rows if row["part"] in ("small", *LOADS)]
    if not shown:
        return
    figure = Figure(figsize=(9, 1.2 + 0.55 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for at, row in enumerate(shown):
        _row(axes, at, row)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(shown)), [label(row) for row in shown])
    axes.invert_yaxis()
    axes.set_xlabel("seconds from submission to the end of three short documents")
    axes.grid(axis="x", color="0.9")
    styles: dict[str, dict[str, Any]] = {
        "beside the bulk job": {"color": BESIDE, "marker": "o", "linestyle": ""},
        "on an idle system": {"color": IDLE, "marker": "o", "linestyle": ""},
        "aim, median": {"color": AIM, "linestyle": ":"},
        "aim, worst": {"color": AIM, "linestyle": "-"},
    }
    for name, style in styles.items():
        axes.plot([], [], label=name, **style)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    svg.save(figure, path)


def _row(axes: Axes, at: int, row: Row) -> None:
    measured = row["waits"] if row["part"] == "small" else row["beyond"]
    seconds = [max(LEAST, value) for value in measured]
    jitter = random.Random(at)
    axes.boxplot(
        [seconds], positions=[at], orientation="horizontal", widths=0.5, showfliers=False, manage_ticks=False,
        medianprops={"color": BESIDE}, boxprops={"color": BESIDE}, whiskerprops={"color": BESIDE},
        capprops={"color": BESIDE},
    )  # fmt: skip
    for values, colour in ((row.get("idle", []), IDLE), (seconds, BESIDE)):
        heights = [at + jitter.uniform(-0.15, 0.15) for _ in values]
        axes.scatter(values, heights, s=12, color=colour, alpha=0.7, zorder=3)
    for what, style in (("p50", ":"), ("worst", "-")):
        axes.vlines(TARGETS[f"{_aim(row)}, {what}"], at - 0.42, at + 0.42, color=AIM, linestyle=style, zorder=2)


def _aim(row: Row) -> str:
    """The name of the aim that the row has."""
    if row["part"] in LOADS:
        return "beyond load" if row["part"] == "load" else "beyond load after a restart"
    if row["priority"] == "high":
        return "high"
    return "same model" if row["same_model"] else "another model"
