"""What the models of one forward pass have in common, whatever they say of their tokens."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from workers.backends.torch.weights import Weights, padded
from workers.checkpoint.files import EncoderFiles
from workers.kinds import Kind, ModelSpec, Row


class TorchEncoder(EncoderFiles):
    """One model on one device. Making it reads configuration and tokenizer, and raises ModelUnavailable."""

    kind: ClassVar[Kind]

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._weights = Weights(self._checkpoint, self.kind, spec)
        self.dtype = str(self._weights.dtype).removeprefix("torch.")
        self._takes_types = "token_type_ids" in self._tokenizer.model_input_names

    def load(self) -> None:
        """Raises ModelUnavailable."""
        self._weights.load()

    def unload(self) -> None:
        """Give the memory back."""
        self._weights.unload()

    def memory_bytes(self) -> int:
        """Of the weights."""
        return self._weights.memory_bytes()

    def forward(self, rows: Sequence[Sequence[int]]) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """One pass over rows of one text each -> (the model's output, ids, mask)."""
        ids, mask = padded(rows, self._pad, self._weights.device)
        return self._weights.model(input_ids=ids, attention_mask=mask), ids, mask

    def forward_pairs(self, rows: Sequence[Row]) -> Any:
        """One pass over rows of one text or two -> the model's output."""
        ids, mask = padded([row.ids for row in rows], self._pad, self._weights.device)
        types: dict[str, torch.Tensor] = {}
        if self._takes_types:
            ends = torch.tensor([[len(row.ids) if row.second is None else row.second] for row in rows])
            places = torch.arange(ids.shape[1])[None, :]
            types["token_type_ids"] = ((places >= ends).to(ids.device) & (mask > 0)).long()
        return self._weights.model(input_ids=ids, attention_mask=mask, **types)
