"""Loads models while others run: a thread beside the engine's, which hears of a model when its first item arrives."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from workers.engine.inbox import Inbox
from workers.engine.watchdog import Watch


class Residency(Protocol):
    """What the thread needs of `workers/engine/residency.py`."""

    def is_resident(self, model: str) -> bool:
        """Whether the model is loaded."""

    def load_aside(self, model: str) -> None:
        """Load the model, as far as that goes in another thread than the engine's."""


class Loader:
    """`load_seconds`: how long loading a model may take, which the watchdog sees to. `failed`: ends the process, for an
    exception that stands for no model's failure."""

    def __init__(
        self,
        inbox: Inbox,
        residency: Residency,
        watch: Watch,
        load_seconds: float,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._inbox = inbox
        self._residency = residency
        self._watch = watch
        self._load_seconds = load_seconds
        self._failed = failed
        self._wanted: SimpleQueue[str] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)

    def start(self) -> None:
        """Start the thread. It ends with the process: while it waits it holds nothing."""
        self._inbox.load_by(self._residency.is_resident, self._wanted.put)
        self._thread.start()

    def _run(self) -> None:
        while True:
            model = self._wanted.get()
            with self._inbox.loading(model):
                try:
                    with self._watch.limit(self._load_seconds):
                        self._residency.load_aside(model)
                except BaseException as error:  # noqa: BLE001 - whatever it is
                    self._failed(error)
                    return
