"""Trims a SentencePiece vocabulary to what a model needs, and writes it as a Marian tokenizer.

The SentencePiece model itself is trimmed, not only its list: a dropped piece then falls apart into smaller ones.
Mapping dropped pieces to the unknown token, as naive trimming does, fills the outputs with the unknown sign.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as proto

EOS, UNK, PAD = "</s>", "<unk>", "<pad>"


def count_pieces(model: Path, texts: Iterable[str]) -> Counter[int]:
    """How often each piece of the SentencePiece model occurs in the texts."""
    processor = spm.SentencePieceProcessor(str(model))
    counts: Counter[int] = Counter()
    for text in texts:
        counts.update(processor.encode(text))
    return counts


def choose(model: Path, counts: Mapping[int, float], size: int, prior: float) -> list[int]:
    """The ids to keep, ascending: the special and one-character pieces, then the most frequent ones.

    `prior` is the number of pieces of general text to add to the counts, spread by the model's own log probabilities:
    it keeps everyday words that the counted domain lacks.
    """
    pieces = proto.ModelProto.FromString(model.read_bytes()).pieces
    must = [i for i, p in enumerate(pieces) if p.type != proto.ModelProto.SentencePiece.NORMAL or len(p.piece) == 1]
    ranked = sorted(
        set(range(len(pieces))) - set(must), key=lambda i: -(counts.get(i, 0) + prior * math.exp(pieces[i].score))
    )
    return sorted(must + ranked[: size - len(must)])


def write_tokenizer(model: Path, keep: list[int], folder: Path) -> None:
    """Write the files of a `MarianTokenizer`: the kept pieces in their order, with the pad token as the last id."""
    folder.mkdir(parents=True, exist_ok=True)
    trimmed = proto.ModelProto.FromString(model.read_bytes())
    pieces = [trimmed.pieces[i] for i in keep]
    del trimmed.pieces[:]
    trimmed.pieces.extend(pieces)
    trimmed.trainer_spec.vocab_size = len(pieces)
    (folder / "source.spm").write_bytes(trimmed.SerializeToString())
    # The target side only puts pieces together, so it does without the table of Unicode normalization (0.24 MB).
    trimmed.normalizer_spec.ClearField("precompiled_charsmap")
    trimmed.normalizer_spec.name = "identity"
    (folder / "target.spm").write_bytes(trimmed.SerializeToString())
    vocabulary = {piece.piece: i for i, piece in enumerate(pieces)} | {PAD: len(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")), "utf-8")
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "eos_token": EOS,
        "unk_token": UNK,
        "pad_token": PAD,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
