"""text: a file is a document. lines: a line is one."""

from collections.abc import Iterator
from typing import IO

from textmill.files import encodings
from textmill.files.columns import Columns
from textmill.files.parts import NO_FIELDS, Parts


def text(data: bytes, name: str, encoding: str | None) -> str:
    """The file as it is: offsets in the results are offsets in the file."""
    return encodings.decoded(data, name, encoding)


def lines(file: IO[bytes], name: str, columns: Columns, encoding: str | None) -> Iterator[tuple[int, Parts]]:
    """(line, document) of each, blank ones too, so that positions are line numbers."""
    with encodings.stream(file, name, encoding, "\n") as text:
        for number, line in enumerate(text, start=1):
            found = line.removesuffix("\n").removesuffix("\r")
            yield number, Parts(None, found, row={"text": found} if columns.keep else NO_FIELDS)
