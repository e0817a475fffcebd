"""The echo model. Its output is the text, as the job's task has it. Markers in a text make it misbehave as models do,
each in the step that it names:

    [[echo:sleep=SECONDS]]   run: takes that long
    [[echo:raise]]           run: raises an error
    [[echo:oom]]             run: does not fit on the device, even alone
    [[echo:oom-above=N]]     run: does not fit in a batch of more than N items
    [[echo:broken]]          run: raises, and so does the canary that is run next: the model itself is at fault
    [[echo:fatal]]           run: the device fails, and with it the process
    [[echo:kill]]            run: the process is killed
    [[echo:hang]]            run: never returns
    [[echo:pieces=N]]        prepare: the text becomes N items (0: none, as an empty text does)
    [[echo:same]]            prepare: items of equal texts may share one answer (others do not: each is to do its work)
    [[echo:rounds=N]]        assemble: goes round N times
    [[echo:too-long]]        prepare: document_too_long
    [[echo:prepare-raise]]   prepare: raises an error of its own
    [[echo:prepare-hang]]    prepare: never returns

Whoever may submit texts to it may thus stop a worker: offer it in trials and tests, not to strangers.
"""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from textmill.errors import DeviceOutOfMemory, DocumentTooLong
from workers.faults import FatalDeviceError
from workers.runner import NO_FIELDS, Fields, Item, Outcome, Prepared

PREFIX = "[[echo:"
_MARKER = re.compile(r"\[\[echo:([a-z-]+)(?:=([0-9.]+))?\]\]")

Answer = Callable[[str, Fields], Mapping[str, Any]]


class _Marked(NamedTuple):
    """The payload of an item whose text has markers."""

    text: str
    markers: dict[str, str]


class _Memo(NamedTuple):
    text: str
    fields: Fields
    rounds: int
    """That are still to come."""


class EchoRule:
    """Any task's stand-in rule: one item a text. answer: the task's output for a text that comes back as it is.

    Bound to no options, since none changes what it does: it is its own plan.
    """

    def __init__(self, model: "Mirror", answer: Answer) -> None:
        self._model = model
        self._answer = answer

    def bind(self, options: Mapping[str, Any]) -> "EchoRule":
        """Itself."""
        return self

    def prepare(self, text: str, fields: Fields = NO_FIELDS) -> Prepared:
        """One item for the text, or for what stands in for it: a token is four characters."""
        document = text
        text = text or (json.dumps(dict(fields), ensure_ascii=False) if fields else "")
        length = len(text) // 4 + 1
        if PREFIX not in text:
            return Prepared([Item(text, length)], _Memo(document, fields, 0), length, 1)
        markers = dict(_MARKER.findall(text))
        if "too-long" in markers:
            raise DocumentTooLong
        if "prepare-raise" in markers:
            raise ValueError("the text has the marker prepare-raise")
        if "prepare-hang" in markers:
            threading.Event().wait()
        pieces = int(markers.get("pieces", 1))
        same = text.encode() if "same" in markers else None
        items = [Item(_Marked(text, markers), max(1, length // max(1, pieces)), same=same)] * pieces
        return Prepared(items, _Memo(document, fields, int(markers.get("rounds", 1)) - 1), length, pieces)

    def assemble(self, prepared: Prepared, outputs: Sequence[Any]) -> Outcome | Prepared:
        """The outcome: the task's answer for the text."""
        memo: _Memo = prepared.memo
        if memo.rounds > 0:
            again = memo._replace(rounds=memo.rounds - 1)
            return Prepared(prepared.items, again, prepared.input_tokens, prepared.pieces)
        return Outcome(
            self._answer(memo.text, memo.fields), prepared.input_tokens, prepared.input_tokens, prepared.pieces
        )

    def run(self, items: Sequence[Item]) -> Sequence[str]:
        """The items' texts."""
        return self._model.texts([item.payload for item in items])

    def kept(self, output: str) -> tuple[str, int]:
        """As it is."""
        return output, len(output)

    def canary(self) -> Item:
        """A text that only a broken model fails on."""
        return Item(_Marked("canary", {"canary": ""}), 1)

    def probe(self) -> Item:
        """The same."""
        return self.canary()


class Mirror:
    """The model of the kind TEXT."""

    revision = "echo"
    dtype = "none"

    def __init__(self) -> None:
        self._broken = False

    def load(self) -> None:
        """Nothing to load."""

    def unload(self) -> None:
        """Nothing to unload."""

    def memory_bytes(self) -> int:
        """Nothing."""
        return 0

    def texts(self, payloads: Sequence[Any]) -> Sequence[str]:
        """The texts, after what their markers say."""
        return [payload if type(payload) is str else self._act(payload, len(payloads)) for payload in payloads]

    def _act(self, marked: _Marked, batch: int) -> str:
        for marker, value in marked.markers.items():
            if marker == "sleep":
                time.sleep(float(value))
            elif marker == "raise":
                raise ValueError("the text has the marker raise")
            elif marker == "oom" or (marker == "oom-above" and batch > int(value)):
                raise DeviceOutOfMemory
            elif marker == "broken":
                self._broken = True
                raise ValueError("the text has the marker broken")
            elif marker == "canary" and self._broken:
                self._broken = False
                raise ValueError("the model is broken")
            elif marker == "fatal":
                raise FatalDeviceError("the text has the marker fatal")
            elif marker == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif marker == "hang":
                threading.Event().wait()
        return marked.text
