"""How fast this process is with each model, and how many characters of document text its tokens stand for."""

import threading
from collections.abc import Callable, Mapping

HALF_LIFE = 10.0
"""Seconds of a model's engine time after which what it did counts half."""


class _Work:
    __slots__ = ("characters", "runner", "seconds", "tokens")

    def __init__(self) -> None:
        self.characters = self.seconds = self.tokens = 0.0
        self.runner = ""


class Speeds:
    """Safe in all threads: the engine says how long it ran, shards say what it answered, the keeper asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: dict[str, _Work] = {}

    def ran(self, model: str, runner: str, seconds: float, tokens: int) -> None:
        """The engine ran the model for so long, on so many tokens (of all rows, without padding), by this runner."""
        with self._lock:
            work = self._work.setdefault(model, _Work())
            work.runner = runner
            faded = 0.5 ** (seconds / HALF_LIFE)
            work.characters *= faded
            work.seconds = work.seconds * faded + seconds
            work.tokens = work.tokens * faded + tokens

    def answered(self, model: str, characters: float) -> None:
        """So many characters of text have come back from the engine.

        Said item by item: the longest items of a shard run first, so that most of its work is done when its first
        document is decided. A model seemed slower by a factor at first, and what was cut meanwhile stayed too small.
        """
        with self._lock:
            self._work.setdefault(model, _Work()).characters += characters

    def __call__(self) -> Mapping[str, float]:
        """Characters a second, of the models that have run and answered something."""
        with self._lock:
            return {
                model: work.characters / work.seconds
                for model, work in self._work.items()
                if work.seconds > 0 and work.characters > 0
            }

    def batches(self, full: Callable[[str], int]) -> Mapping[str, float]:
        """Characters that a full batch holds, of the same models. full: its tokens, by the runner that ran last."""
        with self._lock:
            known = [
                (model, work.runner, work.characters / work.tokens)
                for model, work in self._work.items()
                if work.tokens > 0
            ]
        return {model: full(runner) * of_a_token for model, runner, of_a_token in known if of_a_token > 0}
