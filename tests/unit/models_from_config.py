"""Small random models of each family, built from a configuration, with tokenizers trained on a few sentences.

They speak nonsense, but every code path of the real family runs: its tokenizer's class, its special tokens and language
codes, its positions and its generation settings. Nothing is downloaded. `save_*` write a checkpoint's folder.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

DEVICE = os.environ.get("DEVICE", "cpu")
"""Where the tests of runners run; `DEVICE=cuda` for a GPU."""

CORPUS = [
    "The committee met on Tuesday in Berlin, and Maria Silva spoke about the river.",
    "Dr. John Smith of Acme Corporation said that nothing has changed since 1999.",
    "Olá mundo, o relatório ficou pronto em Lisboa às nove horas da manhã.",
    "It rained for three days; the old bridge fell, and nobody was hurt.",
    "A library of functions for reading, writing and checking small files.",
    "Where is the station? It is behind the park, next to a bakery called Sol.",
    "Numbers such as 3.14, 42 and 1,000 are words too!",
]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
_SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
_SEQ2SEQ = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 128, "init_std": 0.6,
}  # fmt: skip


# --- token classification --------------------------------------------------------------------------------------------


def _word_piece() -> Any:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=260, special_tokens=special))
    return tf.BertTokenizer(vocab=backend.get_vocab(), do_lower_case=False, model_max_length=64)


def _byte_level(backend_class: Any) -> Any:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    backend.train_from_iterator(CORPUS, trainer)
    state = json.loads(backend.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    return backend_class(vocab=state["vocab"], merges=merges, model_max_length=128)


def _unigram(special: list[str]) -> list[tuple[str, float]]:
    """Pieces and scores, the special ones first."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=200, unk_token="<unk>", special_tokens=["<unk>"])
    )
    learned = json.loads(backend.to_str())["model"]["vocab"]
    return [(s, 0.0) for s in special] + [(p, score) for p, score in learned if p not in special]


tf.utils.logging.disable_progress_bar()


def _save(folder: Path, model: Any, tokenizer: Any) -> Path:
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _token_classifier(config_class: Any, model_class: Any, tokenizer: Any, **extra: Any) -> tuple[Any, Any]:
    sizes: dict[str, Any] = {**_SIZES, "max_position_embeddings": 66, "initializer_range": 0.5, **extra}
    if config_class is tf.DistilBertConfig:
        sizes = {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 48, "max_position_embeddings": 66,
                 "initializer_range": 0.5}  # fmt: skip
    config = config_class(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        **sizes,
    )
    torch.manual_seed(7)
    return model_class(config), tokenizer


def _xlm_roberta_tokenizer() -> Any:
    return tf.XLMRobertaTokenizer(
        vocab=[*_unigram(["<s>", "<pad>", "</s>", "<unk>"]), ("<mask>", 0.0)], model_max_length=64
    )


def _deberta_v2_tokenizer() -> Any:
    return tf.DebertaV2Tokenizer(vocab=_unigram(["[PAD]", "[CLS]", "[SEP]", "[UNK]"]), model_max_length=64)


NER_FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bert": lambda: _token_classifier(tf.BertConfig, tf.BertForTokenClassification, _word_piece()),
    "distilbert": lambda: _token_classifier(tf.DistilBertConfig, tf.DistilBertForTokenClassification, _word_piece()),
    "electra": lambda: _token_classifier(tf.ElectraConfig, tf.ElectraForTokenClassification, _word_piece()),
    "roberta": lambda: _token_classifier(
        tf.RobertaConfig, tf.RobertaForTokenClassification, _byte_level(tf.RobertaTokenizer)
    ),
    "xlm-roberta": lambda: _token_classifier(
        tf.XLMRobertaConfig, tf.XLMRobertaForTokenClassification, _xlm_roberta_tokenizer()
    ),
    "deberta-v2": lambda: _token_classifier(
        tf.DebertaV2Config, tf.DebertaV2ForTokenClassification, _deberta_v2_tokenizer(),
        relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16, max_relative_positions=64,
    ),
}  # fmt: skip


def save_ner(family: str, folder: Path) -> Path:
    """A checkpoint of that family under `folder`."""
    return _save(folder, *NER_FAMILIES[family]())
