"""What the served models' backends need is imported before the first job asks for it: torch and transformers take
seconds, which a small job would wait for longer than for its model's weights."""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from textmill.errors import ModelUnavailable
from workers.runner import ModelRunner

log = logging.getLogger(__name__)


class ImportAhead:
    """A thread that imports it. `make(name)` gives the runner of a model, not opened."""

    def __init__(self, models: Iterable[str], make: Callable[[str], ModelRunner]) -> None:
        self._models = models
        self._make = make
        self._thread = threading.Thread(target=self._run, name="import ahead", daemon=True)

    @property
    def running(self) -> bool:
        """Whether an import is going on: the interpreter should not end in the middle of it."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread, the first time that this is called. Not before messages are taken: what is imported keeps
        the interpreter from everything else."""
        if self._thread.ident is None:
            self._thread.start()

    def _run(self) -> None:
        started = time.monotonic()
        done: set[str] = set()
        for model in self._models:
            try:
                backend = self._make(model).backend
                if backend.name not in done:
                    done.add(backend.name)
                    backend.import_ahead()
            except (ModelUnavailable, ImportError) as error:
                # No more than that: opening the model says it again, to those who wait for it.
                log.warning("%s: its backend cannot be imported: %s", model, error)
        log.info("imported ahead, in %.1f s: %s", time.monotonic() - started, ", ".join(sorted(done)))
