"""What the rows say: the table, and the aims with what became of them. Pure."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Row = dict[str, Any]

TARGETS = {
    "another model, p50": 1.0,
    "another model, worst": 2.5,
    "same model, p50": 1.0,
    "same model, worst": 1.5,
    "high, p50": 0.6,
    "high, worst": 1.0,
    "beyond load, p50": 1.0,
    "beyond load, worst": 2.5,
    "beyond load after a restart, p50": 1.0,
    "beyond load after a restart, worst": 2.5,
    "ten keys, deviation from equal": 0.10,
    "bulk alone, loss against": 0.03,
    "bulk beside small jobs, loss": 0.10,
}
"""Seconds, and shares of one: what is measured may be as much."""

LOADS = {"restart": ", right after a restart", "load": ""}
"""The rows of the part `load`. In the first there is the framework's import as well."""


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """The median and the worst."""
    return {"p50": round(statistics.median(seconds), 3), "worst": max(seconds)}


def share_deviation(work: Sequence[float]) -> dict[str, float]:
    """The smallest and the largest share against an equal one (1.0), and the larger distance from it.

    Raises ValueError where nothing was done.
    """
    equal = sum(work) / len(work)
    if not equal:
        raise ValueError("none of the keys had any work done")
    smallest, largest = min(work) / equal, max(work) / equal
    return {"smallest": smallest, "largest": largest, "deviation": max(1 - smallest, largest - 1)}


def aims(rows: Sequence[Row], against: Sequence[Row] = ()) -> dict[str, Row]:
    """Each aim that was measured: its value, its target, whether it was met.

    Where several kinds of small jobs have the same aim its value is that of the worst kind. against: the rows of the
    same measurement on another checkout, for the loss of the bulk job alone.
    """
    values: dict[str, float] = {}
    normal = [row for row in _of(rows, "small") if row["priority"] == "normal"]
    groups = {
        "another model": [row for row in normal if not row["same_model"]],
        "same model": [row for row in normal if row["same_model"]],
        "high": [row for row in _of(rows, "small") if row["priority"] == "high"],
        "beyond load": _of(rows, "load"),
        "beyond load after a restart": _of(rows, "restart"),
    }
    for name, group in groups.items():
        if group:
            values |= {f"{name}, {what}": max(row[what] for row in group) for what in ("p50", "worst")}
    for row in _of(rows, "shares"):
        values["ten keys, deviation from equal"] = row["deviation"]
    ours, theirs = _rates(rows), _rates(against)
    if ours and theirs:
        values["bulk alone, loss against"] = 1 - ours["alone"] / theirs["alone"]
    if ours:
        values["bulk beside small jobs, loss"] = 1 - ours["beside"] / ours["alone"]
    return {
        name: {"value": values[name], "target": target, "met": values[name] <= target}
        for name, target in TARGETS.items()
        if name in values
    }


def _of(rows: Iterable[Row], *parts: str) -> list[Row]:
    return [row for row in rows if row["part"] in parts]


def _rates(rows: Iterable[Row]) -> dict[str, float]:
    """Documents per second, by arm."""
    return {row["arm"]: row["documents_per_second"] for row in _of(rows, "throughput")}


def label(row: Row) -> str:
    """A kind of small job in words."""
    if row["part"] in LOADS:
        return f"{row['task']}{LOADS[row['part']]}, beyond its model's load"
    priority = ", high" if row["priority"] == "high" else ""
    return f"{row['task']}{priority}, {'the same key' if row['key'] == 'own' else 'another key'}"


def _small(rows: list[Row]) -> list[str]:
    lines = [
        "| three short documents | idle: p50, worst | beside the bulk job: p50, worst | ratio of p50 |",
        "|---|---|---|---|",
    ]
    for row in rows:
        idle = spread(row["idle"])
        bound = ">= " if row["outlived"] else ""  # the bulk job ended first
        lines.append(
            f"| {label(row)} | {idle['p50']:.2f} s, {idle['worst']:.2f} s "
            f"| {row['p50']:.2f} s, {bound}{row['worst']:.2f} s | {row['p50'] / idle['p50']:.1f} |"
        )
    return lines


def _load(rows: list[Row]) -> list[str]:
    lines = [
        "| a model is loaded first | waited: p50, worst | load: p50 | beyond it: p50, worst |",
        "|---|---|---|---|",
    ]
    for row in rows:
        waits, loads = spread(row["waits"]), spread(row["loads"])
        lines.append(
            f"| {row['task']}{LOADS[row['part']]} | {waits['p50']:.2f} s, {waits['worst']:.2f} s "
            f"| {loads['p50']:.2f} s | {row['p50']:.2f} s, {row['worst']:.2f} s |"
        )
    return lines


def _shares(rows: list[Row]) -> list[str]:
    lines = ["| keys | characters, all keys | smallest share of equal | largest |", "|---|---|---|---|"]
    for row in rows:
        work = row["characters"]
        lines.append(
            f"| {len(work)}, {row['task']}, {row['seconds']:.0f} s | {sum(work):,} "
            f"| {row['smallest']:.2f} | {row['largest']:.2f} |"
        )
    return lines


def _throughput(rows: list[Row]) -> list[str]:
    lines = ["| the bulk job | documents/s (each round) | against alone |", "|---|---|---|"]
    alone = _rates(rows)["alone"]
    for row in rows:
        rate = row["documents_per_second"]
        rounds = ", ".join(f"{row['documents'] / seconds:.2f}" for seconds in row["seconds"])
        lines.append(f"| {row['arm']} | {rate:.2f} ({rounds}) | {rate / alone:.3f} |")
    return lines


SECTIONS: list[tuple[tuple[str, ...], Callable[[list[Row]], list[str]]]] = [
    (("small",), _small),
    (tuple(LOADS), _load),
    (("shares",), _shares),
    (("throughput",), _throughput),
]
"""The parts of each block of the table."""


def table(rows: Sequence[Row], found: dict[str, Row]) -> str:
    """The rows of each part and the aims, as Markdown."""
    blocks = [section(mine) for parts, section in SECTIONS if (mine := _of(rows, *parts))]
    lines = ["| aim | at most | measured | met |", "|---|---|---|---|"]
    for name, aim in found.items():
        lines.append(f"| {name} | {aim['target']:g} | {aim['value']:.3g} | {'yes' if aim['met'] else 'no'} |")
    return "\n\n".join("\n".join(block) for block in [*blocks, lines])
