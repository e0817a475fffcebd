"""The two passes over a batch's file: the first looks at every line and stores nothing of it, the second makes
documents of those that were good.

So a batch that is wrong as a whole runs nothing, its counts are known before its first result, and a process that dies
in either pass costs that pass: the next one does it again, and what is stored already is not stored twice.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from api.openai import lines
from api.openai.errors import body_of
from api.v1 import door
from store.bulk import NewDocument
from store.catalogue import Catalogue
from store.orders import Group, Line
from textmill import tasks
from textmill.errors import DuplicateDocument, InvalidRequest, TextmillError, TooManyDocuments

AT_ONCE_BYTES = 256 * 1024
"""Of lines whose documents the second pass stores in one go, about."""

DOCUMENT_BYTES = 256
"""What a document costs beside its bytes: some thousand short ones are as good as a long one."""


class Limits(NamedTuple):
    """Of a batch."""

    lines: int
    jobs: int
    line_bytes: int


@dataclass
class Check:
    """The first pass. `refuse_all` is set where nothing of the file is to be run."""

    catalogue: Catalogue
    endpoint: str
    limits: Limits
    total: int = 0
    documents: int = 0
    refused: list[Line] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    refuse_all: TextmillError | None = None
    _seen: set[bytes] = field(default_factory=set)

    def run(self, chunks: Iterator[bytes]) -> None:
        """Look at all lines."""
        for number, line in lines.numbered(chunks):
            self.total += 1
            if self.total > self.limits.lines:
                most = self.limits.lines
                self.refuse_all = TooManyDocuments(f"the file has more than {most} lines", maximum=most)
                return
            try:
                self.documents += self._look(line)
            except InvalidRequest as error:
                self._refuse(number, line, error)
            if self.documents > self.limits.lines:
                most = self.limits.lines
                self.refuse_all = TooManyDocuments(f"the file's lines have more than {most} texts", maximum=most)
                return
        if not self.total:
            self.refuse_all = InvalidRequest("the file is empty")

    def _look(self, line: bytes | None) -> int:
        """How many documents a line makes. Raises InvalidRequest and its kin."""
        request = lines.understood(line, self.endpoint, self.limits.line_bytes)
        # 16 bytes of each and not the id: there may be tens of thousands, of any length.
        seen = hashlib.blake2b(request.custom_id.encode(), digest_size=16).digest()
        if seen in self._seen:
            raise DuplicateDocument(f"custom_id {request.custom_id!r}: an earlier line has it", param="custom_id")
        documents = request.documents()
        group = self._group(request)
        contract, entry = tasks.get(group.task), self.catalogue.get(group.model)
        for document in request.asked.documents:
            contract.check_fields(document.fields, json.loads(group.options), entry)
        self._seen.add(seen)
        self.groups[group.digest] = group
        return len(documents)

    def _group(self, request: lines.Request) -> Group:
        digest, asked = request.digest, request.asked
        if (known := self.groups.get(digest)) is not None:
            return known
        if len(self.groups) >= (most := self.limits.jobs):
            raise InvalidRequest(f"the file has more than {most} combinations of model and options", maximum=most)
        model, options = door.fitted(self.catalogue, tasks.get(asked.task), asked.model, asked.options, [])
        return Group(len(self.groups), digest, asked.task, model, json.dumps(options), json.dumps(asked.form))

    def _refuse(self, number: int, line: bytes | None, error: InvalidRequest) -> None:
        said = body_of(error)["error"]
        custom_id = lines.custom_id_of(line)
        self.refused.append(Line(number, custom_id, said["code"], said["message"], said["param"]))


Append = Callable[[str, list[NewDocument], int], None]
"""Stores documents in the job of the digest's group, from that position on."""


def feed(chunks: Iterator[bytes], endpoint: str, refused: set[int], longest: int, append: Append) -> None:
    """The second pass: the documents of all lines but those refused, group by group, in the order of the file."""
    waiting: dict[str, list[NewDocument]] = {}
    stored: dict[str, int] = {}

    def store() -> None:
        for digest, documents in waiting.items():
            append(digest, documents, stored.get(digest, 0))
            stored[digest] = stored.get(digest, 0) + len(documents)
        waiting.clear()

    held = 0
    for number, line in lines.numbered(chunks):
        if number in refused:
            continue
        request = lines.understood(line, endpoint, longest)
        documents = request.documents()
        waiting.setdefault(request.digest, []).extend(documents)
        held += len(line or b"") + len(documents) * DOCUMENT_BYTES
        if held >= AT_ONCE_BYTES:
            store()
            held = 0
    store()
