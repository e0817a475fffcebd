"""Which model runs next, and which of its waiting items. Pure: no torch, no threads, no clock (it is told the time).

Models take turns, in the order in which they began to wait. A turn ends when nothing of the model waits, or when its
batches have taken the turn's seconds and another model waits: with M models waiting, each begins its turn within
M - 1 times a turn and one batch. Between two batches of a turn, one of another model may run that has a `high` item,
and after it none before the turn has had as much time: so while `high` items keep coming, a turn takes at most twice as
long.

Within a model keys and jobs share (`workers/engine/room.py`).
"""

from collections.abc import Callable, Collection, Iterable

from workers.engine.pile import Waiting
from workers.engine.room import Owner, Room

TURN_SECONDS = 0.25
"""What a turn takes where no setting says otherwise."""

LINGER = 20
"""Turns for which batches stay short after somebody else waited: who sends one document after the other would otherwise
find a full batch before them each time."""


class Planner:
    """The waiting items of all models, and the order in which they are taken.

    `turn_seconds`: what a model's turn takes while another one waits.
    """

    def __init__(self, turn_seconds: float = TURN_SECONDS) -> None:
        self._turn_seconds = turn_seconds
        self._rooms: dict[str, Room] = {}
        """Also of models of which nothing waits: the accounts of those who share."""
        self._waiting: dict[str, None] = {}
        """Models of which something waits, in the order of their turns."""
        self._size = 0
        self._model: str | None = None
        """Whose turn it is."""
        self._left = 0.0
        """Seconds of that turn."""
        self._last: str | None = None
        self._company = 0.0
        """Seconds for which batches stay short."""
        self._jumped = False
        """Whether the last batch was of another model, out of turn."""
        self._owed = 0.0
        """Seconds of batches in turn before another one may run out of turn."""

    def __len__(self) -> int:
        return self._size

    @property
    def models(self) -> Collection[str]:
        """Those of which something waits."""
        return self._waiting.keys()

    def add(self, model: str, arrivals: Iterable[Waiting]) -> None:
        """Let items of a model wait."""
        room = self._rooms.get(model)
        if room is None:
            room = self._rooms[model] = Room()
        before = len(room)
        for waiting in arrivals:
            room.add(waiting)
        self._size += len(room) - before
        if len(room):
            self._waiting.setdefault(model)

    def take(self, budget: Callable[[str, bool], int], held: Collection[str] = ()) -> tuple[str, list[Waiting]] | None:
        """Remove and return the next batch with its model, each item with its riders; None where nothing may run.

        `budget(model, shared)`: padded tokens, that is the rows of the batch times the length of its longest item;
        shared: of a batch for whose end somebody else waits, or did lately. The first item is always admitted, however
        long. `held`: models that may not run now.
        """
        ready = [model for model in self._waiting if model not in held]
        if not ready:
            return None
        model = self._last = self._choose(ready, lambda model: budget(model, False))
        room = self._rooms[model]
        full = budget(model, False)
        if len(ready) > 1 or room.shared:
            self._company = LINGER * self._turn_seconds
        before = len(room)
        batch = room.take(budget(model, True) if self._company > 0 else full, full)
        self._size -= before - len(room)
        self._forget_if_empty(model)
        return model, batch

    def took(self, seconds: float) -> None:
        """The last batch took so long."""
        self._company -= seconds
        if self._jumped:
            self._owed = seconds
        else:
            self._left -= seconds
            self._owed -= seconds

    def stay(self, seconds: float) -> None:
        """The turn of the last batch's model lasts at least so long from now: coming to it was dear."""
        if self._last is not None and self._model != self._last:
            self._begin(self._last)
        self._left = max(self._left, seconds)

    def others_wait(self, model: str) -> bool:
        """Whether anything waits besides one job of this model."""
        waiting = len(self._waiting)
        return waiting > 1 or (waiting == 1 and (model not in self._waiting or self._rooms[model].shared))

    def drop(self, owner: Owner) -> int:
        """Forget all items of an owner; returns how many there were."""
        dropped = 0
        for model in list(self._waiting):
            dropped += self._rooms[model].drop(owner)
            self._forget_if_empty(model)
        self._size -= dropped
        return dropped

    def _choose(self, ready: list[str], full: Callable[[str], int]) -> str:
        may_jump = len(ready) > 1 and not self._jumped and self._owed <= 0
        urgent = self._urgent(ready, full) if may_jump else None
        self._jumped = urgent is not None
        if urgent is not None:
            return urgent
        if self._model not in ready or (self._left <= 0 and len(ready) > 1):
            self._begin(next(model for model in ready if model != self._model))
        assert self._model is not None
        return self._model

    def _urgent(self, ready: list[str], full: Callable[[str], int]) -> str | None:
        """The model that runs out of turn; None where it is the turn of one that has a `high` item too."""
        urgent = [model for model in ready if self._rooms[model].is_urgent(full(model))]
        return None if not urgent or self._model in urgent else urgent[0]

    def _begin(self, model: str) -> None:
        """Begin a model's turn. The one whose turn ends is the last to have another."""
        if self._model in self._waiting:
            del self._waiting[self._model]
            self._waiting[self._model] = None
        self._model, self._left = model, self._turn_seconds

    def _forget_if_empty(self, model: str) -> None:
        if not len(self._rooms[model]):
            self._waiting.pop(model, None)
