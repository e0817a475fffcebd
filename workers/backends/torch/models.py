"""The kinds that torch computes, and what computes each."""

from typing import Any

from workers.backends.torch.decoder import TorchDecoder
from workers.backends.torch.embedder import TorchEmbedder
from workers.backends.torch.encoder_decoder import TorchEncoderDecoder
from workers.backends.torch.mask_filler import TorchMaskFiller
from workers.backends.torch.sequence_classifier import TorchSequenceClassifier
from workers.backends.torch.span_finder import TorchSpanFinder
from workers.backends.torch.token_classifier import TorchTokenClassifier
from workers.kinds import Kind, ModelSpec

_MODELS: dict[Kind, Any] = {
    Kind.GENERATION: TorchEncoderDecoder,
    Kind.CONTINUATION: TorchDecoder,
    Kind.TOKEN_SCORES: TorchTokenClassifier,
    Kind.SEQUENCE_SCORES: TorchSequenceClassifier,
    Kind.SPANS: TorchSpanFinder,
    Kind.MASKS: TorchMaskFiller,
    Kind.VECTORS: TorchEmbedder,
}


def open_model(spec: ModelSpec, kind: Kind) -> Any:
    """The model with its tokenizer. Raises ModelUnavailable."""
    return _MODELS[kind](spec)
