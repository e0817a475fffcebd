"""What a process logs, to standard error: lines of text or JSON objects, with the job and the shard they are about.

Texts of documents are in neither.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal, TypeAlias

from pythonjsonlogger.json import JsonFormatter

Form: TypeAlias = Literal["text", "json"]

_about: ContextVar[dict[str, object]] = ContextVar("about", default={})  # noqa: B039 - never changed, only replaced


@contextlib.contextmanager
def about(**ids: object) -> Iterator[None]:
    """What this thread (or coroutine) logs within the block is about these."""
    token = _about.set({**_about.get(), **ids})
    try:
        yield
    finally:
        _about.reset(token)


class _Lines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's
        ids = " ".join(f"{name}={value}" for name, value in _about.get().items())
        line = super().formatMessage(record)
        return f"{line} [{ids}]" if ids else line


class _Objects(JsonFormatter):
    def add_fields(
        self, log_data: dict[str, object], record: logging.LogRecord, message_dict: dict[str, object]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data.update(_about.get())


def formatter(form: Form, text: str, **always: object) -> logging.Formatter:
    """Of a handler; `text` is the format of lines, `always` what each object has besides."""
    if form == "text":
        return _Lines(text)
    return _Objects(
        "%(asctime)s %(levelname)s %(name)s %(message)s",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        static_fields=always,
        json_ensure_ascii=False,
    )


def configure(form: Form, level: int | str, text: str, **always: object) -> None:
    """Log to standard error, once for all of the process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form, text, **always))
    logging.basicConfig(level=level, handlers=[handler])
