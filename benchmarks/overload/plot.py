"""Memory over time while one huge job runs, as a plot."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks import svg

COLOURS = {"api": "tab:blue", "worker": "tab:orange"}


def draw(run: dict[str, Any], path: Path) -> None:
    """Write the plot (SVG). run: the row `run` of the part `huge`."""
    samples = run["samples"]
    seconds = [sample["seconds"] for sample in samples]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    memory, polls = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1]})
    for part, colour in COLOURS.items():
        memory.plot(seconds, [sample[part] for sample in samples], color=colour, label=part)
    memory.set_ylim(bottom=0)
    memory.set_ylabel("MiB")
    memory.set_title(f"One job of {run['documents']:,} documents", loc="left", fontsize="medium")
    memory.legend(loc="lower right", frameon=False)
    asked = [(sample["seconds"], sample["poll_ms"]) for sample in samples if "poll_ms" in sample]
    polls.plot([at for at, _ in asked], [ms for _, ms in asked], ".", color="0.4", markersize=3)
    polls.set_ylim(bottom=0)
    polls.set_ylabel("a poll, ms")
    polls.set_xlabel("seconds")
    for axes in (memory, polls):
        axes.spines[["top", "right"]].set_visible(False)
    svg.save(figure, path)
