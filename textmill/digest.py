"""What an input has given: enough to know it again when it is given once more.

Of the standard input nothing else tells; of files their sizes and times do, but not whether they could be read.

The sum is over documents as they travel, not over bytes as they are read: a reader runs ahead of what it has handed
on, and a place in the middle of the input must be one between two documents.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import NoReturn

from pydantic import BaseModel, ConfigDict

from textmill.documents import Chunk, encode
from textmill.errors import InvalidRequest
from textmill.files.parts import UNREADABLE, Parts

OTHER_INPUT = "the input gives other documents than before: repeat those, or --restart begins anew"


class Digest(BaseModel):
    """A number of documents, their size as JSON lines in bytes, and the sum of these."""

    model_config = ConfigDict(frozen=True)

    documents: int = 0
    bytes: int = 0
    sha256: str = hashlib.sha256().hexdigest()


def _mark(line: bytes) -> bytes:
    """What is added up of a document: its line; but of one that could not be read not the reason's wording, in which a
    package may have a place in memory."""
    if b'"unreadable":{' not in line:
        return line
    told = json.loads(line)
    if isinstance(reason := told.get(UNREADABLE), dict):
        told[UNREADABLE] = reason.get("code")
    return json.dumps(told).encode()


class Sum:
    """A digest while its documents pass by."""

    def __init__(self) -> None:
        self.documents = 0
        self._bytes = 0
        self._hash = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """Count one document."""
        self.documents += 1
        line = _mark(line)
        self._bytes += len(line) + 1
        self._hash.update(line)
        self._hash.update(b"\n")

    def digest(self) -> Digest:
        """Of what was added so far."""
        return Digest(documents=self.documents, bytes=self._bytes, sha256=self._hash.hexdigest())


def digest_of(documents: Iterable[Parts]) -> Digest:
    """The digest of documents that are not to be sent."""
    total = Sum()
    for number, document in enumerate(documents):
        total.add(encode(document, number))
    return total.digest()


class Watch:
    """Sees each chunk before it is sent: notes what was read, and compares it with what an earlier run had noted.

    Since the note is written before its chunk is sent, what the job holds is never more than what was noted; and a
    chunk that goes beyond what the job holds is let through only when all that was noted has been found again.
    """

    def __init__(self, before: Digest, held: int, note: Callable[[Digest], None]) -> None:
        """before: what an earlier run noted; held: documents of the job. Raises InvalidRequest where they disagree."""
        if held > before.documents:
            raise InvalidRequest("nothing tells what the input gave before: --restart begins anew")
        self._before = before
        self._held = held
        self._note = note
        self._sum = Sum()
        self.other = False
        """Whether the input was found to be another one."""

    def __call__(self, chunk: Chunk) -> None:
        """Raises InvalidRequest where the input is another one."""
        for line in chunk.lines:
            self._sum.add(line)
            if self._sum.documents == self._before.documents and self._sum.digest() != self._before:
                self._refuse(OTHER_INPUT)
        if self._sum.documents >= self._before.documents:
            self._note(self._sum.digest())
        elif self._sum.documents > self._held:
            # Chunks are cut elsewhere than before (another version): this one would be sent before it was compared.
            self._refuse("the upload of the input cannot be gone on with: --restart begins anew")

    def finish(self) -> None:
        """The input has ended. Raises InvalidRequest where it gave less than before."""
        if self._sum.documents < self._before.documents:
            self._refuse(OTHER_INPUT)

    def _refuse(self, message: str) -> NoReturn:
        self.other = True
        raise InvalidRequest(message)
