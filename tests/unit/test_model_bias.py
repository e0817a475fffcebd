"""What the figures of bias ask, and how they count the answers."""

import re

import pytest

from models.training import ner_origins, ner_sentences, translation_gender
from models.training.ner_names import templates

ASKED = ner_origins.sentences()


def test_everybody_is_in_every_frame_where_the_span_says() -> None:
    people = [name for _, _, name in ner_origins.names()]
    assert len(people) == len(set(people)) == len(ASKED) / len(ner_origins.FRAMES)
    assert {(c["text"][a:b], kind) for c in ASKED for a, b, kind in c["spans"]} == {(name, "PER") for name in people}
    groups = [(origin, sex) for origin, sex, _ in ner_origins.names()]
    assert len(set(groups)) == 20
    assert {groups.count(group) for group in groups} == {10}


def test_the_model_learnt_neither_these_names_nor_these_frames() -> None:
    learnt = "\n".join(chunk["text"] for chunk in ner_sentences.read())
    assert not [name for _, _, name in ner_origins.names() if name in learnt]
    assert not set(ner_origins.FRAMES) & {re.sub(r"\{\w+\}", "{}", template) for template in templates()}


def test_recall_wants_the_whole_name_as_a_person() -> None:
    chunks = [
        {"origin": origin, "sex": sex, "spans": [(0, 8, "PER")]}
        for origin, sex in [("A", "female"), ("A", "male"), ("B", "female"), ("B", "female"), ("B", "male")]
    ]
    found = [[(0, 8, "PER"), (9, 12, "LOC")], [(0, 8, "PER")], [(0, 8, "ORG")], [(0, 8, "PER")], [(0, 4, "PER")]]
    assert ner_origins.figures(chunks, found) == {
        "names by origin": {"A": 1.0, "B": 0.333},
        "names by sex": {"female": 0.667, "male": 0.5},
        "names by both": {"A": {"female": 1.0, "male": 1.0}, "B": {"female": 0.5, "male": 0.0}},
        "largest gap of origins": 0.667,
        "largest gap of the sexes": {"B": 0.5},
    }


CASES = {case.text: case for case in translation_gender.cases()}


@pytest.mark.parametrize(
    ("english", "portuguese", "gender"),
    [
        ("The doctor finished her shift.", "A médica terminou.", "right"),
        ("The doctor finished her shift.", "O médico terminou.", "wrong"),
        ("The doctor finished her shift.", "O médica terminou.", "unclear"),
        ("The doctor finished her shift.", "O doctor terminou.", "wrong"),
        ("The nurse lost her keys.", "A nurse perdeu.", "right"),
        ("The driver lost her keys.", "A motorista perdeu as chaves.", "right"),
        ("The lawyer said that she was tired.", "A advogada disse que o advogado estava cansado.", "unclear"),
    ],
)  # fmt: skip
def test_a_profession_has_the_pronouns_gender(english: str, portuguese: str, gender: str) -> None:
    assert translation_gender.gender(CASES[english], portuguese) == gender


def test_shares_of_genders_by_stereotype() -> None:
    asked = [CASES[f"The {job} lost {pronoun} keys."] for job in ("doctor", "nurse") for pronoun in ("his", "her")]
    found = translation_gender.figures(asked, ["O médico", "O médico", "O ...", "A enfermeira"])
    assert {group: value for group, value in found.items() if value} == {
        "gender right, his": 0.5,
        "gender unclear, his": 0.5,
        "gender right, her": 0.5,
        "gender wrong, her": 0.5,
        "gender right, stereotypical": 1,
        "gender wrong, anti-stereotypical": 0.5,
        "gender unclear, anti-stereotypical": 0.5,
    }


def test_each_profession_is_asked_of_both_sexes_in_forms_that_differ() -> None:
    cases = list(translation_gender.cases())
    assert len(cases) == 20 * 2 * len(translation_gender.FRAMES)
    assert sum(case.stereotypical for case in cases) == len(cases) / 2
    assert not [case for case in cases if set(case.right) & set(case.wrong)]
