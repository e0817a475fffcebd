"""What CTranslate2 computes on, in which number formats, with how many threads."""

import os

import ctranslate2

from textmill.errors import ModelUnavailable
from workers.kinds import ModelSpec

ON_CPU = ("float32", "int8")
ON_GPU = ("float16", "float32", "bfloat16", "int8", "int8_float16", "int8_bfloat16")
"""Number formats; the first is what `auto` means."""


def is_gpu(device: str) -> bool:
    """Whether a device of that name ("auto", "cpu", "cuda", "cuda:1") is one."""
    return device.startswith("cuda") or (device == "auto" and ctranslate2.get_cuda_device_count() > 0)


def formats(device: str) -> tuple[str, ...]:
    """Number formats on the device of that name."""
    return ON_GPU if is_gpu(device) else ON_CPU


def number_format(spec: ModelSpec) -> str:
    """What the model is computed in."""
    return formats(spec.device)[0] if spec.dtype == "auto" else spec.dtype


def arguments(spec: ModelSpec) -> dict[str, object]:
    """Of a Translator and an Encoder. Raises ModelUnavailable where the device does not exist."""
    place: dict[str, object] = {"device": "cpu"}
    if is_gpu(spec.device):
        index = int(spec.device.partition(":")[2] or 0)
        if index >= (count := ctranslate2.get_cuda_device_count()):
            raise ModelUnavailable(f"device {spec.device}: CTranslate2 sees {count} CUDA devices here")
        place = {"device": "cuda", "device_index": index}
    # One translator with all threads: its batches are the engine's, which come one at a time.
    threads = spec.threads or len(os.sched_getaffinity(0))
    return {**place, "compute_type": number_format(spec), "inter_threads": 1, "intra_threads": threads}
