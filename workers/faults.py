"""What an exception from a model means for batch and process, and the exit codes of a process that ends for one.

Which exceptions of a framework mean what is its backend's to say (`Backend.fault`); here is what all have in common.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from textmill.errors import DeviceOutOfMemory

T = TypeVar("T")

EXIT_FATAL = 71
"""Exit code: the device's context is broken (a CUDA assertion, an illegal access); only a new process helps."""

EXIT_OVERDUE = 72
"""Exit code: a batch ran past its deadline; a pass that hangs cannot be ended in a thread."""

EXIT_ENGINE = 73
"""Exit code: the engine's own loop failed, a bug in Textmill."""

EXIT_HUNG = 74
"""Exit code: a task thread hung while it opened a model, or prepared or assembled a document."""

EXITS = {
    EXIT_FATAL: "the device failed",
    EXIT_OVERDUE: "a batch ran past its deadline",
    EXIT_ENGINE: "the engine's loop failed",
    EXIT_HUNG: "a task hung",
}


class FatalDeviceError(Exception):
    """The device is unusable until the process is started again."""


class Fault(Enum):
    """What went wrong, as far as it matters for what to do next."""

    OUT_OF_MEMORY = "out of memory"
    """The batch or the weights did not fit; the device is whole."""
    FATAL = "fatal"
    """The device's context is broken: the process has to end."""
    OTHER = "other"
    """Counts against the items, or against the model."""


def fault(error: BaseException) -> Fault:
    """What an exception means in any framework."""
    if isinstance(error, FatalDeviceError):
        return Fault.FATAL
    return Fault.OUT_OF_MEMORY if isinstance(error, DeviceOutOfMemory | MemoryError) else Fault.OTHER


@dataclass(frozen=True, slots=True)
class Failure:
    """What a call failed with."""

    fault: Fault
    error: Exception
    """Without tracebacks, its own and those of its causes."""


def attempt(
    call: Callable[[], T],
    fault_of: Callable[[BaseException], Fault],
    seen: Callable[[Fault], None] = lambda fault: None,
) -> tuple[T, None] | tuple[None, Failure]:
    """The call's answer, or its failure, from which no frame of the call can be reached.

    A traceback holds the frames of the failed pass, and these its tensors: inside of an `except` block, or with the
    exception kept, the next and smaller try would find the device as full as before. `seen` is called while the
    traceback is still there, for whoever logs it.
    """
    try:
        return call(), None
    except Exception as raised:  # noqa: BLE001 - whatever a model raises is judged by its backend
        kind = fault_of(raised)
        seen(kind)
        error: BaseException | None = raised
        while error is not None:
            error.__traceback__ = None
            error = error.__cause__ or error.__context__
        failure = Failure(kind, raised)
    return None, failure
