"""Trims a SentencePiece vocabulary to what a model needs, and writes it as a Marian tokenizer.

The SentencePiece model itself is trimmed, not only its list: a dropped piece then falls apart into smaller ones.
Mapping dropped pieces to the unknown token, as naive trimming does, fills the outputs with the unknown sign.
"""

import json
import math
import struct
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
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
    normalizer = trimmed.normalizer_spec
    normalizer.precompiled_charsmap = smaller_table(normalizer.precompiled_charsmap, alphabet(trimmed))
    (folder / "source.spm").write_bytes(trimmed.SerializeToString())
    # The target side only puts pieces together, so it does without the table of Unicode normalization.
    normalizer.ClearField("precompiled_charsmap")
    normalizer.name = "identity"
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


# --- the table of Unicode normalization -------------------------------------------------------------------------------


def alphabet(model: proto.ModelProto) -> set[str]:
    """The characters that the model has pieces for, and the space."""
    normal = proto.ModelProto.SentencePiece.NORMAL
    return {character for piece in model.pieces if piece.type == normal for character in piece.piece} | {" "}


def smaller_table(table: bytes, known: Collection[str]) -> bytes:
    """The table's rules that have a character of `known` on either side, or nothing on the right.

    And, since the longest rule counts, those that begin as one of them does. The others turn characters that are
    unknown into others that are: of 224,711 rules 12,411 stay, 20 kB of 238.
    """
    whole = rules(table)
    told = {old for old, new in whole.items() if not new or not known.isdisjoint(old + new)}
    kept = {old: new for old, new in whole.items() if any(old[: n + 1] in told for n in range(len(old)))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        lines = ["\t".join(" ".join(f"{ord(c):X}" for c in side) for side in rule) for rule in sorted(kept.items())]
        (path / "rules.tsv").write_text("\n".join(lines) + "\n")
        # Only the trainer compiles tables. What it learns here is thrown away.
        (path / "text").write_text("a b c d e f g h\n")
        spm.SentencePieceTrainer.train(
            input=path / "text", model_prefix=path / "made", vocab_size=20, hard_vocab_limit=False, minloglevel=2,
            normalization_rule_tsv=path / "rules.tsv",
        )  # fmt: skip
        made = proto.ModelProto.FromString((path / "made.model").read_bytes())
    return bytes(made.normalizer_spec.precompiled_charsmap)


def rules(table: bytes) -> dict[str, str]:
    """What a `precompiled_charsmap` turns into what.

    SentencePiece's form: the size of a double-array trie in bytes (uint32), its units (uint32 each, as Darts-clone has
    them: a label of 8 bits, a leaf's mark, an offset), and the right sides, each ended by a zero byte.
    """
    (size,) = struct.unpack_from("<I", table)
    units, texts = struct.unpack_from(f"<{size // 4}I", table, 4), table[4 + size :]

    def children(at: int) -> int:
        return at ^ (units[at] >> 10 << ((units[at] & 0x200) >> 6))

    found = {}
    waiting = [(children(0), b"")]
    while waiting:
        base, prefix = waiting.pop()
        for byte in range(1, 256):
            at = base ^ byte
            if at >= len(units) or units[at] & 0x800000FF != byte:
                continue
            key, below = prefix + bytes([byte]), children(at)
            if units[at] >> 8 & 1:
                start = units[below] & 0x7FFFFFFF
                found[key.decode()] = texts[start : texts.index(0, start)].decode()
            waiting.append((below, key))
    return found
