"""A document on its way from a producer to the wire."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from textmill.errors import InvalidRequest
from textmill.wire import Document

NO_FIELDS: Mapping[str, Any] = MappingProxyType({})

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


def of(document: Document, known: Known) -> Parts:
    """The document's parts. Raises InvalidRequest where it has a field that its task does not know."""
    fields = document.fields
    if known is not None and (unknown := next((name for name in fields if name not in known), None)):
        raise InvalidRequest(f"{unknown}: there is no such field here; there are: {', '.join(('id', 'text', *known))}")
    return Parts(document.id, document.text if document.has_text else None, fields)
