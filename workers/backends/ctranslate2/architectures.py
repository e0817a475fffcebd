"""Which architectures CTranslate2 computes, and what of their configuration has to be as it expects.

Its converters look at the class of a configuration alone; what they leave out of account is looked at here, so that a
model that would be computed wrongly is torch's.
"""

from collections.abc import Callable, Mapping
from typing import Any

from workers.kinds import Kind

ACTIVATIONS = frozenset(
    {"gelu", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish"}
)

T5_EPSILON = 1e-6
"""Of its normalization, built into CTranslate2."""


LLAMA3_POSITIONS = 8_192
"""That Llama 3 was trained with before its positions were stretched, built into CTranslate2."""


def _bart(config: Any) -> str | None:
    if config.encoder_attention_heads != config.decoder_attention_heads:
        return "its encoder and its decoder have different numbers of attention heads"
    return _activation(config.activation_function)


def _marian(config: Any) -> str | None:
    if not getattr(config, "share_encoder_decoder_embeddings", True):
        return "its encoder and its decoder have vocabularies of their own"
    return _bart(config)


def _t5(config: Any) -> str | None:
    if config.layer_norm_epsilon != T5_EPSILON:
        return f"its layer_norm_epsilon is not {T5_EPSILON}"
    return _activation(config.dense_act_fn)


def _bert(config: Any) -> str | None:
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return f"its positions are {config.position_embedding_type}"
    if getattr(config, "is_decoder", False):
        return "it is a decoder"
    return _activation(config.hidden_act)


def _distilbert(config: Any) -> str | None:
    return _activation(config.activation)


def _gpt2(config: Any) -> str | None:
    if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights:
        return "its attention is scaled otherwise"
    return _activation(config.activation_function)


def _llama(config: Any) -> str | None:
    rope = getattr(config, "rope_parameters", None) or {}
    if (kind := rope.get("rope_type", "default")) not in ("default", "llama3"):
        return f"its rotary positions are of the kind {kind}"
    if kind == "llama3" and rope.get("original_max_position_embeddings") != LLAMA3_POSITIONS:
        return f"its rotary positions were not made for {LLAMA3_POSITIONS} tokens at first"
    if rope.get("partial_rotary_factor", 1) != 1:
        return "only a part of its heads is rotated"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "its attention slides"
    if config.hidden_act not in ("silu", "swish"):
        return f"its activation is {config.hidden_act}"
    return None


def _activation(name: str) -> str | None:
    return None if name in ACTIVATIONS else f"its activation is {name}"


_ENCODERS: Mapping[str, Callable[[Any], str | None]] = {
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
    "camembert": _bert,
    "distilbert": _distilbert,
}
"""Under any head: `heads.py` has those."""

KNOWN: Mapping[Kind, Mapping[str, Callable[[Any], str | None]]] = {
    Kind.GENERATION: {
        "bart": _bart,
        "marian": _marian,
        "m2m_100": _bart,
        "mbart": _bart,
        "pegasus": _bart,
        "t5": _t5,
        "mt5": _t5,
    },
    Kind.CONTINUATION: {
        "gpt2": _gpt2,
        "llama": _llama,
        "mistral": _llama,
        "qwen2": _llama,
        "qwen3": _llama,
    },
    Kind.TOKEN_SCORES: _ENCODERS,
    Kind.SEQUENCE_SCORES: _ENCODERS,
    Kind.SPANS: _ENCODERS,
    Kind.MASKS: _ENCODERS,
    Kind.VECTORS: _ENCODERS,
}
"""By `model_type`: what is wrong with a configuration, or None. `specs.py` has a way to convert each."""


def objection(config: Any, kind: Kind) -> str | None:
    """Why the model of this configuration cannot be computed; None: it can."""
    look = KNOWN[kind].get(config.model_type)
    return f"it does not know the architecture {config.model_type}" if look is None else look(config)
