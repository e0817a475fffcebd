"""CTranslate2's int8 in torch, so that a model can be trained to bear it.

What is rounded, as its converters and its kernels have it: the inputs of all linear layers and their weights, those of
the output over the vocabulary included, and the embeddings of tokens and types; of an encoder under a head all but the
head. Inputs are scaled row by row to 127 when they come, weights row by row as the backend's conversions have them
(`workers/backends/ctranslate2/quantization.py`). Positions, norms, biases and attention stay in float32. Gradients pass
a rounding as if it were none.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from workers.backends.ctranslate2.quantization import LARGEST, scales

EMBEDDINGS = frozenset({"shared", "embed_tokens", "word_embeddings", "token_type_embeddings"})
"""What transformers calls those that are looked up by token or type, and not by position."""


class Int8:
    """A model of transformers as CTranslate2 computes it in int8. Its weights stay what and where they are.

    model: for sequence to sequence, or for token classification.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        body = model if model.config.is_encoder_decoder else model.base_model
        layers = {module: name for name, module in body.named_modules() if "pooler" not in name}
        self.linears = [module for module in layers if isinstance(module, nn.Linear)]
        looked_up = [
            module
            for module, name in layers.items()
            if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in EMBEDDINGS
        ]
        rounded = {id(module.weight) for module in (*self.linears, *looked_up)}
        self.weights = {name: weight for name, weight in model.named_parameters() if id(weight) in rounded}
        """By name; of tied ones the first."""

    def __call__(self, **inputs: Any) -> Any:
        """What the model says to these inputs."""
        weights = {name: rounded(weight, scales(weight.detach())[:, None]) for name, weight in self.weights.items()}
        hooks = [linear.register_forward_pre_hook(_round_input) for linear in self.linears]
        try:
            return functional_call(self.model, weights, kwargs=inputs)
        finally:
            for hook in hooks:
                hook.remove()


def rounded(values: Tensor, scale: Tensor) -> Tensor:
    """To the nearest of int8's numbers over `scale`; the gradient is that of the values themselves."""
    return values + ((values.detach() * scale).round() / scale - values.detach())


def _round_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    states, *rest = inputs
    largest = states.detach().abs().amax(-1, keepdim=True)
    return (rounded(states, LARGEST / torch.where(largest == 0, LARGEST, largest)), *rest)
