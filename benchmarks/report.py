"""What was measured, as tables, as aims and as one line of JSON. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.questions.question import Measured, Question

Rounds = Mapping[str, Sequence[Measured]]
"""By arm."""

FACTS = {
    "agreement": ("answers as the first side's", "{:.1%}"),
    "tokens_per_second": ("input tokens/s", "{:,.0f}"),
    "padding": ("padding", "{:.0%}"),
    "busy": ("engine busy", "{:.0%}"),
    "cpu_us": ("CPU µs a document", "{:,.0f}"),
    "peak_mib": ("peak MiB", "{:,.0f}"),
}
"""What a round may tell besides its documents a second: the column's head, and how a figure is written."""


def rows(question: Question, measured: Rounds) -> list[dict[str, Any]]:
    """One for each arm, fit for JSON: medians, and every round's documents a second."""
    return [
        {
            "question": question.name,
            "arm": arm,
            "documents_per_second": round(statistics.median(one.rate for one in rounds), 3),
            "rounds": [round(one.rate, 3) for one in rounds],
            **{name: round(statistics.median(one.facts[name] for one in rounds), 4) for name in rounds[0].facts},
        }
        for arm, rounds in measured.items()
    ]


def table(question: Question, measured: Rounds, why: Mapping[str, str]) -> str:
    """In Markdown, the first arm's rate as the measure of all."""
    found = rows(question, measured)
    shown = [name for name in FACTS if any(name in row for row in found)]
    first = found[0]["documents_per_second"]
    heads = ["", "documents/s (each round)", f"{found[0]['arm']}: times", *(FACTS[name][0] for name in shown)]
    lines = [heads, ["---"] * len(heads)]
    for row in found:
        each = ", ".join(f"{rate:,.1f}" for rate in row["rounds"])
        name = f"{row['arm']} ({why[row['arm']]})" if why.get(row["arm"]) else row["arm"]
        rate = row["documents_per_second"]
        facts = [FACTS[name][1].format(row[name]) if name in row else "" for name in shown]
        lines.append([name, f"{rate:,.1f} ({each})", f"{first / rate:.2f}", *facts])
    return f"### {question.heading}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def aims(question: Question, measured: Rounds) -> dict[str, dict[str, Any]]:
    """Each aim by its name."""
    return {
        aim.name: {
            "value": round(value, 3),
            "target": aim.target,
            "at_most": aim.at_most,
            "met": value <= aim.target if aim.at_most else value >= aim.target,
        }
        for aim, value in question.results({arm: list(rounds) for arm, rounds in measured.items()})
    }


def aims_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """In Markdown."""
    lines = ["| aim | | measured | met |", "|---|---|---|---|"]
    for name, aim in found.items():
        sign, met = "<=" if aim["at_most"] else ">=", "yes" if aim["met"] else "no"
        lines.append(f"| {name} | {sign} {aim['target']:g} | {aim['value']:g} | {met} |")
    return "\n".join(lines)
