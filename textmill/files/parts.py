"""A document on its way from a producer to the wire."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from textmill.errors import FileUnreadable, InvalidRequest
from textmill.wire import Document

NO_FIELDS: Mapping[str, Any] = MappingProxyType({})

UNREADABLE = "unreadable"
"""The field of a document that has no text, since its file could not be read: why."""

Known = Collection[str] | None
"""The fields that documents of a task may have (`textmill.tasks.fields_of`); None: the server knows, we do not."""


class Parts(NamedTuple):
    """What a document consists of."""

    id: str | None
    """None: its position."""
    text: str | None
    """None: one of its fields stands in for it."""
    fields: Mapping[str, Any] = NO_FIELDS
    """What its task has beside (a question)."""
    row: Mapping[str, Any] = NO_FIELDS
    """All columns of its row, where they are kept (`Columns.keep`): the server does not get them."""
    is_file: bool = False
    """Whether it is a whole file, whose faults are its own and nobody else's."""


def of(document: Document, known: Known) -> Parts:
    """The document's parts. Raises InvalidRequest where it has a field that its task does not know."""
    fields = document.fields
    if known is not None and (unknown := next((name for name in fields if name not in (*known, UNREADABLE)), None)):
        raise InvalidRequest(f"{unknown}: there is no such field here; there are: {', '.join(('id', 'text', *known))}")
    return Parts(document.id, document.text if document.has_text else None, fields)


def unreadable(name: str, error: FileUnreadable) -> Parts:
    """The document of a file that could not be read: it fails by itself, and the others go on."""
    reason = {"code": error.code, "message": error.message[:MAX_REASON]}
    return Parts(name, "", {UNREADABLE: reason}, {"id": name}, is_file=True)


MAX_REASON = 1_000
"""Characters of a reason: the contract's own limit (`textmill.wire.Unreadable`)."""
