"""Which GPUs this machine has and this process may use, asked of NVML: nothing here initializes CUDA or imports torch.

GPUs are named by UUID. Indices mean different cards to NVML and to CUDA, and change with CUDA_VISIBLE_DEVICES.
"""

import os
from typing import NamedTuple

import pynvml


class Gpu(NamedTuple):
    """A GPU, or the part of one that CUDA_VISIBLE_DEVICES names (MIG)."""

    uuid: str
    name: str


def visible(environment: str | None = None) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES allows, in its order (all, where it is not set).

    `environment`: its value; None: as it is set. Empty list where there is no driver.
    """
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES") if environment is None else environment
    present = installed()
    if allowed is None:
        return present
    chosen = []
    for name in (part.strip() for part in allowed.split(",")):
        found = _find(name, present)
        if found is None:
            break  # as CUDA does: what follows an invalid name is not visible
        chosen.append(found)
    return chosen


def installed() -> list[Gpu]:
    """All GPUs, in NVML's order (that of the PCI bus)."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []  # no driver, no GPU
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [
            Gpu(_text(pynvml.nvmlDeviceGetUUID(handle)), _text(pynvml.nvmlDeviceGetName(handle))) for handle in handles
        ]
    finally:
        pynvml.nvmlShutdown()


def describe_device(device: str) -> str:
    """What the worker calls its device: `cpu`, or the GPU's name and UUID. `device`: auto, cpu or cuda."""
    gpus = [] if device == "cpu" else visible()
    if gpus:
        return f"{gpus[0].name} {gpus[0].uuid}"
    return "cuda" if device == "cuda" else "cpu"


def _find(name: str, present: list[Gpu]) -> Gpu | None:
    if name.isdigit():
        return present[int(name)] if int(name) < len(present) else None
    if name.startswith("MIG-"):
        return Gpu(name, "MIG instance")
    # CUDA takes any unambiguous beginning of a UUID.
    matches = [gpu for gpu in present if name and gpu.uuid.startswith(name)]
    return matches[0] if len(matches) == 1 else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
