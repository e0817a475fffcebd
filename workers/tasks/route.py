"""How items are made for one language pair of a model: what goes around a text, and what a batch must agree on."""

from collections.abc import Sequence

from transformers import GenerationConfig

from textmill.errors import DocumentTooLong
from workers.backends.torch.generation import Settings
from workers.checkpoint.codec import Codec, Frame, Pair
from workers.runner import Item


class Route:
    """Text to items, for one (source, target) pair; (None, None) where the model has no languages."""

    def __init__(
        self, codec: Codec, pair: Pair, frame: Frame, prefix: str, base: GenerationConfig, window: int
    ) -> None:
        self.codec = codec
        self.pair = pair
        self.frame = frame
        self.base = base
        self._prefix = prefix
        around = len(frame.prefix) + len(frame.suffix)
        self.capacity = window - around - (len(codec.encode(prefix)) if prefix else 0)
        """Tokens of the text itself that fit into one item."""
        self._most = window - around

    @property
    def source_lang(self) -> str | None:
        """For sentence ends."""
        return self.pair[0]

    def encode(self, text: str) -> list[int]:
        """Tokens of the text with the model's prefix, special tokens left out."""
        return self.codec.encode(self._prefix + text)

    def fits(self, ids: Sequence[int]) -> bool:
        """Whether these, as `encode` gives them, fit into one item."""
        return len(ids) <= self._most

    def tokens(self, ids: Sequence[int]) -> int:
        """How many of these, as `encode` gives them, are of the text itself."""
        return max(0, len(ids) - (self._most - self.capacity))

    def item(self, ids: Sequence[int], settings: Settings) -> Item:
        """One item of tokens as `encode` gives them."""
        payload = [*self.frame.prefix, *ids, *self.frame.suffix]
        return Item(payload, len(payload), settings.num_beams, (self.pair, settings))

    def refuse(self, tokens: int) -> None:
        """Raises DocumentTooLong where a text of so many tokens does not fit into one item."""
        if tokens > self.capacity:
            raise DocumentTooLong(f"The text has {tokens} tokens, and the model's window takes {self.capacity}.")
