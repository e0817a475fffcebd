"""What torch's exceptions mean. Told by names and messages too, since older code paths raise plain RuntimeErrors."""

from workers import faults
from workers.faults import Fault

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


def fault(error: BaseException) -> Fault:
    """A batch that did not fit, a broken context, or anything else. Running out of memory leaves the context whole."""
    common = faults.fault(error)
    if common is not Fault.OTHER:
        return common
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "out of memory" in text.lower() or "can't allocate memory" in text:
        return Fault.OUT_OF_MEMORY
    is_fatal = type(error).__name__ in _FATAL_TYPES or (
        isinstance(error, RuntimeError) and any(sign in text for sign in _FATAL_SIGNS)
    )
    return Fault.FATAL if is_fatal else Fault.OTHER
