"""The kinds that CTranslate2 computes, and what computes each."""

from typing import Any

from workers.backends.ctranslate2.decoder import CTranslate2Decoder
from workers.backends.ctranslate2.embedder import CTranslate2Embedder
from workers.backends.ctranslate2.encoder_decoder import CTranslate2EncoderDecoder
from workers.backends.ctranslate2.mask_filler import CTranslate2MaskFiller
from workers.backends.ctranslate2.sequence_classifier import CTranslate2SequenceClassifier
from workers.backends.ctranslate2.span_finder import CTranslate2SpanFinder
from workers.backends.ctranslate2.token_classifier import CTranslate2TokenClassifier
from workers.kinds import Kind, ModelSpec

_MODELS: dict[Kind, Any] = {
    Kind.GENERATION: CTranslate2EncoderDecoder,
    Kind.CONTINUATION: CTranslate2Decoder,
    Kind.TOKEN_SCORES: CTranslate2TokenClassifier,
    Kind.SEQUENCE_SCORES: CTranslate2SequenceClassifier,
    Kind.SPANS: CTranslate2SpanFinder,
    Kind.MASKS: CTranslate2MaskFiller,
    Kind.VECTORS: CTranslate2Embedder,
}


def open_model(spec: ModelSpec, kind: Kind) -> Any:
    """The model with its tokenizer, converted. Raises NotOffered, ModelUnavailable."""
    return _MODELS[kind](spec)
