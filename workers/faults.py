"""What an exception from a model means for the process. Told by names and messages: nothing here needs torch."""

from textmill.errors import DeviceOutOfMemory

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


_FATAL_TYPES = {"AcceleratorError"}
_FATAL_SIGNS = (
    "CUDA error",
    "device-side assert",
    "an illegal memory access",
    "unspecified launch failure",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "uncorrectable ECC",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the batch did not fit (torch raises its own class, and older code paths a plain RuntimeError)."""
    return (
        isinstance(error, DeviceOutOfMemory | MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in str(error).lower()
        or "can't allocate memory" in str(error)
    )


def is_fatal(error: BaseException) -> bool:
    """Whether the device's context is broken. Running out of memory is not: that leaves the context whole."""
    if isinstance(error, FatalDeviceError):
        return True
    if is_out_of_memory(error):
        return False
    return type(error).__name__ in _FATAL_TYPES or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _FATAL_SIGNS)
    )
