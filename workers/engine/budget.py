"""How large a batch of each model may be, and how long it may take: calibrated, and corrected by experience."""

import math
from dataclasses import dataclass

from workers import metrics
from workers.engine.planner import TURN_SECONDS

RECOVERY_BATCHES = 100
"""Clean batches after which a budget that was halved grows again."""

RECOVERY = 0.10
"""The share by which it grows, up to what was calibrated."""

PATIENCE = 20
"""A batch is overdue when it takes so many times as long as a full one is known to take."""

MOST_PATIENCE = 5
"""Times the least deadline: no batch may take longer. One slow batch would otherwise let the next hang for twenty times
as long."""

LEAST_SHARED = 256
"""Padded tokens that a batch may always have, where the device holds them: smaller ones are mostly overhead."""

MEMORY = 0.9
"""What the batches before count for, against the last one, in a model's padded tokens a second."""


@dataclass(slots=True)
class _Budget:
    calibrated: int
    tokens: int
    seconds: float
    clean: int = 0
    ran_tokens: float = 0.0
    ran_seconds: float = 0.0
    """Of the batches so far, the older the less: their ratio is the model's speed."""


class Budgets:
    """The budgets of the models that have been loaded. Changed by the engine thread alone; reading is safe anywhere.

    `default`: padded tokens of a model that has not been calibrated. `deadline_seconds`: the least deadline of a batch.
    `turn_seconds`: what a batch may take while somebody else waits.
    """

    def __init__(self, default: int, deadline_seconds: float, turn_seconds: float = TURN_SECONDS) -> None:
        self._default = default
        self._deadline_seconds = deadline_seconds
        self._turn_seconds = turn_seconds
        self._budgets: dict[str, _Budget] = {}

    def __call__(self, model: str, shared: bool = False) -> int:
        """Padded tokens that a batch of the model may have now; shared: what takes a turn, as somebody else waits."""
        budget = self._budgets.get(model)
        if budget is None:
            return self._default
        if not shared or not budget.ran_seconds:
            return budget.tokens
        in_a_turn = int(budget.ran_tokens / budget.ran_seconds * self._turn_seconds)
        return min(budget.tokens, max(in_a_turn, LEAST_SHARED))

    def expected(self, model: str, tokens: int) -> float:
        """Seconds that so many padded tokens take; infinite before the first batch."""
        budget = self._budgets.get(model)
        return tokens * budget.ran_seconds / budget.ran_tokens if budget and budget.ran_tokens else math.inf

    def calibrated(self, model: str, tokens: int, seconds: float) -> None:
        """A full batch of the model has so many tokens, and takes so long (0: that is not known)."""
        budget = self._known(model)
        budget.calibrated = budget.tokens = tokens
        budget.seconds = seconds
        if seconds and not budget.ran_seconds:
            budget.ran_tokens, budget.ran_seconds = tokens, seconds
        metrics.BUDGET.labels(model).set(tokens)

    def deadline(self, model: str) -> float:
        """Seconds after which a batch of the model is taken for hung."""
        budget = self._budgets.get(model)
        known = PATIENCE * budget.seconds if budget else 0
        return min(max(self._deadline_seconds, known), MOST_PATIENCE * self._deadline_seconds)

    def out_of_memory(self, model: str) -> None:
        """A batch did not fit: halve the budget."""
        budget = self._known(model)
        budget.tokens = max(budget.tokens // 2, 1)
        budget.clean = 0
        metrics.BUDGET.labels(model).set(budget.tokens)

    def clean(self, model: str, padded: int, seconds: float) -> None:
        """A batch of so many padded tokens went well, in so many seconds: after a while a halved budget recovers."""
        budget = self._known(model)
        budget.seconds = max(budget.seconds, seconds)
        budget.ran_tokens = budget.ran_tokens * MEMORY + padded
        budget.ran_seconds = budget.ran_seconds * MEMORY + seconds
        if budget.tokens >= budget.calibrated:
            return
        budget.clean += 1
        if budget.clean >= RECOVERY_BATCHES:
            budget.clean = 0
            budget.tokens = min(budget.calibrated, budget.tokens + max(1, int(budget.tokens * RECOVERY)))
            metrics.BUDGET.labels(model).set(budget.tokens)

    def _known(self, model: str) -> _Budget:
        return self._budgets.setdefault(model, _Budget(self._default, self._default, 0))
