"""What the core could do at best: the matrix products of an encoder's layers over the same tokens, and nothing else.

No padding, no attention, no activations: a bound for whatever computes the model in float32.
"""

import torch
from transformers import AutoConfig

from benchmarks.work import Answers, Work

TOKENS = 2_048
"""Of one product: within the cache, large enough to be at full speed."""


class Products:
    """Four products of the width with itself and two with the inner width, a layer."""

    def __init__(self, work: Work) -> None:
        torch.set_num_threads(1)
        config = AutoConfig.from_pretrained(work.folder)
        width, inner = config.hidden_size, config.intermediate_size
        self._layers = config.num_hidden_layers
        self._tokens = work.tokens
        self._weights = [torch.randn(width, width) for _ in range(4)] + [torch.randn(width, inner)]
        self._last = torch.randn(inner, width)

    @torch.inference_mode()
    def run(self) -> Answers:
        """The products of all tokens; they answer nothing."""
        width = self._last.shape[1]
        for start in range(0, self._tokens, TOKENS):
            hidden = torch.randn(min(TOKENS, self._tokens - start), width)
            for _ in range(self._layers):
                for weight in self._weights:
                    out = hidden @ weight
                out @ self._last
        return []


SIDE = Products
