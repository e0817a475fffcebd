"""Somebody's Celery app that uses Textmill: what `celery -A tests.integration.celery_pipeline worker` serves.

What its tasks are given they note in the app's Redis. `DIES` there: a process of the pool dies once, at the moment at
which a job is complete on the server, and nothing of it has been said to the broker yet. `REFUSES`: the broker refuses
as many messages of a retry as are in this list. `HURRIES`: the soft time limit of a
task comes at the upload of its documents.
"""

import os
import signal
from typing import Any

import httpx
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from textmill import Client
from textmill.contrib.celery import register

NOTES = "notes"
DIES = "dies"
REFUSES = "refuses"
HURRIES = "hurries"


class Pipeline(Celery):
    """Of whose messages one may be refused, as by a Redis that is full."""

    def send_task(self, *args: Any, retries: int = 0, **options: Any) -> Any:
        if retries and own_redis().lpop(REFUSES):
            raise OperationalError("OOM command not allowed")
        return super().send_task(*args, retries=retries, **options)


app = Pipeline("pipeline")
app.conf.broker_url = app.conf.result_backend = os.environ.get("PIPELINE_BROKER")  # a test sets it by itself


def own_redis() -> redis.Redis:
    return redis.Redis.from_url(str(app.conf.broker_url))


class Mortal(httpx.HTTPTransport):
    """A connection that takes its process along."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/documents") and own_redis().getdel(HURRIES):
            os.kill(os.getpid(), signal.SIGUSR1)  # as the pool does
        answer = super().handle_request(request)
        if request.url.path.endswith("/close") and own_redis().getdel(DIES):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


def mortal(**settings: Any) -> Client:
    return Client(transport=Mortal(), **settings)


mill = register(app, mortal, first_seconds=0.05, longest_seconds=0.2)


@app.task
def make_texts(*texts: str) -> list[Any]:
    return [[f"d{number}", text] for number, text in enumerate(texts)]


@app.task
def submit_all(*texts: str) -> str:
    with Client() as client:
        return client.submit("summarization", texts, model="echo").id


@app.task
def note(what: Any) -> Any:
    own_redis().rpush(NOTES, str(what))
    return what


@app.task
def note_error(request: Any, error: Exception, _trace: Any) -> None:
    own_redis().rpush(NOTES, f"{type(error).__name__}: {error}")
