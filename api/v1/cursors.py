"""Cursors: opaque to producers, so that what they hold can change."""

import base64
import binascii
from typing import Literal

from textmill.errors import InvalidCursor

Kind = Literal["results", "documents", "jobs"]

DIGITS = 18


def encode(kind: Kind, number: int) -> str:
    """A cursor that `decode` of the same kind takes."""
    return base64.urlsafe_b64encode(f"{kind}:{number}".encode()).decode().rstrip("=")


def decode(kind: Kind, cursor: str) -> int:
    """The number inside. Raises InvalidCursor."""
    try:
        plain = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise InvalidCursor() from error
    found, _, number = plain.partition(":")
    # Compared with what this process would have given out: base64 has many spellings of one value.
    if found != kind or not number.isdecimal() or len(number) > DIGITS or encode(kind, int(number)) != cursor:
        raise InvalidCursor()
    return int(number)
