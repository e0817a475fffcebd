"""What exceptions of models mean, by type and message."""

import weakref

import pytest

from textmill.errors import DeviceOutOfMemory
from workers.backends import ctranslate2
from workers.backends.torch.faults import fault
from workers.faults import EXITS, FatalDeviceError, Fault, attempt
from workers.launcher.launcher import reason


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class AcceleratorError(RuntimeError):
    """Named like torch's."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DeviceOutOfMemory(), Fault.OUT_OF_MEMORY),
        (MemoryError(), Fault.OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), Fault.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: out of memory"), Fault.OUT_OF_MEMORY),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            Fault.OUT_OF_MEMORY,
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), Fault.FATAL),
        (AcceleratorError("CUDA error: an illegal memory access was encountered"), Fault.FATAL),
        (FatalDeviceError(), Fault.FATAL),
        (RuntimeError("shapes cannot be multiplied"), Fault.OTHER),
        (ValueError("CUDA error: device-side assert triggered"), Fault.OTHER),
    ],
)
def test_verdicts_of_torch(error: Exception, expected: Fault) -> None:
    assert fault(error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError("std::bad_alloc"), Fault.OUT_OF_MEMORY),
        (RuntimeError("CUDA failed with error out of memory"), Fault.OUT_OF_MEMORY),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"), Fault.OUT_OF_MEMORY),
        (RuntimeError("CUDA failed with error an illegal memory access was encountered"), Fault.FATAL),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED"), Fault.FATAL),
        (RuntimeError("No position encodings are defined for positions >= 128, but got position 128"), Fault.OTHER),
        (ValueError("CUDA failed with error out of memory"), Fault.OTHER),
    ],
)
def test_verdicts_of_ctranslate2(error: Exception, expected: Fault) -> None:
    assert ctranslate2.BACKEND.fault(error) is expected


class Tensor:
    """Stands for what a failed pass holds."""


def test_a_failure_holds_nothing_of_the_pass_that_failed() -> None:
    held: list[weakref.ref[Tensor]] = []
    seen: list[Fault] = []

    def run() -> None:
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        try:
            raise ValueError("inside")
        except ValueError as error:
            raise RuntimeError("CUDA out of memory") from error

    _, failure = attempt(run, fault, seen.append)
    assert failure is not None
    assert (failure.fault, seen) == (Fault.OUT_OF_MEMORY, [Fault.OUT_OF_MEMORY])
    assert held[0]() is None
    assert attempt(lambda: 3, fault) == (3, None)


def test_exit_codes_have_words() -> None:
    assert len(EXITS) == 4
    assert all(reason(code) == words for code, words in EXITS.items())
    assert reason(-9) == "SIGKILL"
    assert reason(1) == "exit code 1"
