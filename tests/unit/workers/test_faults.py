"""What exceptions of models mean, by type and message."""

import pytest

from textmill.errors import DeviceOutOfMemory
from workers.faults import EXITS, FatalDeviceError, is_fatal, is_out_of_memory
from workers.launcher.launcher import reason


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class AcceleratorError(RuntimeError):
    """Named like torch's."""


@pytest.mark.parametrize(
    ("error", "out_of_memory", "fatal"),
    [
        (DeviceOutOfMemory(), True, False),
        (MemoryError(), True, False),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True, False),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (AcceleratorError("CUDA error: an illegal memory access was encountered"), False, True),
        (FatalDeviceError(), False, True),
        (RuntimeError("shapes cannot be multiplied"), False, False),
        (ValueError("CUDA error: device-side assert triggered"), False, False),
    ],
)
def test_verdicts(error: Exception, out_of_memory: bool, fatal: bool) -> None:
    assert (is_out_of_memory(error), is_fatal(error)) == (out_of_memory, fatal)


def test_exit_codes_have_words() -> None:
    assert len(EXITS) == 4
    assert all(reason(code) == words for code, words in EXITS.items())
    assert reason(-9) == "SIGKILL"
    assert reason(1) == "exit code 1"
