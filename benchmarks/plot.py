"""The comparisons as one picture: a panel for each question, a bar for each side, its rounds as dots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks import svg

OURS, OTHERS = "tab:blue", "0.7"


def draw(panels: Sequence[tuple[str, Sequence[dict[str, Any]], set[str]]], path: Path) -> None:
    """Write the plot (SVG). panels: (heading, rows of the report, the names of our sides)."""
    heights = [1 + len(rows) for _, rows, _ in panels]
    figure = Figure(figsize=(9, 0.6 + 0.32 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for one, (heading, rows, ours) in zip(axes, panels, strict=True):
        names = [row["arm"] for row in rows]
        rates = [row["documents_per_second"] for row in rows]
        one.barh(names, rates, color=[OURS if name in ours else OTHERS for name in names], height=0.7)
        for at, row in enumerate(rows):
            one.plot(row["rounds"], [at] * len(row["rounds"]), ".", color="0.2", markersize=4)
        one.invert_yaxis()
        one.set_title(heading, loc="left", fontsize="medium")
        one.set_xlim(left=0)
        one.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("documents per second")
    svg.save(figure, path)
