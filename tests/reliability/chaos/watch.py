"""Whether the system does anything, seen past all faults of the network: outcomes in the ledger, and a probing job."""

import threading
from collections.abc import Sequence

import httpx
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from store.tables import ACTIVE, jobs, results
from tests.reliability.chaos.history import now
from tests.reliability.chaos.system import System
from textmill.errors import TextmillError
from textmill.wire import ENDED_STATES

LOOK_SECONDS = 0.5


class Watch:
    """A thread that looks at the ledger, and how long nothing changed in it although there was work."""

    def __init__(self, system: System) -> None:
        self._store = system.store
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._changed = now()
        self._last: tuple[int, int] = (-1, -1)
        self.longest = 0.0
        """Seconds, at most so far."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stopped.set()
        self._thread.join()

    def standstill(self) -> float:
        """Seconds for which nothing has changed."""
        return now() - self._changed

    def unfinished(self) -> int:
        """Jobs that have not ended; 1 while the database does not answer."""
        try:
            return self._look()[1]
        except (TextmillError, SQLAlchemyError):
            return 1

    def _look(self) -> tuple[int, int]:
        count = sa.select(sa.func.count())
        return self._store.read(
            lambda tx: (
                tx.execute(count.select_from(results)).scalar_one(),
                tx.execute(count.select_from(jobs).where(ACTIVE)).scalar_one(),
            )
        )

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                seen = self._look()
            except (TextmillError, SQLAlchemyError):
                continue
            if seen != self._last or seen[1] == 0:
                self._last, self._changed = seen, now()
            self.longest = max(self.longest, self.standstill())


def probe(urls: Sequence[str], key: str, seconds: float) -> bool:
    """Whether a job that is submitted now ends within so many seconds, at any api."""
    body = {"task": "summarization", "model": "echo", "priority": "high", "documents": [{"text": f"probe {now()}"}]}
    end = now() + seconds
    pause = threading.Event()
    job: str | None = None
    while (left := end - now()) > 0:
        for url in urls:
            try:
                with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=5) as http:
                    if job is None:
                        job = http.post("/v1/jobs", json=body).raise_for_status().json()["id"]
                    shown = http.get(f"/v1/jobs/{job}", params={"wait": str(min(2, left))}).raise_for_status().json()
                    if shown["state"] in ENDED_STATES:
                        return True
            except httpx.HTTPError:
                pause.wait(0.1)
    return False
