"""What the measurement of fairness makes of its numbers."""

from typing import Any

import pytest

from benchmarks.fairness.report import TARGETS, aims, share_deviation, spread, table


def small(task: str, priority: str, waits: list[float]) -> dict[str, Any]:
    return {
        "part": "small", "task": task, "priority": priority, "key": "other", "same_model": task == "translation",
        **spread(waits), "waits": waits, "idle": [0.25, 0.5], "outlived": int(max(waits) > 5),
    }  # fmt: skip


def throughput(alone: float, beside: float) -> list[dict[str, Any]]:
    return [
        {"part": "throughput", "arm": arm, "documents_per_second": rate, "seconds": [100 / rate], "documents": 100}
        for arm, rate in (("alone", alone), ("beside", beside))
    ]


ROWS = [
    small("ner", "normal", [0.5, 0.6, 9.0]),
    small("summarization", "normal", [0.8, 0.9, 1.0]),
    small("translation", "normal", [1.0, 1.0, 1.5]),
    small("translation", "high", [0.3, 0.7, 0.8]),
    {"part": "load", "task": "summarization", **spread([0.5, 2.0]), "waits": [2.5, 4.0], "loads": [2.0, 2.0]},
    {"part": "restart", "task": "ner", **spread([3.0]), "waits": [3.5], "loads": [0.5]},
    {"part": "shares", "task": "ner", "seconds": 60, "characters": [95, 105], **share_deviation([95, 105])},
    *throughput(9.6, 9.12),
]


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("another model, p50", 0.9, True),  # the slower of the two kinds
        ("another model, worst", 9.0, False),  # a high or a same model's wait is no part of it
        ("same model, worst", 1.5, True),  # at most, not less than
        ("high, p50", 0.7, False),
        ("beyond load, p50", 1.25, False),
        ("beyond load after a restart, p50", 3.0, False),
        ("ten keys, deviation from equal", 0.05, True),
        ("bulk alone, loss against", 0.04, False),
        ("bulk beside small jobs, loss", 0.05, True),
    ],
)
def test_an_aim_is_of_its_worst_kind(name: str, value: float, met: bool) -> None:
    found = aims(ROWS, against=throughput(10, 1))[name]
    assert found == {"value": pytest.approx(value), "target": TARGETS[name], "met": met}


def test_what_was_not_measured_is_no_aim() -> None:
    assert set(aims(ROWS)) == set(TARGETS) - {"bulk alone, loss against"}
    assert aims([]) == {}


def test_shares_are_against_an_equal_one() -> None:
    assert share_deviation([10, 20, 30]) == {"smallest": 0.5, "largest": 1.5, "deviation": 0.5}
    assert share_deviation([0, 30, 30])["deviation"] == 1.0
    with pytest.raises(ValueError, match="none of the keys"):
        share_deviation([0, 0])


def test_the_table_has_each_part_and_each_aim() -> None:
    found = aims(ROWS)
    lines = table(ROWS, found).splitlines()
    assert "| ner, another key | 0.38 s, 0.50 s | 0.60 s, >= 9.00 s | 1.6 |" in lines
    assert "| translation, high, another key | 0.38 s, 0.50 s | 0.70 s, 0.80 s | 1.9 |" in lines
    assert "| summarization | 3.25 s, 4.00 s | 2.00 s | 1.25 s, 2.00 s |" in lines
    assert "| ner, right after a restart | 3.50 s, 3.50 s | 0.50 s | 3.00 s, 3.00 s |" in lines
    assert "| 2, ner, 60 s | 200 | 0.95 | 1.05 |" in lines
    assert "| beside | 9.12 (9.12) | 0.950 |" in lines
    assert "| another model, worst | 2.5 | 9 | no |" in lines
    assert sum(line.endswith((" yes |", " no |")) for line in lines) == len(found)
