"""Pollers and producers over HTTP, and what they were answered. Well-behaved ones: who is told to come again later does
so, with the same request. Also what `tests/integration/test_overload.py` is made of."""

import asyncio
import contextlib
import itertools
import random
import ssl
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

LATER = (429, 503)
"""What a server under load may answer: try again after so many seconds."""

NO_ANSWER = 0
"""In place of a status where the connection broke."""

RECENT = 100
"""Of so many jobs, those accepted last, a poller asks for one."""

Over = Callable[[], bool]


@dataclass
class Tally:
    """What was asked, and how it was answered."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By call and status."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By call: until a final answer came, tries and pauses that were asked for not included."""
    bad: list[str] = field(default_factory=list)
    """What no server may answer, however busy: 5xx but "try again later", and that without saying when."""
    accepted: dict[str, int] = field(default_factory=dict)
    """Documents that were acknowledged, by job."""

    def add(self, call: str, response: httpx.Response, seconds: float) -> None:
        """One answer."""
        self.answers[call, response.status_code] += 1
        later = response.status_code in LATER
        if not later:
            self.seconds[call].append(seconds)
        if later and not response.headers.get("Retry-After", "").isdecimal():
            self.bad.append(f"{call}: {response.status_code} without Retry-After")
        elif not later and response.status_code >= 400:
            self.bad.append(f"{call}: {response.status_code} {response.text[:200]}")

    def broken(self, call: str, error: httpx.TransportError) -> None:
        """No answer at all."""
        self.answers[call, NO_ANSWER] += 1
        self.bad.append(f"{call}: {type(error).__name__} {error}")

    @property
    def refused(self) -> int:
        """Answers that said: later."""
        return sum(count for (_, status), count in self.answers.items() if status in LATER)

    def percentile(self, call: str, share: float) -> float:
        """Seconds within which this share of the calls was answered."""
        taken = sorted(self.seconds[call]) or [0.0]
        return taken[int(share * (len(taken) - 1))]

    def row(self, call: str) -> dict[str, Any]:
        """The call in figures: answers, milliseconds."""
        return {
            "call": call,
            "answers": {str(status): n for (name, status), n in sorted(self.answers.items()) if name == call},
            "p50_ms": round(1000 * (statistics.median(self.seconds[call]) if self.seconds[call] else 0.0), 1),
            "p99_ms": round(1000 * self.percentile(call, 0.99), 1),
            "worst_ms": round(1000 * self.percentile(call, 1), 1),
        }


class Crowd:
    """Clients of one server, each with a connection of its own."""

    def __init__(self, url: str, key: str, over: Over) -> None:
        """`over`: no new job is begun, and nothing polled, once it is true."""
        self.tally = Tally()
        self._over = over
        self._recent: list[str] = []
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._tls = ssl.create_default_context()  # made once: it takes longer than all the rest of a client

    async def run(self, pollers: int, producers: int, pause: float, documents: int, text: str) -> None:
        """Until it is over. `pause`: seconds between two polls of one poller, on average; `documents` of `text` are
        appended at once. Half of the pollers are held by the server until their job has ended."""
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for number in range(producers):
                http = await stack.enter_async_context(self._client())
                group.create_task(self._produce(http, f"{number}-{random.getrandbits(64)}", documents, text))
            for number in range(pollers):
                http = await stack.enter_async_context(self._client())
                group.create_task(self._poll(http, pause, held=number % 2 == 1))

    def _client(self) -> httpx.AsyncClient:
        """One for each poller and producer: the pool of one for all looks through all of its connections each time."""
        return httpx.AsyncClient(base_url=self._url, headers=self._headers, verify=self._tls, timeout=300)

    async def _poll(self, http: httpx.AsyncClient, pause: float, held: bool) -> None:
        await asyncio.sleep(random.uniform(0, pause))
        while not self._over():
            if not self._recent:
                await self._call(http, "list", "GET", "/v1/jobs?limit=1")
            elif held:
                await self._call(http, "wait", "GET", f"/v1/jobs/{random.choice(self._recent)}?wait=2")
            else:
                await self._call(http, "poll", "GET", f"/v1/jobs/{random.choice(self._recent)}")
            await asyncio.sleep(random.uniform(0, 2 * pause))

    async def _produce(self, http: httpx.AsyncClient, name: str, documents: int, text: str) -> None:
        """Jobs in turn: one that is submitted whole, one that is opened, appended to twice and closed."""
        batch = [{"text": f"{text} {number}"} for number in range(documents)]
        for turn in itertools.count():
            if self._over():
                return
            uploaded = turn % 2 == 1
            body = {"task": "ner", "model": "echo", "open": uploaded, "documents": batch}
            headers = {"Idempotency-Key": f"{name}-{turn}"}
            response = await self._call(http, "submit", "POST", "/v1/jobs", json=body, headers=headers)
            if response is None or response.is_error:
                continue
            job = response.json()["id"]
            self.tally.accepted[job] = documents
            if uploaded:
                for _ in range(2):
                    await self._append(http, job, batch)
                await self._call(http, "close", "POST", f"/v1/jobs/{job}/close")
            self._recent = [*self._recent[-RECENT:], job]

    async def _append(self, http: httpx.AsyncClient, job: str, batch: list[dict[str, str]]) -> None:
        offset = self.tally.accepted[job]
        headers = {"Upload-Offset": str(offset)}
        path = f"/v1/jobs/{job}/documents"
        response = await self._call(http, "append", "POST", path, json={"documents": batch}, headers=headers)
        if response is not None and response.is_success:
            self.tally.accepted[job] = response.json()["total"]

    async def _call(
        self, http: httpx.AsyncClient, name: str, method: str, path: str, **request: Any
    ) -> httpx.Response | None:
        """The answer that is not "later"; None where there was none."""
        while True:
            begin = time.perf_counter()
            try:
                response = await http.request(method, path, **request)
            except httpx.TransportError as error:
                self.tally.broken(name, error)
                return None
            self.tally.add(name, response, time.perf_counter() - begin)
            if response.status_code not in LATER:
                return response
            await asyncio.sleep(float(response.headers.get("Retry-After", "1")))


def lost(url: str, key: str, accepted: dict[str, int], seconds: float = 300) -> list[str]:
    """What became of acknowledged jobs other than one outcome for each document, once all have ended."""
    found: dict[str, dict[str, Any]] = {}
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        end = time.monotonic() + seconds
        for job in accepted:
            while True:
                answer = http.get(f"/v1/jobs/{job}?wait=10")
                if answer.status_code not in LATER and answer.json().get("finished_at") is not None:
                    break
                if time.monotonic() > end:
                    break
            found[job] = answer.json()
    return [
        f"{job}: {documents} acknowledged, {found[job].get('counts')}"
        for job, documents in accepted.items()
        if found[job].get("counts", {}).get("succeeded") != documents
    ]
