"""A batch's file, line by line: what each asks for, or why it is refused."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, JsonValue

from api.openai import endpoints
from api.openai.asked import Asked
from api.v1 import door
from store.bulk import NewDocument
from textmill.errors import InvalidRequest, RequestTooLarge

CUSTOM_ID = 256
"""Characters of a line's id; OpenAI's limit is 64."""


class Written(BaseModel):
    """A line as it is written."""

    custom_id: str = Field(min_length=1, max_length=CUSTOM_ID)
    method: str
    url: str
    body: dict[str, JsonValue]


class Request(NamedTuple):
    """A line that was understood; whether its model and options are good is for the catalogue to say."""

    custom_id: str
    asked: Asked

    @property
    def digest(self) -> str:
        """The same for all lines that can be documents of one job."""
        asked = self.asked
        same = json.dumps([asked.task, asked.model, asked.options, asked.form], sort_keys=True)
        return hashlib.blake2b(same.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def documents(self) -> list[NewDocument]:
        """Its texts with their ids, from which `custom_id` can be told again. Raises InvalidText."""
        texts = door.texts_of(self.asked.documents)
        return [(document_id(self.custom_id, number, len(texts)), *rest) for number, (_, *rest) in enumerate(texts)]  # type: ignore[misc]


def document_id(custom_id: str, number: int, count: int) -> str:
    """The id of one of a line's documents: the line's own where it has one, unless that could be read as one of
    several."""
    if count == 1 and _split(custom_id) is None:
        return custom_id
    return f"{number}/{count}:{custom_id}"


def place_of(document: str) -> tuple[str, int, int]:
    """(custom_id, number, count) of a document's id."""
    return _split(document) or (document, 0, 1)


def _split(document: str) -> tuple[str, int, int] | None:
    head, colon, custom_id = document.partition(":")
    number, slash, count = head.partition("/")
    if not (colon and slash and number.isdecimal() and count.isdecimal() and custom_id):
        return None
    return custom_id, int(number), int(count)


def numbered(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """(number, line) of a file that was cut at the ends of its lines; None for a line that was too long to be kept
    whole. Lines of white space are left out."""
    number, too_long = 1, False
    for chunk in _with_last(chunks):
        data, last = chunk
        whole = data.split(b"\n")  # not splitlines(): that cuts also where JSON has white space
        for place, line in enumerate(whole):
            ends = place < len(whole) - 1
            if too_long:
                if ends or last:
                    yield number, None
            elif ends or last:
                if line and not line.isspace():
                    yield number, line
            elif line:
                too_long = True  # it goes on in the next chunk, so it did not fit into this one
            if ends:
                number, too_long = number + 1, False


def _with_last(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each with whether it is the last one."""
    held = next(chunks, None)
    while held is not None:
        following = next(chunks, None)
        yield held, following is None
        held = following


def understood(line: bytes | None, endpoint: str, longest: int) -> Request:
    """What a line asks for. Raises InvalidRequest and its kin; `custom_id_of` tells whose error it is."""
    if line is None or len(line) > longest:
        raise RequestTooLarge(f"the line is longer than {longest} bytes", maximum=longest)
    written = door.parse(Written, line)
    door.refuse_unstorable(written.custom_id, "custom_id")
    if written.method != "POST":
        raise InvalidRequest(f"method: POST, and not {written.method[:16]!r}", param="method")
    if written.url != endpoint:
        raise InvalidRequest(f"url: this batch is for {endpoint}, and not {written.url[:64]!r}", param="url")
    door.refuse_unstorable(written.body, "body")
    return Request(written.custom_id, endpoints.get(endpoint).read(written.body))


def custom_id_of(line: bytes | None) -> str | None:
    """The id of a line that was refused, if it can be told."""
    try:
        found: Any = json.loads(line or b"")
        custom_id = found["custom_id"]
        door.refuse_unstorable(custom_id, "custom_id")
    except (ValueError, RecursionError, TypeError, KeyError, InvalidRequest):
        return None
    return custom_id[:CUSTOM_ID] if isinstance(custom_id, str) else None
