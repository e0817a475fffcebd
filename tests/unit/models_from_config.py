"""Small random models of each family, built from a configuration, with tokenizers trained on a few sentences.

They speak nonsense, but every code path of the real family runs: its tokenizer's class, its special tokens and language
codes, its positions and its generation settings. Nothing is downloaded. `save_*` write a checkpoint's folder.
"""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers as tf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

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
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted({word for text in CORPUS for word in text.split()})
    parts = sorted(
        {piece for word in words for piece in (*word, *(f"##{c}" for c in word), word[:3], f"##{word[-3:]}")}
    )
    pieces = dict.fromkeys([*special, *parts, *words[::2]])
    return tf.BertTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=False, model_max_length=64
    )


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
    """Pieces and scores, the special ones first. Not by tokenizers' own trainer, which learns others in each run."""
    learned = sentencepiece.SentencePieceProcessor(model_proto=_trained_sentence_piece())
    ids = (i for i in range(learned.get_piece_size()) if not (learned.is_unknown(i) or learned.is_control(i)))
    return [(s, 0.0) for s in special] + [
        (learned.id_to_piece(i), learned.get_score(i)) for i in ids if learned.id_to_piece(i) not in special
    ]


def _trained_sentence_piece() -> bytes:
    """A tiny SentencePiece model."""
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4), model_writer=file, vocab_size=150, hard_vocab_limit=False, minloglevel=2
    )
    return file.getvalue()


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
    "camembert": lambda: _token_classifier(
        tf.CamembertConfig, tf.CamembertForTokenClassification, _xlm_roberta_tokenizer()
    ),
    "deberta-v2": lambda: _token_classifier(
        tf.DebertaV2Config, tf.DebertaV2ForTokenClassification, _deberta_v2_tokenizer(),
        relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16, max_relative_positions=64,
    ),
}  # fmt: skip


def save_ner(family: str, folder: Path) -> Path:
    """A checkpoint of that family under `folder`."""
    return _save(folder, *NER_FAMILIES[family]())


# --- sequence to sequence --------------------------------------------------------------------------------------------


def _sentence_piece(folder: Path, name: str) -> Path:
    """A tiny SentencePiece model's file."""
    path = folder / name
    path.write_bytes(_trained_sentence_piece())
    return path


def _piece_vocabulary(spm: Path, special: list[str]) -> dict[str, int]:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    return {token: i for i, token in enumerate([*special, *(p for p in pieces if p not in special)])}


def _marian_tokenizer(folder: Path, targets: tuple[str, ...] = ()) -> Any:
    spm = _sentence_piece(folder, "spm.model")
    special = ["</s>", "<unk>", *(f">>{target}<<" for target in targets)]
    vocabulary = _piece_vocabulary(spm, special)
    vocabulary["<pad>"] = len(vocabulary)
    path = folder / "marian-vocab.json"
    path.write_text(json.dumps(vocabulary))
    return tf.MarianTokenizer(str(spm), str(spm), str(path), model_max_length=128)


def _m2m100_tokenizer(folder: Path) -> Any:
    spm = _sentence_piece(folder, "spm.model")
    path = folder / "m2m-vocab.json"
    path.write_text(json.dumps(_piece_vocabulary(spm, ["<s>", "<pad>", "</s>", "<unk>"])))
    return tf.M2M100Tokenizer(str(path), str(spm), model_max_length=128)


def _nllb_tokenizer(folder: Path) -> Any:
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=220, special_tokens=special))
    state = json.loads(backend.to_str())["model"]
    return tf.NllbTokenizer(vocab=state["vocab"], merges=[tuple(m) for m in state["merges"]], model_max_length=128)


def _seq2seq(
    config_class: Any, model_class: Any, tokenizer: Any, start: int, seed: int = 11, **extra: Any
) -> tuple[Any, Any]:
    # Embeddings of special tokens added later (languages) lie above the vocabulary's own ids.
    languages = getattr(tokenizer, "lang_code_to_id", {})
    size = max(len(tokenizer), 1 + max([*tokenizer.get_vocab().values(), *languages.values()]))
    config = config_class(
        vocab_size=size, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id, decoder_start_token_id=start, forced_eos_token_id=None,
        **{**_SEQ2SEQ, **extra},
    )  # fmt: skip
    torch.manual_seed(seed)
    return _lively(model_class(config)), tokenizer


def _lively(model: Any) -> Any:
    """Random models repeat themselves whatever they read, and hardly ever end: more weight on what they read, and on
    the end's embedding, makes their answers differ and stop."""
    model.generation_config.max_length = 14
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "encoder_attn.out_proj" in name or "EncDecAttention.o" in name:
                weight *= 4
        model.get_input_embeddings().weight[model.config.eos_token_id] *= 2
    return model


def _bart(folder: Path) -> tuple[Any, Any]:
    tokenizer = _byte_level(tf.BartTokenizer)
    model, _ = _seq2seq(tf.BartConfig, tf.BartForConditionalGeneration, tokenizer, tokenizer.eos_token_id)
    model.generation_config.forced_bos_token_id = tokenizer.bos_token_id
    model.generation_config.forced_eos_token_id = tokenizer.eos_token_id
    model.generation_config.no_repeat_ngram_size = 3
    return model, tokenizer


def _marian(folder: Path) -> tuple[Any, Any]:
    tokenizer = _marian_tokenizer(folder)
    model, _ = _seq2seq(tf.MarianConfig, tf.MarianMTModel, tokenizer, tokenizer.pad_token_id, scale_embedding=True)
    model.generation_config.bad_words_ids = [[tokenizer.pad_token_id]]
    model.generation_config.renormalize_logits = True
    return model, tokenizer


def _marian_multilingual(folder: Path) -> tuple[Any, Any]:
    tokenizer = _marian_tokenizer(folder, ("por", "fra"))
    return _seq2seq(tf.MarianConfig, tf.MarianMTModel, tokenizer, tokenizer.pad_token_id, seed=29)


def _m2m100(folder: Path) -> tuple[Any, Any]:
    tokenizer = _m2m100_tokenizer(folder)
    return _seq2seq(tf.M2M100Config, tf.M2M100ForConditionalGeneration, tokenizer, tokenizer.eos_token_id)


def _nllb(folder: Path) -> tuple[Any, Any]:
    tokenizer = _nllb_tokenizer(folder)
    return _seq2seq(tf.M2M100Config, tf.M2M100ForConditionalGeneration, tokenizer, tokenizer.eos_token_id)


def _fairseq_unigram() -> list[tuple[str, float]]:
    return _unigram(["<s>", "<pad>", "</s>", "<unk>"])


def _mbart(folder: Path) -> tuple[Any, Any]:
    from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

    codes = [(code, 0.0) for code in FAIRSEQ_LANGUAGE_CODES]
    tokenizer = tf.MBartTokenizer(vocab=[*_fairseq_unigram(), *codes, ("<mask>", 0.0)], model_max_length=128)
    return _seq2seq(tf.MBartConfig, tf.MBartForConditionalGeneration, tokenizer, tokenizer.eos_token_id)


def _mbart50(folder: Path) -> tuple[Any, Any]:
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES

    codes = [(code, 0.0) for code in FAIRSEQ_LANGUAGE_CODES]
    tokenizer = tf.MBart50Tokenizer(vocab=[*_fairseq_unigram(), *codes, ("<mask>", 0.0)], model_max_length=128)
    return _seq2seq(tf.MBartConfig, tf.MBartForConditionalGeneration, tokenizer, tokenizer.eos_token_id)


def _pegasus(folder: Path) -> tuple[Any, Any]:
    special = ["<pad>", "</s>", "<mask_1>", "<mask_2>", *(f"<unk_{i}>" for i in range(2, 103)), "<unk>"]
    tokenizer = tf.PegasusTokenizer(vocab=_unigram(special), model_max_length=128)
    return _seq2seq(tf.PegasusConfig, tf.PegasusForConditionalGeneration, tokenizer, tokenizer.pad_token_id)


def _t5(folder: Path) -> tuple[Any, Any]:
    extra = [(f"<extra_id_{i}>", 0.0) for i in range(9, -1, -1)]
    tokenizer = tf.T5Tokenizer(
        vocab=[*_unigram(["<pad>", "</s>", "<unk>"]), *extra], extra_ids=10, model_max_length=128
    )
    config = tf.T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, initializer_factor=3.0,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        task_specific_params={
            "summarization": {"prefix": "summarize: ", "num_beams": 2, "no_repeat_ngram_size": 2},
            "translation_en_to_pt": {"prefix": "translate English to Portuguese: "},
        },
    )  # fmt: skip
    torch.manual_seed(12)
    return _lively(tf.T5ForConditionalGeneration(config)), tokenizer


SEQ2SEQ_FAMILIES: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "bart": _bart,
    "marian": _marian,
    "marian-multilingual": _marian_multilingual,
    "m2m100": _m2m100,
    "nllb": _nllb,
    "mbart": _mbart,
    "mbart50": _mbart50,
    "pegasus": _pegasus,
    "t5": _t5,
}


def save_seq2seq(family: str, folder: Path) -> Path:
    """A checkpoint of that family in a folder of its own under `folder`."""
    return _save(folder / family, *SEQ2SEQ_FAMILIES[family](folder))
