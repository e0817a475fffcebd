"""Two connections, interleaved at a chosen point: no test of a race waits for luck or for a clock.

`before` runs something in the middle of another transaction. `Contender` is another process's call that has to wait for
a lock: on PostgreSQL the server says when it waits. SQLite lets one writer in at a time, so that there the contender
waits at its BEGIN, and what is tested is that the outcome in that order is right as well.
"""

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import pytest
import sqlalchemy as sa

from store.session import Store, engine_url

T = TypeVar("T")

PATIENCE = 240
"""Seconds after which a test gives up waiting for something that must happen."""

row_locks = pytest.mark.parametrize("backend", ["postgresql"])
"""For an interleaving that cannot exist on SQLite, where a write transaction begins only when no other one is open."""


@contextlib.contextmanager
def before(store: Store, fragment: str, action: Callable[[], object]) -> Iterator[None]:
    """Run `action` once, right before the store's first statement that contains `fragment`."""
    waiting = [action]

    def hook(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        if waiting and fragment in " ".join(statement.split()):
            waiting.pop()()

    sa.event.listen(store.engine, "before_cursor_execute", hook)
    try:
        yield
        assert not waiting, f"no statement contained {fragment!r}"
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", hook)


class Contender(Generic[T]):
    """A call in a thread of its own, on a store of its own, that runs into a lock which the test holds.

    Made while the lock is held; it returns from its constructor when the call waits.
    """

    def __init__(self, store: Store, work: Callable[..., T], *args: Any) -> None:
        self._result: list[T] = []
        self._error: list[BaseException] = []
        self._store = store
        begun = threading.Event()
        sa.event.listen(store.engine, "begin", lambda _connection: begun.set(), insert=True)
        self._thread = threading.Thread(target=self._run, args=(work, args), daemon=True)
        self._thread.start()
        assert begun.wait(PATIENCE)
        if store.dialect == "postgresql":
            self._wait_until_blocked()

    def _run(self, work: Callable[..., T], args: tuple[Any, ...]) -> None:
        try:
            self._result.append(self._store.write(work, *args))
        except BaseException as error:  # noqa: BLE001 - handed to the test by result()
            self._error.append(error)

    def _wait_until_blocked(self) -> None:
        waits = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        deadline = time.monotonic() + PATIENCE
        observer = sa.create_engine(engine_url(self._store.url), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with observer.connect() as connection:
            while not connection.execute(waits).scalar_one():
                assert self._thread.is_alive(), "the call did not have to wait: " + repr(self._error or self._result)
                assert time.monotonic() < deadline, "the call neither waits nor ends"
                self._thread.join(0.005)

    def result(self) -> T:
        """What the call returned, or raise what it raised. Ask after the lock was given up."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the call is still waiting"
        if self._error:
            raise self._error[0]
        return self._result[0]


HOLD_THE_WRITE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def write_lock_held_elsewhere(file: str) -> Iterator[Callable[[], None]]:
    """Another process holds the write lock of an SQLite file until the function that this gives is called."""
    command = [sys.executable, "-c", HOLD_THE_WRITE_LOCK, file]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield holder.stdin.close
        finally:
            holder.stdin.close()


@contextlib.contextmanager
def lost_reply_to_commit(store: Store) -> Iterator[None]:
    """The next COMMIT happens, but its answer does not arrive: the connection breaks in between."""
    dialect = store.engine.dialect
    commit = dialect.do_commit
    says = "server closed the connection unexpectedly" if store.dialect == "postgresql" else "database is locked"
    lost: list[Any] = []

    def do_commit(connection: Any) -> None:
        commit(connection)
        if not lost:
            lost.append(connection)
            error = dialect.loaded_dbapi.OperationalError(says)
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY  # PostgreSQL's driver gives a lost connection no code
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialect, "do_commit", do_commit)
        yield
    assert lost, "nothing was committed"
