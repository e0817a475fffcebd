"""What stands over an encoder: CTranslate2 gives hidden states, the checkpoint's last layers over them are here.

A head is kept as tensors in float32, whatever the encoder's number format: `out` (answers, size), and where the
checkpoint has a layer before it `dense` (size, size) with the function after it, and `norm`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from workers.kinds import Kind

Layers = Mapping[str, nn.Module]


def _classifier(model: Any) -> Layers:
    return {"out": model.classifier}


def _spans(model: Any) -> Layers:
    return {"out": model.qa_outputs}


def _bert_sequence(model: Any) -> Layers:
    return {"dense": model.base_model.pooler.dense, "out": model.classifier}


def _distilbert_sequence(model: Any) -> Layers:
    return {"dense": model.pre_classifier, "out": model.classifier}


def _roberta_sequence(model: Any) -> Layers:
    return {"dense": model.classifier.dense, "out": model.classifier.out_proj}


def _bert_masks(model: Any) -> Layers:
    head = model.cls.predictions
    return {"dense": head.transform.dense, "norm": head.transform.LayerNorm, "out": head.decoder}


def _distilbert_masks(model: Any) -> Layers:
    return {"dense": model.vocab_transform, "norm": model.vocab_layer_norm, "out": model.vocab_projector}


def _roberta_masks(model: Any) -> Layers:
    return {"dense": model.lm_head.dense, "norm": model.lm_head.layer_norm, "out": model.lm_head.decoder}


_ROBERTAS = ("roberta", "xlm-roberta", "camembert")

_LAYERS: dict[tuple[Kind, str], Callable[[Any], Layers]] = {
    (Kind.SEQUENCE_SCORES, "bert"): _bert_sequence,
    (Kind.SEQUENCE_SCORES, "distilbert"): _distilbert_sequence,
    **{(Kind.SEQUENCE_SCORES, name): _roberta_sequence for name in _ROBERTAS},
    (Kind.MASKS, "bert"): _bert_masks,
    (Kind.MASKS, "distilbert"): _distilbert_masks,
    **{(Kind.MASKS, name): _roberta_masks for name in _ROBERTAS},
    **{(Kind.TOKEN_SCORES, name): _classifier for name in ("bert", "distilbert", *_ROBERTAS)},
    **{(Kind.SPANS, name): _spans for name in ("bert", "distilbert", *_ROBERTAS)},
}
"""By kind and `model_type`: where transformers has them."""


def save(model: Any, kind: Kind, path: Path) -> None:
    """Write the head of a model of transformers; nothing where the kind has none."""
    find = _LAYERS.get((kind, model.config.model_type))
    layers = find(model) if find is not None else {}
    tensors = {f"{name}.{part}": tensor.detach() for name, layer in layers.items()
               for part, tensor in layer.state_dict().items()}  # fmt: skip
    if tensors:
        save_file({name: tensor.float().contiguous().clone() for name, tensor in tensors.items()}, path)


@dataclass(frozen=True)
class Head:
    """A head, ready to be applied."""

    tensors: Mapping[str, Tensor]
    function: Callable[[Tensor], Tensor]
    epsilon: float

    @classmethod
    def of(cls, path: Path, kind: Kind, config: Any) -> "Head":
        """Read what `save` has written. config: the checkpoint's."""
        return cls(load_file(path), _function(kind, config), getattr(config, "layer_norm_eps", 1e-12))

    def __call__(self, states: NDArray[np.float32]) -> Tensor:
        """(..., size) -> (..., answers)."""
        found, tensors = torch.from_numpy(states), self.tensors
        if "dense.weight" in tensors:
            found = self.function(functional.linear(found, tensors["dense.weight"], tensors["dense.bias"]))
        if "norm.weight" in tensors:
            weight, bias = tensors["norm.weight"], tensors["norm.bias"]
            found = functional.layer_norm(found, weight.shape, weight, bias, self.epsilon)
        return functional.linear(found, tensors["out.weight"], tensors["out.bias"])


def _function(kind: Kind, config: Any) -> Callable[[Tensor], Tensor]:
    """What follows the dense layer, as transformers has it."""
    if kind is not Kind.MASKS:
        return torch.relu if config.model_type == "distilbert" else torch.tanh
    # RoBERTa's head has a function of its own, whatever its configuration says of the encoder.
    name = {"bert": "hidden_act", "distilbert": "activation"}.get(config.model_type)
    found: Callable[[Tensor], Tensor] = ACT2FN["gelu" if name is None else getattr(config, name)]
    return found
