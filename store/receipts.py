"""Receipts: by them a transaction whose COMMIT was not answered is recognised when it is tried again (rule 14).

What would be done twice by a second try leaves a row with a token of its own, in the same transaction. The first try
writes it together with its BEGIN, which costs no exchange with the server. A try that follows one that came as far as
its COMMIT writes it first of all: the unique token makes it wait for that COMMIT, should it still be under way, and
says how it ended. PostgreSQL's own `pg_xact_status` would need no table, but an exchange to learn the number, and does
not wait.
"""

import uuid
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy.engine import Connection

T = TypeVar("T")

KEPT_SECONDS = 3600
"""Receipts that are older are removed by the sweep. All tries of a call are over within a minute."""

_NOW = {"postgresql": "clock_timestamp()", "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')"}


def statement(dialect: str, token: str) -> str:
    """The statement that writes a receipt, as plain text: it travels with BEGIN, where nothing can be bound."""
    return f"INSERT INTO receipts (token, written_at) VALUES ('{token}', {_NOW[dialect]})"  # nosec B608 # a uuid's hex


class Once(Generic[T]):
    """A call through all of its tries, of which one at most takes effect."""

    def __init__(self, work: Callable[..., T]) -> None:
        self._work = work
        self._token = uuid.uuid4().hex
        self._answers: list[T] = []

    @property
    def token(self) -> str | None:
        """What BEGIN writes; None where the transaction has to ask first, since a COMMIT may have been done."""
        return None if self._answers else self._token

    def __call__(self, tx: Connection, *args: Any, **kwargs: Any) -> T:
        """Do the work, or return what it returned when it was done."""
        if self._answers:
            ask = f"{statement(tx.dialect.name, self._token)} ON CONFLICT DO NOTHING"
            if tx.exec_driver_sql(ask).rowcount == 0:
                return self._answers[-1]
        answer = self._work(tx, *args, **kwargs)
        self._answers.append(answer)
        return answer
