"""From a model of transformers to CTranslate2's specification of it, with its own converters' classes.

What differs from what those do by themselves:

- Tokens are named by their numbers ("0", "1", ...), and no token is special: what a text is made of, where decoding
  starts and what ends it is said with each call. So nothing depends on what a tokenizer calls its tokens, or on how
  many it has.
- Marian's padding stays in the vocabulary, as the start of decoding: its embedding is what the checkpoint has, and
  whether it may be generated is for the generation settings to say.
- Configurations of transformers 5 lack fields that the converters read.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ctranslate2.converters import transformers as converters
from ctranslate2.specs.model_spec import OPTIONAL
from torch import nn

from workers.kinds import Kind

NO_TOKEN = "<none>"
"""A name that no token has, where CTranslate2 wants that of a special one: it answers a text of special tokens alone
with nothing, where transformers' `generate()` says something."""


class _Marian(converters.BartLoader):  # type: ignore[misc]
    """The converter's own takes the padding out, and starts from a zero embedding in its place."""


class _T5(converters.T5Loader):  # type: ignore[misc]
    """What scales the decoder's output has a field of its own in transformers 5, and mT5 never did."""

    def get_model_spec(self, model: Any) -> Any:
        spec = super().get_model_spec(model)
        scaled = getattr(model.config, "scale_decoder_outputs", False)
        spec.decoder.scale_outputs = model.config.d_model**-0.5 if scaled else OPTIONAL
        return spec


class _Bert(converters.RobertaLoader):  # type: ignore[misc]
    """BERT and its kin: one class for all, since the converter's for BERT wants a pooler, which none has here."""

    def set_position_encodings(self, spec: Any, module: nn.Embedding) -> None:
        unused = 0 if module.padding_idx is None else module.padding_idx + 1
        spec.encodings = module.weight[unused:]


_SEQ2SEQ: Mapping[str, tuple[Callable[[], Any], Mapping[str, Any]]] = {
    "bart": (converters.BartLoader, {"normalize_before": False, "normalize_embedding": True}),
    "marian": (_Marian, {"normalize_before": False, "normalize_embedding": False}),
    "m2m_100": (converters.M2M100Loader, {}),
    "mbart": (converters.MBartLoader, {"normalize_before": True, "normalize_embedding": True}),
    "pegasus": (converters.PegasusLoader, {"normalize_before": True, "normalize_embedding": False}),
    "t5": (_T5, {}),
    "mt5": (_T5, {}),
}
"""By `model_type`: the converter, and what it reads from a configuration that does not say it."""


_DECODERS: Mapping[str, tuple[Callable[[], Any], str]] = {
    "gpt2": (converters.GPT2Loader, "layer_norm_epsilon"),
    "llama": (converters.LlamaLoader, "rms_norm_eps"),
    "mistral": (converters.MistralLoader, "rms_norm_eps"),
    "qwen2": (converters.Qwen2Loader, "rms_norm_eps"),
    "qwen3": (converters.Qwen3Loader, "rms_norm_eps"),
}
"""By `model_type`: the converter, and what the configuration calls its normalization's epsilon."""


_ENCODERS: Mapping[str, Callable[[], Any]] = {
    "bert": _Bert,
    "roberta": _Bert,
    "xlm-roberta": _Bert,
    "camembert": _Bert,
    "distilbert": converters.DistilBertLoader,
}


def of(model: Any, kind: Kind) -> Any:
    """The specification of a model of that kind."""
    return {Kind.GENERATION: encoder_decoder, Kind.CONTINUATION: decoder}.get(kind, encoder)(model)


def encoder_decoder(model: Any) -> Any:
    """The specification of an `AutoModelForSeq2SeqLM`."""
    converter, fields = _SEQ2SEQ[model.config.model_type]
    for name, value in fields.items():
        setattr(model.config, name, value)
    spec = converter().get_model_spec(model)
    names = token_names(model.get_input_embeddings().weight.shape[0])
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.bos_token = spec.config.eos_token = NO_TOKEN
    spec.config.unk_token = names[0]
    spec.config.decoder_start_token = None  # the first token of each call's prefix
    return spec


def encoder(model: Any) -> Any:
    """The specification of the encoder under any head, or of a bare one. Poolers are part of the heads."""
    config, base = model.config, model.base_model
    config.position_embedding_type = "absolute"
    base.pooler = None
    spec = _ENCODERS[config.model_type]().get_model_spec(base)
    names = token_names(base.get_input_embeddings().weight.shape[0])
    spec.register_vocabulary(names)
    spec.config.unk_token = names[0]
    spec.config.layer_norm_epsilon = getattr(config, "layer_norm_eps", 1e-12)  # DistilBERT's is built in
    return spec


def decoder(model: Any) -> Any:
    """The specification of an `AutoModelForCausalLM`."""
    config = model.config
    converter, epsilon = _DECODERS[config.model_type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the converters read `rope_scaling`, by transformers' old name
        spec = converter().get_model_spec(model)
    names = token_names(model.get_input_embeddings().weight.shape[0])
    spec.register_vocabulary(names)
    spec.config.bos_token = spec.config.eos_token = NO_TOKEN
    spec.config.unk_token = names[0]
    spec.config.layer_norm_epsilon = getattr(config, epsilon)
    return spec


def token_names(count: int) -> list[str]:
    """What the tokens are called."""
    return [str(token) for token in range(count)]
