"""Token scores by any `AutoModelForTokenClassification`."""

from collections.abc import Sequence

import torch

from workers.backends.torch.weights import Weights, padded
from workers.checkpoint import checkpoint as checkpoints
from workers.checkpoint.codec import TokenizerCodec
from workers.kinds import Kind, ModelSpec, Scores


class TorchTokenClassifier:
    """One token-classification model on one device. Making it reads configuration and tokenizer, and raises
    ModelUnavailable."""

    def __init__(self, spec: ModelSpec) -> None:
        checkpoint = checkpoints.Checkpoint(spec.source, spec.revision)
        self._weights = Weights(checkpoint, Kind.TOKEN_SCORES, spec)
        config, tokenizer = checkpoint.config(), checkpoint.tokenizer()
        self.codec = TokenizerCodec(tokenizer, config)
        self.window = checkpoints.window(config, tokenizer, spec.window)
        names = {int(index): label for index, label in config.id2label.items()}
        self.labels = [names[index] for index in range(len(names))]
        self.revision = checkpoint.digest()
        self.dtype = str(self._weights.dtype).removeprefix("torch.")
        pad = config.pad_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._pad: int = pad or 0

    def load(self) -> None:
        """Raises ModelUnavailable."""
        self._weights.load()

    def unload(self) -> None:
        """Give the memory back."""
        self._weights.unload()

    def memory_bytes(self) -> int:
        """Of the weights."""
        return self._weights.memory_bytes()

    @torch.inference_mode()
    def token_scores(self, rows: Sequence[Sequence[int]], around: tuple[int, int]) -> list[Scores]:
        """One forward pass."""
        ids, mask = padded(rows, self._pad, self._weights.device)
        logits = self._weights.model(input_ids=ids, attention_mask=mask).logits
        scores = logits.float().softmax(dim=-1).cpu().numpy()
        first, after = around
        return [scores[i, first : len(row) - after] for i, row in enumerate(rows)]
