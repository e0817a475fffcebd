"""What an error of the database means for the transaction that met it: told by codes wherever there is one."""

import enum
import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

from textmill.errors import TextmillError

READ_ONLY = "25006"
"""SQLSTATE: this server takes no writes. After a failover that is the old primary, to which a pool still holds on."""

_CONFLICT = {"40001", "40P01"}
"""Serialization failure and deadlock."""

_OUTAGE = {
    READ_ONLY,
    "25P03", "25P04",  # idle in its transaction, or in it, for too long: we were frozen, or are too slow
    "53200", "53300",  # the server is out of memory, or of connections
    "55P03",  # a lock was waited for too long
    "57014",  # a statement took too long
    "57P01", "57P02", "57P03", "57P05",  # the server starts, stops, or ended a connection that idled
}  # fmt: skip

_FULL = {"53100", "58030"}
"""SQLSTATE: the server's disk is full, or fails."""

_SQLITE_CONFLICT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_SQLITE_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class TransactionOutrun(Exception):
    """What the transaction read at its start was changed by another one before its end: run it again."""


class Meaning(enum.Enum):
    """What an error says about the next try of the same transaction."""

    CONFLICT = "another transaction was in the way: the next try may well succeed"
    OUTAGE = "the database does not answer, or not in time: it may take a while"
    FULL = "the database cannot write: trying again at once changes nothing"
    FAULT = "the transaction itself is wrong"


def meaning(error: Exception) -> Meaning:
    """What the error means for the transaction as a whole."""
    if isinstance(error, TransactionOutrun):
        return Meaning.CONFLICT
    if isinstance(error, TimeoutError):  # all connections of the pool are taken: by calls that hang, as a rule
        return Meaning.OUTAGE
    if not isinstance(error, DBAPIError):
        return Meaning.FAULT
    if isinstance(error.orig, sqlite3.Error):
        return _of_sqlite(error.orig)
    return _of_postgresql(error)


def _of_sqlite(error: sqlite3.Error) -> Meaning:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest says which kind of it
    if code in _SQLITE_CONFLICT:
        return Meaning.CONFLICT
    return Meaning.FULL if code in _SQLITE_FULL else Meaning.FAULT


def _of_postgresql(error: DBAPIError) -> Meaning:
    state = getattr(error.orig, "sqlstate", None)
    if state in _CONFLICT:
        return Meaning.CONFLICT
    if state in _FULL:
        return Meaning.FULL
    # Without a state it is none of the server's words: libpq could not connect, find the host, or go on.
    lost = error.connection_invalidated or (state is None and isinstance(error, OperationalError))
    return Meaning.OUTAGE if lost or state in _OUTAGE or str(state).startswith("08") else Meaning.FAULT


def brief(error: BaseException) -> str:
    """The error in one line, with its cause: without tracebacks, and without statements and their parameters, which
    hold texts."""
    if isinstance(error, TextmillError):
        return error.message if error.__cause__ is None else f"{error.message} ({brief(error.__cause__)})"
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(said).strip().splitlines()
    return f"{type(said).__name__}: {lines[0] if lines else 'without a word'}"
