"""The sentences marked by hand: how a line parses, and that every line of the files does."""

import bz2
from pathlib import Path

import pytest

from models.training.ner_names import HELD_BACK
from models.training.ner_sentences import KEPT_APART, LEARNT, BadMark, parse, read


@pytest.mark.parametrize(
    ("line", "text", "names"),
    [
        ("Rain fell.", "Rain fell.", []),
        ("[PER Ana Sá]'s boat left [LOC Faro].", "Ana Sá's boat left Faro.", [("Ana Sá", "PER"), ("Faro", "LOC")]),
        ("[MISC Franco]-[MISC German] talks", "Franco-German talks", [("Franco", "MISC"), ("German", "MISC")]),
        ("In the [LOC U.S.]", "In the U.S.", [("U.S.", "LOC")]),
        ("[ORG Ford] met [PER Ford]", "Ford met Ford", [("Ford", "ORG"), ("Ford", "PER")]),
    ],
)
def test_a_line_gives_its_text_and_the_places_of_its_names(line: str, text: str, names: list[tuple[str, str]]) -> None:
    found, spans = parse(line)
    assert found == text
    assert [(found[start:end], kind) for start, end, kind in spans] == names
    assert spans == sorted(spans)


@pytest.mark.parametrize(
    "line",
    ["", " Rain", "Rain ", "[PER ]", "[PER  Ana]", "[PER Ana ] left", "[PER .]", "[PERS Ana]", "[PER Ana", "Ana]",
     "[PER [ORG Ana]]", "[1] Ana", "two  spaces"],
)  # fmt: skip
def test_a_line_that_does_not_parse_is_refused(line: str) -> None:
    with pytest.raises(BadMark):
        parse(line)


def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path) -> None:
    (tmp_path / LEARNT).write_bytes(bz2.compress(b"Rain.\n[PER Ana left.\n"))
    with pytest.raises(BadMark, match=r"ner_sentences\.txt\.bz2:2: "):
        list(read(folder=tmp_path))


def test_what_is_learnt_and_what_is_kept_apart_are_different_files(tmp_path: Path) -> None:
    names = [LEARNT, *KEPT_APART.values()]
    assert len(set(names)) == 3
    for name in names:
        (tmp_path / name).write_bytes(bz2.compress(f"[PER {name}] came.\n".encode()))
    assert [chunk["text"] for chunk in read(folder=tmp_path)] == [f"{LEARNT} came."]
    for name in KEPT_APART.values():
        marked = {"source": "sentences", "text": f"{name} came.", "spans": [(0, len(name), "PER")]}
        assert list(read(name, tmp_path)) == [marked]


def test_the_files_parse_and_no_sentence_is_there_twice() -> None:
    texts = [chunk["text"] for name in (LEARNT, *KEPT_APART.values()) for chunk in read(name)]
    assert len(texts) > 100
    assert len(texts) == len(set(texts))
    # Names of the sentence by which the model is accepted: it is to meet them there for the first time.
    assert not [text for text in texts if any(name in text for name in HELD_BACK)]
