"""When a process takes a model's messages, and when it fails the model's documents."""

from dataclasses import dataclass, field

import pytest

from workers.shards.serving import Serving


@dataclass
class House:
    """A process on a clock of its own, and what others can do."""

    now: float = 0.0
    others: bool = False
    taken: bool = True
    reports: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.serving = Serving(
            lambda model: self.others,
            lambda: self.reports.append(self.serving.failed),
            lambda model, on: setattr(self, "taken", on),
            retry_seconds=60,
            unavailable_seconds=15,
            clock=lambda: self.now,
        )

    def at(self, now: float) -> tuple[bool, bool]:
        """Whether its messages are taken, and its documents failed."""
        self.now = now
        self.serving.look()
        return self.taken, self.serving.unavailable("m")


@pytest.mark.parametrize(
    ("others", "seen"),
    [
        # (seconds, taken, failed)
        (True, [(0, False, False), (59, False, False), (60, True, False)]),  # it is left to them, then tried again
        (False, [(0, False, False), (14, False, False), (15, True, True), (60, True, True)]),  # nobody can
    ],
)
def test_a_failed_model(others: bool, seen: list[tuple[float, bool, bool]]) -> None:
    house = House(others=others)
    house.serving.failure("m")
    assert not house.taken  # at once, and without a look at the registry
    assert [(now, *house.at(now)) for now in (row[0] for row in seen)] == seen


def test_only_time_in_which_nobody_could_serve_counts() -> None:
    house = House(others=True)
    house.serving.failure("m")
    house.at(50)
    house.others = False  # a healthy worker is started anew
    assert house.at(51) == (False, False)
    house.others = True
    assert house.at(59) == (False, False)
    house.others = False
    assert house.at(70) == (True, False)
    house.serving.failure("m")  # tried again
    assert [house.at(now) for now in (84, 85)] == [(False, False), (True, True)]


def test_a_success_ends_it_and_the_registry_hears_of_both() -> None:
    house = House(others=True)
    house.serving.failure("m")
    house.at(1)
    house.serving.success("m")
    assert house.at(2) == (True, False)
    assert house.reports == [["m"], []]
