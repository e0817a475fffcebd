"""The sender: threads of each api process that tell webhooks of the ends of jobs.

Any process sends any delivery. Who has claimed one is done with it, one way or another, before its claim has run out;
what a process that dies was at is due again then, under the same id.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpcore
from sqlalchemy.exc import SQLAlchemyError
from standardwebhooks import Webhook

from api.metrics import Metrics
from api.settings import ApiSettings
from api.webhooks.post import Answer, Forbidden, Post
from store import deliveries, webhook_secrets
from store.deliveries import Attempt, Claimed
from store.faults import brief
from store.hints import Ended
from store.session import Store
from textmill.errors import LeaseLost, TextmillError, Unavailable
from textmill.webhooks import Outcome

log = logging.getLogger(__name__)

GONE = 410
"""A receiver that answers this wants no more (Standard Webhooks)."""

BUSY = (429, 503)
"""Answers whose `Retry-After` is heeded."""

DETAIL_CHARACTERS = 200

LOOK_SECONDS = 0.1
"""Between two looks at the database that found nothing: every job's end is heard, with a webhook or without."""

RACES = 5
"""Looks at once where other processes took what was due."""

CUT_SHORT = 3
"""Attempts beyond the schedule of which nobody said what came: one that ends its process each time is given up."""


class Sender:
    """The threads, and what one of them does with a delivery."""

    def __init__(self, settings: ApiSettings, store: Store, metrics: Metrics, post: Post | None = None) -> None:
        self._settings = settings
        self._store = store
        self._metrics = metrics
        self._post = post or Post(settings.webhook_networks)
        self._held_seconds = 2 * settings.webhook_seconds + 10
        self._wake = threading.Event()
        self._looking = threading.Lock()
        self._stopping = False
        names = [f"webhooks {number}" for number in range(settings.webhook_senders)]
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Something is due, perhaps: look now."""
        self._wake.set()

    def hear(self, _ended: Ended) -> None:
        """A job has ended."""
        self.wake()

    def stop(self, timeout: float = 10) -> None:
        """End the threads. What one of them does not get done by then is due again soon."""
        self._stopping = True
        self.wake()
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping:
            with self._looking:  # one of them looks, so that idle threads ask nothing of the database
                found = self._wait()
            try:
                if found is not None:
                    self._deliver(*found)
            except Exception:  # whatever it is: the thread goes on with others, and this one is due again in its time
                log.exception("a webhook failed")

    def _wait(self) -> tuple[Claimed, float] | None:
        """A delivery, and by when it has to be done; None: the process stops."""
        away = False
        while not self._stopping:
            try:
                if (found := self._claim()) is not None:
                    return found
                away = False
            except Unavailable as error:
                if not away:
                    log.warning("webhooks are put off: %s", brief(error))
                away = True
            except Exception:  # whatever it is: the next look may succeed
                log.exception("looking for webhooks failed")
            looked = time.monotonic()
            self._wake.wait(self._settings.webhook_poll_seconds)
            time.sleep(max(0.0, looked + LOOK_SECONDS - time.monotonic()))
            self._wake.clear()
        return None

    def _claim(self) -> tuple[Claimed, float] | None:
        for _ in range(RACES):
            if not self._store.read(deliveries.due):
                return None
            # From before the claim: whoever has it next comes after its end.
            deadline = time.monotonic() + self._settings.webhook_seconds
            claimed = self._store.write(deliveries.claim, self._held_seconds)
            if claimed is not None:
                return claimed, deadline
        return None

    def work(self) -> bool:
        """Send the delivery that is next. False: none is due."""
        found = self._claim()
        if found is None:
            return False
        self._deliver(*found)
        return True

    def _deliver(self, claimed: Claimed, deadline: float) -> None:
        try:
            if time.monotonic() >= deadline:  # the database took that long
                self._store.write(deliveries.put_back, claimed)
                return
            attempt, asked = self._attempt(claimed, deadline)
            again = self._again(claimed, attempt, asked)
            self._store.write(deliveries.note, claimed, attempt, again)
        except LeaseLost as error:
            log.info("%s: %s", claimed.uuid, error.message)
        except Unavailable as error:
            log.warning("%s is sent again, perhaps: %s", claimed.uuid, brief(error))
        except (TextmillError, SQLAlchemyError):
            log.exception("%s failed", claimed.uuid)
        else:
            self._say(claimed, attempt, again)

    def _attempt(self, claimed: Claimed, deadline: float) -> tuple[Attempt, float | None]:
        """What came of it, and after how long the receiver wants the next one."""
        secrets = self._store.read(webhook_secrets.signing, claimed.key_id)
        start = time.monotonic()

        def made(outcome: Outcome, status: int | None = None, detail: str | None = None) -> Attempt:
            # In characters that every database stores.
            shown = None if detail is None else ascii(detail)[1:-1][:DETAIL_CHARACTERS]
            return Attempt(outcome, round(time.monotonic() - start, 3), status, shown)

        if claimed.tries > 1 + len(self._settings.webhook_retries) + CUT_SHORT:
            return made("timeout", detail="what came of the last attempts nobody said"), None
        if not secrets:
            return made("unsigned", detail="the key has no secret: POST /v1/webhooks/secrets"), None
        body = claimed.payload.encode()
        headers = {"Content-Type": "application/json", "User-Agent": "Textmill", **signed(claimed, secrets)}
        try:
            answer = self._post.send(claimed.url, headers, body, deadline)
        except Forbidden as error:
            return made("forbidden", detail=str(error)), None
        except httpcore.TimeoutException:
            return made("timeout"), None
        except httpcore.ProtocolError as error:
            # Without its text, which quotes what a server of any kind has said.
            return made("unreachable", detail=type(error).__name__), None
        except (httpcore.NetworkError, ValueError) as error:
            # ValueError: a name that no certificate can have, such as one that begins with a dot.
            return made("unreachable", detail=f"{type(error).__name__}: {error}"), None
        return made(_outcome(answer), answer.status), answer.retry_after_seconds if answer.status in BUSY else None

    def _again(self, claimed: Claimed, attempt: Attempt, asked: float | None) -> float | None:
        """Seconds until the next attempt; None: there is none."""
        pauses = self._settings.webhook_retries
        if attempt.outcome == "delivered" or attempt.status == GONE or claimed.tries > len(pauses):
            return None
        # Somewhat at random: deliveries that failed together do not come back together.
        pause = pauses[claimed.tries - 1] * random.uniform(1, 1.1)  # nosec B311 # no secret
        return max(pause, min(asked or 0.0, max(pauses)))

    def _say(self, claimed: Claimed, attempt: Attempt, again: float | None) -> None:
        self._metrics.webhook_attempts.labels(attempt.outcome).inc()
        if again is None:
            state = "delivered" if attempt.outcome == "delivered" else "failed"
            self._metrics.webhooks_ended.labels(state).inc()
        # Of the address the host alone: the rest of it may be a secret.
        host = urlsplit(claimed.url).hostname
        told = attempt.outcome if attempt.status is None else f"{attempt.outcome} ({attempt.status})"
        if attempt.outcome == "delivered":
            log.info("%s of job %s to %s: delivered in %.1f s", claimed.uuid, claimed.job, host, attempt.seconds)
        elif again is None:
            log.warning("%s of job %s to %s: %s; given up", claimed.uuid, claimed.job, host, told)
        else:
            log.info("%s of job %s to %s: %s; again in %.0f s", claimed.uuid, claimed.job, host, told, again)


def signed(
    claimed: Claimed, secrets: list[str], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dict[str, str]:
    """The headers of Standard Webhooks: with a signature by each secret, of which a receiver knows one."""
    now = clock()
    signatures = [Webhook(secret).sign(claimed.uuid, now, claimed.payload) for secret in secrets]
    return {
        "webhook-id": claimed.uuid,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _outcome(answer: Answer) -> Outcome:
    if 200 <= answer.status < 300:
        return "delivered"
    return "redirected" if 300 <= answer.status < 400 else "refused"
