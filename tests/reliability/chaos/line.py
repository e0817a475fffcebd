"""A producer's way to the apis, and what can be read over it."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from tests.reliability.chaos.history import Found, History, Row

ANSWER_SECONDS = 20
"""How long a producer waits for an answer before it counts as lost."""


class GaveUp(Exception):
    """The run ends, and no answer had come."""


class Line:
    """A producer's way to the apis: it takes the next one when one does not answer."""

    def __init__(self, urls: Sequence[str], key: str, history: History, gives_up: threading.Event) -> None:
        self._history = history
        self._gives_up = gives_up
        headers = {"Authorization": f"Bearer {key}"}
        self._ways = [httpx.Client(base_url=url, headers=headers, timeout=ANSWER_SECONDS) for url in urls]

    def once(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """The answer; None where none came, or one that does not say whether it was done (5xx)."""
        try:
            answer = self._ways[0].request(method, path, **request)
        except httpx.TransportError:
            self._history.answered("none")
            self._ways.append(self._ways.pop(0))
            return None
        if answer.is_success:
            return answer
        self._history.answered(str(answer.status_code))
        return None if answer.status_code >= 500 else answer

    def surely(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer, however long it takes. Raises GaveUp when the run does not want to wait any longer."""
        while (answer := self.once(method, path, **request)) is None:
            if self.gives_up(0.3):
                raise GaveUp
        return answer

    def gives_up(self, seconds: float) -> bool:
        """Whether the run ends within so many seconds."""
        return self._gives_up.wait(seconds)

    def close(self) -> None:
        """Give the connections back."""
        for way in self._ways:
            way.close()


def read(line: Line, shown: dict[str, Any]) -> Found:
    """The job's outcomes, all pages of them."""
    rows: list[Row] = []
    cursor: str | None = None
    while True:
        asked = {"limit": "500", **({} if cursor is None else {"cursor": cursor})}
        answer = line.surely("GET", f"/v1/jobs/{shown['id']}/results", params=asked)
        page = answer.raise_for_status().json()
        rows += [
            Row(one["id"], one["position"], one["state"], one["output"], (one["error"] or {}).get("code"))
            for one in page["results"]
        ]
        cursor = page["next_cursor"]
        if cursor is None or not page["results"]:  # without a row: no more of them yet
            break
    name = shown["metadata"].get("name", "")
    return Found(shown["id"], name, shown["task"], shown["model"], shown["state"], shown["counts"], tuple(rows))


def jobs_of(line: Line) -> Iterator[dict[str, Any]]:
    """All jobs of a key."""
    cursor: str | None = None
    while True:
        asked = {"limit": "500", **({} if cursor is None else {"cursor": cursor})}
        page = line.surely("GET", "/v1/jobs", params=asked).raise_for_status().json()
        yield from page["jobs"]
        cursor = page["next_cursor"]
        if cursor is None:
            return
