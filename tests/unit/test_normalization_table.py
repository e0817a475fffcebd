"""The bundled tokenizers' tables of Unicode normalization: a twelfth of the whole one, and the same pieces of any text.

Compared with the table that SentencePiece has built in; Mozilla's, of which the shipped ones are a part, is a little
older.
"""

import re

import pytest
import sentencepiece as spm
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as proto

from models.training.shipped import MODELS
from models.training.vocabulary import alphabet, rules, smaller_table


def _built_in() -> bytes:
    normalizer = spm.SentencePieceNormalizer(rule_name="nmt_nfkc")
    return bytes(proto.NormalizerSpec.FromString(normalizer.serialized_normalizer_spec()).precompiled_charsmap)


def _shipped(name: str) -> proto.ModelProto:
    return proto.ModelProto.FromString((MODELS / name / "source.spm").read_bytes())


def _with(model: proto.ModelProto, table: bytes) -> spm.SentencePieceProcessor:
    model.normalizer_spec.precompiled_charsmap = table
    return spm.SentencePieceProcessor(model_proto=model.SerializeToString())


WHOLE = _built_in()
MODEL = _shipped("translation-en-pt-small")
SMALLER = smaller_table(WHOLE, alphabet(MODEL))
BY_WHOLE, BY_SMALLER = _with(MODEL, WHOLE), _with(MODEL, SMALLER)


def test_rules_of_known_characters_stay_and_no_others() -> None:
    known, everything = alphabet(MODEL), rules(WHOLE)
    assert len(everything) > 200_000
    assert (everything["ﬁ"], everything["e\u0301"], everything["\u00a0"]) == ("fi", "é", " ")
    kept = rules(SMALLER)
    assert kept.items() <= everything.items()
    assert len(kept) < len(everything) / 10
    for old, new in everything.items():
        if not new or not known.isdisjoint(old + new):
            assert old in kept


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_text_gives_the_same_pieces(text: str) -> None:
    assert pieces(BY_SMALLER, text) == pieces(BY_WHOLE, text)


def test_every_character_gives_the_same_pieces() -> None:
    characters = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(characters), 64):
        text = " a".join(characters[start : start + 64])
        assert pieces(BY_SMALLER, text) == pieces(BY_WHOLE, text)


@pytest.mark.parametrize("name", ["translation-en-pt-small", "summarization-en-small"])
def test_the_shipped_tables_are_such(name: str) -> None:
    table = _shipped(name).normalizer_spec.precompiled_charsmap
    assert len(table) < 25_000
    kept, there = set(rules(SMALLER).items()), set(rules(table).items())
    assert len(kept & there) > 0.95 * len(kept | there)


def pieces(model: spm.SentencePieceProcessor, text: str) -> str:
    """The ids, any number of unknown characters in a row as one."""
    unknown = model.unk_id()
    return re.sub(r"(?:U )+", "U ", "".join("U " if i == unknown else f"{i} " for i in model.encode(text)))
