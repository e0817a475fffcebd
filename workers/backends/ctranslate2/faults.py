"""What CTranslate2's exceptions mean. It raises plain RuntimeErrors, told apart by their text."""

from workers import faults
from workers.faults import Fault

_OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "failed to allocate memory", "std::bad_alloc")
_FATAL = ("CUDA failed with error", "cuBLAS failed with status", "cuDNN failed with status")


def fault(error: BaseException) -> Fault:
    """A batch that did not fit, a broken context, or anything else."""
    common = faults.fault(error)
    if common is not Fault.OTHER or not isinstance(error, RuntimeError):
        return common
    text = str(error)
    if any(sign in text for sign in _OUT_OF_MEMORY):
        return Fault.OUT_OF_MEMORY
    return Fault.FATAL if any(sign in text for sign in _FATAL) else Fault.OTHER
