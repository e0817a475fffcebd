"""The seam between the queue and the models.

A document's way through a runner has three steps:

    prepare   text -> items that fit the model        (task thread: tokenizing, splitting)
    run       items -> outputs, one for each item     (engine thread: one forward pass or one generation)
    assemble  outputs -> Outcome, or another round    (task thread: stitching, joining, reducing)

`prepare` and `assemble` are called from many task threads at once and never touch the device; `load`, `run` and
`unload` are called from the engine thread alone.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A piece of a document that fits the model: the unit of batching."""

    payload: Any
    """What the runner needs to run it (token ids, masks): opaque to the engine."""

    length: int
    """Tokens of input, at least 1: the dimension that is padded to the batch's longest."""

    rows: int = 1
    """Rows that it takes on the device (beams): a batch of n items has sum(rows) * max(length) padded tokens."""

    group: Hashable = None
    """Items share a batch only where model and group are equal (options that one generation must agree on)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document. Exactly one of `output` and `error_code` is set."""

    output: Mapping[str, Any] | None
    input_tokens: int = 0
    output_tokens: int = 0
    pieces: int = 0
    truncated: bool = False
    error_code: str | None = None
    error_message: str | None = None


@dataclass(slots=True)
class Prepared:
    """One round of a document: the items to run, and what `assemble` needs to know besides their outputs."""

    items: Sequence[Item]
    """May be empty (an empty text): `assemble` is then called at once with no outputs."""

    memo: Any = None
    """The runner's own: offsets, separators, the round's number."""

    input_tokens: int = 0
    pieces: int = field(default=0)


class Runner(Protocol):
    """One model of the catalogue on one device."""

    name: str
    """The model's name in the catalogue."""

    revision: str
    """What the results record as `model_revision`: the hub's commit, or a digest of the folder."""

    def open(self) -> None:
        """Read configuration and tokenizer, so that `prepare` works. Called once, from a task thread.

        Raises ModelUnavailable.
        """

    def prepare(self, text: str, options: Mapping[str, Any]) -> Prepared:
        """Cut the text into items that fit the model.

        `options`: the job's own, validated; the runner lays them over the catalogue's and the checkpoint's.
        Raises DocumentError (DocumentTooLong, ...) where the document cannot be processed.
        """

    def assemble(self, prepared: Prepared, outputs: Sequence[Any]) -> Outcome | Prepared:
        """Make the document's outcome from its items' outputs (same order), or prepare another round of them.

        Raises DocumentError.
        """

    def load(self) -> None:
        """Bring the weights to the device. Raises ModelUnavailable, DeviceOutOfMemory."""

    def unload(self) -> None:
        """Give the device's memory back. `load` may be called again."""

    def run(self, items: Sequence[Item]) -> Sequence[Any]:
        """One output for each item, in order. All items are of one group.

        Raises DeviceOutOfMemory where the batch does not fit; anything else counts against the items (the engine
        bisects the batch).
        """

    def canary(self) -> Item:
        """An item that is known to be good: where it fails too, the model is at fault and not the document."""

    def probe(self) -> Item:
        """An item that is known to be good, as long as usual texts' items are: what a calibration runs."""

    def memory_bytes(self) -> int:
        """Device memory that the loaded weights take; 0 while unloaded."""
