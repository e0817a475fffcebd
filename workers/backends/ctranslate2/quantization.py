"""Weights in int8 that every CPU multiplies alike.

CTranslate2 gives a row's largest weight 127. CPUs without VNNI (before Ice Lake, Zen 4) multiply by an instruction that
adds the products of two neighbours, activations of up to 255 and weights, in 16 bits: what lies beyond is cut off, some
product in ten thousand, and most of what int8 costs on such a CPU comes of it. With a scale by which two neighbours
together have 128 at most nothing is cut: weights lose 0.25 to 0.4 of a bit, and the answers are those of a CPU that
adds in 32 bits.
"""

from typing import Any

import torch
from ctranslate2.specs.model_spec import NumpyVariable, Variable, visit_spec
from torch import Tensor
from torch.nn import functional

LARGEST = 127


def scales(weight: Tensor) -> Tensor:
    """(rows, columns), float32 -> (rows,): what to multiply each row by before it is rounded.

    Columns are neighbours by twos: 0 and 1, 2 and 3. Rounding adds one at most to two of them: 255 * 128 < 2**15.
    """
    pairs = functional.pad(weight, (0, weight.shape[1] % 2)).reshape(len(weight), -1, 2)
    largest = torch.maximum(pairs.abs().amax((1, 2)), pairs.sum(2).abs().amax(1))
    # A row of zeros stays one; the scale of a very small one is still a float32.
    return LARGEST / torch.where(largest == 0, LARGEST, largest).clamp_min(1e-30)


def optimize(spec: Any, number_format: str) -> None:
    """What `spec.optimize(quantization=number_format)` does to a specification, with these scales where it is int8."""
    if not number_format.startswith("int8"):
        spec.optimize(quantization=number_format)
        return
    spec.optimize(quantization="float32")
    rest = number_format.partition("_")[2] or "float32"

    def visit(layer: Any, name: str, value: Any) -> None:
        if not isinstance(value, Variable) or value.is_scalar():
            return  # settings, and names of variables that are there already
        key = name.rpartition("/")[2]
        if hasattr(layer, f"{key}_scale"):
            weight = torch.from_numpy(value.to("float32").numpy())
            scale = scales(weight)
            setattr(layer, key, NumpyVariable((weight * scale[:, None]).round().to(torch.int8).numpy()))
            setattr(layer, f"{key}_scale", NumpyVariable(scale.numpy()))
        elif value.dtype == "float32":
            setattr(layer, key, value.to(rest))

    visit_spec(spec, visit)
