"""Choosing GPUs by CUDA_VISIBLE_DEVICES and `--gpus`, on made-up machines: which cards there are is NVML's to say."""

import os

import click
import pytest

from workers import main
from workers.launcher import gpus
from workers.launcher.gpus import Gpu
from workers.launcher.launcher import slots
from workers.settings import WorkerSettings

CARDS = [Gpu(f"GPU-{n}{n}{n}", f"card {n}") for n in range(3)]


@pytest.fixture(autouse=True)
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "installed", lambda: CARDS)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("variable", "seen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        ("GPU-111", [1]),
        ("GPU-1", [1]),
        ("GPU-", []),  # ambiguous
        ("0,7,1", [0]),  # nothing after an invalid one
        ("-1", []),
    ],
)
def test_visible_devices(variable: str | None, seen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert gpus.visible() == [CARDS[n] for n in seen]


@pytest.mark.parametrize(
    ("wanted", "chosen"), [("all", [0, 1, 2]), ("auto", [0, 1, 2]), ("none", []), ("2,0", [2, 0]), ("1", [1])]
)
def test_choice(wanted: str, chosen: list[int]) -> None:
    assert main.choose(wanted) == [CARDS[n] for n in chosen]


@pytest.mark.parametrize("wanted", ["3", "x", "0,", "-1"])
def test_a_choice_that_does_not_exist(wanted: str) -> None:
    with pytest.raises(click.UsageError):
        main.choose(wanted)


def test_no_gpu_is_an_error_only_where_one_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "installed", list)
    assert main.choose("auto") == []
    with pytest.raises(click.UsageError, match="shows no GPU"):
        main.choose("all")


def test_each_child_sees_its_own_device() -> None:
    settings = WorkerSettings(worker_metrics_port=9000)
    children = slots(CARDS[:2], settings)
    assert [(child.name, child.environment) for child in children] == [
        (
            "gpu0",
            {"TEXTMILL_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": "GPU-000", "TEXTMILL_WORKER_METRICS_PORT": "9000"},
        ),
        (
            "gpu1",
            {"TEXTMILL_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": "GPU-111", "TEXTMILL_WORKER_METRICS_PORT": "9001"},
        ),
    ]
    [cpu] = slots([], WorkerSettings())
    assert cpu.environment == {"TEXTMILL_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def test_processes_on_the_cpu_share_its_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    two = slots([], WorkerSettings(cpu_processes=2, worker_metrics_port=9000))
    assert [child.name for child in two] == ["cpu0", "cpu1"]
    assert [child.environment["TEXTMILL_THREADS"] for child in two] == [str(max(1, cores // 2))] * 2
    assert [child.environment["TEXTMILL_WORKER_METRICS_PORT"] for child in two] == ["9000", "9001"]
    assert {child.environment["CUDA_VISIBLE_DEVICES"] for child in two} == {""}
    [three, *_] = slots([], WorkerSettings(cpu_processes=3, threads=5))
    assert three.environment["TEXTMILL_THREADS"] == "5"
