"""The torch device: which one, in what precision, with how many threads."""

import contextlib
from collections.abc import Iterator

import torch

from textmill.errors import ModelUnavailable
from workers.kinds import Precision


def choose(name: str = "auto") -> torch.device:
    """The device of that name ("auto", "cpu", "cuda", "cuda:1"); auto takes a GPU where there is one.

    Raises ModelUnavailable where it does not exist: a worker that was told to use a GPU never runs on the CPU instead.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelUnavailable(f"device {name}: this process sees {torch.cuda.device_count()} CUDA devices")
    return device


def precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """What weights are loaded as. auto: bfloat16 where the device is fast at it, else float32."""
    if wanted != "auto":
        found: torch.dtype = getattr(torch, wanted)
        return found
    return torch.bfloat16 if is_fast_at_bfloat16(device) else torch.float32


def is_fast_at_bfloat16(device: torch.device) -> bool:
    """GPUs since Ampere, and CPUs with AMX tiles. Others emulate it, several times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Without a public way to ask: the private one is looked for, so that a torch without it means float32.
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return device.type == "cpu" and has_amx is not None and bool(has_amx())


def fast_at_bfloat16_on_cpu() -> bool:
    """Whether `precision` gives bfloat16 on the CPU."""
    return is_fast_at_bfloat16(torch.device("cpu"))


@contextlib.contextmanager
def surroundings(device: torch.device, threads: int = 0) -> Iterator[None]:
    """What the engine's thread runs its whole life in: inference mode, and its number of CPU threads.

    Both belong to a thread, so this is entered there. threads: 0 leaves torch's own choice, one for each core.
    """
    if threads:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with torch.inference_mode():
        yield


def release(device: torch.device) -> None:
    """Give memory that no tensor holds back to the device's other users."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
