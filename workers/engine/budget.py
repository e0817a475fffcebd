"""How large a batch of each model may be, and how long it may take: calibrated, and corrected by experience."""

from dataclasses import dataclass

from workers import metrics

RECOVERY_BATCHES = 100
"""Clean batches after which a budget that was halved grows again."""

RECOVERY = 0.10
"""The share by which it grows, up to what was calibrated."""

PATIENCE = 20
"""A batch is overdue when it takes so many times as long as a full one is known to take."""


@dataclass(slots=True)
class _Budget:
    calibrated: int
    tokens: int
    seconds: float
    clean: int = 0


class Budgets:
    """The budgets of the models that have been loaded. Changed by the engine thread alone; reading is safe anywhere.

    `default`: padded tokens of a model that has not been loaded. `deadline_seconds`: the least deadline of a batch.
    """

    def __init__(self, default: int, deadline_seconds: float) -> None:
        self._default = default
        self._deadline_seconds = deadline_seconds
        self._budgets: dict[str, _Budget] = {}

    def __call__(self, model: str) -> int:
        """Padded tokens that a batch of the model may have now."""
        budget = self._budgets.get(model)
        return self._default if budget is None else budget.tokens

    def calibrated(self, model: str, tokens: int, seconds: float) -> None:
        """The model was loaded: a full batch of so many tokens takes so long."""
        self._budgets[model] = _Budget(tokens, tokens, seconds)
        metrics.BUDGET.labels(model).set(tokens)

    def deadline(self, model: str) -> float:
        """Seconds after which a batch of the model is taken for hung."""
        budget = self._budgets.get(model)
        return max(self._deadline_seconds, PATIENCE * budget.seconds if budget else 0)

    def out_of_memory(self, model: str) -> None:
        """A batch did not fit: halve the budget."""
        budget = self._budgets.setdefault(model, _Budget(self._default, self._default, 0))
        budget.tokens = max(budget.tokens // 2, 1)
        budget.clean = 0
        metrics.BUDGET.labels(model).set(budget.tokens)

    def clean(self, model: str, seconds: float) -> None:
        """A batch went well, in so many seconds: after a while a halved budget recovers."""
        budget = self._budgets.get(model)
        if budget is None:
            return
        budget.seconds = max(budget.seconds, seconds)
        if budget.tokens >= budget.calibrated:
            return
        budget.clean += 1
        if budget.clean >= RECOVERY_BATCHES:
            budget.clean = 0
            budget.tokens = min(budget.calibrated, budget.tokens + max(1, int(budget.tokens * RECOVERY)))
            metrics.BUDGET.labels(model).set(budget.tokens)
