"""Small random encoders and decoders of each family and head, beside those of `models_from_config`, from which their
tokenizers are."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers as tf
from tokenizers import models, pre_tokenizers, trainers

from tests.unit import models_from_config as base
from tests.unit.models_from_config import CORPUS

Family = tuple[type[Any], str, Callable[[], Any], dict[str, Any]]
"""(configuration, how its classes' names begin, tokenizer, settings)."""

_SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
_COMMON = {**_SIZES, "max_position_embeddings": 66, "initializer_range": 0.5}

ENCODERS: dict[str, Family] = {
    "bert": (tf.BertConfig, "Bert", base._word_piece, _COMMON),
    "distilbert": (
        tf.DistilBertConfig, "DistilBert", base._word_piece,
        {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 48, "max_position_embeddings": 66,
         "initializer_range": 0.5},
    ),
    "electra": (tf.ElectraConfig, "Electra", base._word_piece, {**_COMMON, "embedding_size": 32}),
    "albert": (tf.AlbertConfig, "Albert", base._word_piece, {**_COMMON, "embedding_size": 16}),
    "roberta": (tf.RobertaConfig, "Roberta", lambda: base._byte_level(tf.RobertaTokenizer), _COMMON),
    "xlm-roberta": (tf.XLMRobertaConfig, "XLMRoberta", base._xlm_roberta_tokenizer, _COMMON),
    "deberta-v2": (
        tf.DebertaV2Config, "DebertaV2", base._deberta_v2_tokenizer,
        {**_COMMON, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16,
         "max_relative_positions": 64},
    ),
    "bart": (tf.BartConfig, "Bart", lambda: base._byte_level(tf.BartTokenizer), base._SEQ2SEQ),
}  # fmt: skip


def save(family: str, head: str, folder: Path, **settings: Any) -> Path:
    """A checkpoint under `folder`. head: "Model", "ForMaskedLM", "ForSequenceClassification", ...; settings: of its
    configuration, over the family's."""
    config_class, prefix, tokenizer_of, own = ENCODERS[family]
    tokenizer = tokenizer_of()
    special = {
        name: getattr(tokenizer, name)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id")
        if getattr(tokenizer, name) is not None
    }
    config = config_class(vocab_size=len(tokenizer), **{**special, **own, **settings})
    torch.manual_seed(7)
    base._save(folder, getattr(tf, f"{prefix}{head}")(config), tokenizer)
    return folder


# --- decoders ---------------------------------------------------------------------------------------------------------


def _plain_bytes() -> Any:
    """GPT-2's tokenizer: nothing around a text, one special token, which is its end and its padding."""
    backend = base.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    backend.train_from_iterator(CORPUS, trainer)
    state = base.json.loads(backend.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    end = "<|endoftext|>"
    return tf.GPT2Tokenizer(vocab=state["vocab"], merges=merges, eos_token=end, bos_token=end, unk_token=end)


def _llama_tokenizer() -> Any:
    """A start before each text, SentencePiece's mark for a space."""
    backend = base.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=220, special_tokens=["<unk>", "<s>", "</s>"])
    backend.train_from_iterator(CORPUS, trainer)
    state = base.json.loads(backend.to_str())["model"]
    return tf.LlamaTokenizer(vocab=state["vocab"], merges=[tuple(pair) for pair in state["merges"]])


_ROTARY = {**_SIZES, "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.5}

DECODERS: dict[str, tuple[Any, Any, Callable[[], Any], dict[str, Any]]] = {
    "gpt2": (
        tf.GPT2Config, tf.GPT2LMHeadModel, _plain_bytes,
        {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 128, "initializer_range": 0.5},
    ),
    "llama": (tf.LlamaConfig, tf.LlamaForCausalLM, _llama_tokenizer, _ROTARY),
    "qwen2": (tf.Qwen2Config, tf.Qwen2ForCausalLM, _plain_bytes, _ROTARY),
    "llama3": (
        tf.LlamaConfig, tf.LlamaForCausalLM, _llama_tokenizer,
        {**_ROTARY, "tie_word_embeddings": True, "max_position_embeddings": 16_384, "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 4.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        }},
    ),
    "mistral": (tf.MistralConfig, tf.MistralForCausalLM, _llama_tokenizer, {**_ROTARY, "sliding_window": None}),
    "qwen3": (tf.Qwen3Config, tf.Qwen3ForCausalLM, _plain_bytes, {**_ROTARY, "head_dim": 8}),
}  # fmt: skip


CHAT_TEMPLATES = {
    # Qwen's way: every message between two marks, which are tokens of their own where the vocabulary has them.
    "qwen2": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # Llama's: the start once, and the two sides take turns or it says so.
    "llama": "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant must take turns') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}",
}
"""By family of decoders, as their checkpoints have them."""


def save_decoder(
    family: str,
    folder: Path,
    chat_template: str | None = None,
    config: Mapping[str, Any] = MappingProxyType({}),
    **generation: Any,
) -> Path:
    """A checkpoint under `folder`. config: over the family's; generation: of its generation_config.json."""
    config_class, model_class, tokenizer_of, own = DECODERS[family]
    tokenizer = tokenizer_of()
    tokenizer.chat_template = chat_template
    whole = config_class(
        vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None, **{**own, **config},
    )  # fmt: skip
    torch.manual_seed(5)
    model = model_class(whole)
    with torch.no_grad():
        model.get_output_embeddings().weight[whole.eos_token_id] *= 2  # so that texts end, and at different places
    for name, value in generation.items():
        setattr(model.generation_config, name, value)
    return base._save(folder, model, tokenizer)
