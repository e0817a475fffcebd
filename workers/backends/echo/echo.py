"""The echo model: answers each text with itself, at once. It stands for a model wherever the queue is what matters.

Its output is the text (`summary_text`, `translation_text`) or no entities, as the job's task has it. Markers in a text
make it misbehave as models do, each in the step that it names:

    [[echo:sleep=SECONDS]]   run: takes that long
    [[echo:raise]]           run: raises an error
    [[echo:oom]]             run: does not fit on the device, even alone
    [[echo:oom-above=N]]     run: does not fit in a batch of more than N items
    [[echo:broken]]          run: raises, and so does the canary that is run next: the model itself is at fault
    [[echo:fatal]]           run: the device fails, and with it the process
    [[echo:kill]]            run: the process is killed
    [[echo:hang]]            run: never returns
    [[echo:pieces=N]]        prepare: the text becomes N items (0: none, as an empty text does)
    [[echo:rounds=N]]        assemble: goes round N times
    [[echo:too-long]]        prepare: document_too_long
    [[echo:prepare-raise]]   prepare: raises an error of its own
    [[echo:prepare-hang]]    prepare: never returns

Whoever may submit texts to it may thus stop a worker: offer it in trials and tests, not to strangers.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from textmill.errors import DeviceOutOfMemory, DocumentTooLong
from workers.faults import FatalDeviceError
from workers.runner import Item, Outcome, Prepared

PREFIX = "[[echo:"
_MARKER = re.compile(r"\[\[echo:([a-z-]+)(?:=([0-9.]+))?\]\]")


class _Marked(NamedTuple):
    """The payload of an item whose text has markers."""

    text: str
    markers: dict[str, str]


class Echo:
    """The runner of the echo model. It serves every task, so `prepare` is told the job's: the option `task`."""

    BATCH_TOKENS = 16_384
    """Padded tokens in a batch; there is nothing to calibrate."""

    def __init__(self, name: str = "echo") -> None:
        self.name = name
        self.revision = "echo"
        self._broken = False

    def open(self) -> None:
        """Nothing to read."""

    def load(self) -> None:
        """Nothing to load."""

    def unload(self) -> None:
        """Nothing to unload."""

    def memory_bytes(self) -> int:
        return 0

    def prepare(self, text: str, options: Mapping[str, Any]) -> Prepared:
        """One item for the text: a token is four characters."""
        length = len(text) // 4 + 1
        memo = (options["task"], text, 0)
        if PREFIX not in text:
            return Prepared([Item(text, length)], memo, length, 1)
        markers = dict(_MARKER.findall(text))
        if "too-long" in markers:
            raise DocumentTooLong
        if "prepare-raise" in markers:
            raise ValueError("the text has the marker prepare-raise")
        if "prepare-hang" in markers:
            threading.Event().wait()
        pieces = int(markers.get("pieces", 1))
        memo = (options["task"], text, int(markers.get("rounds", 1)) - 1)
        return Prepared([Item(_Marked(text, markers), max(1, length // max(1, pieces)))] * pieces, memo, length, pieces)

    def run(self, items: Sequence[Item]) -> Sequence[Any]:
        """The items' texts."""
        return [item.payload if type(item.payload) is str else self._act(item.payload, len(items)) for item in items]

    def assemble(self, prepared: Prepared, outputs: Sequence[Any]) -> Outcome | Prepared:
        """The outcome: the text."""
        task, text, rounds = prepared.memo
        if rounds > 0:
            return Prepared(prepared.items, (task, text, rounds - 1), prepared.input_tokens, prepared.pieces)
        output: dict[str, Any]
        if task == "summarization":
            output = {"summary_text": text}
        elif task == "translation":
            output = {"translation_text": text}
        else:
            output = {"entities": []}
        return Outcome(output, prepared.input_tokens, prepared.input_tokens, prepared.pieces)

    def canary(self) -> Item:
        return Item(_Marked("canary", {"canary": ""}), 1)

    def probe(self) -> Item:
        return self.canary()

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
