"""Identifiers in translations: none is lost, whatever the model does to them."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from store.catalogue import load
from tests.unit import models_from_config
from tests.unit.models_from_config import DEVICE
from tests.unit.runners import CACHE, bound, loaded, model_of
from tests.unit.tasks.running import outcomes, to_the_end
from workers.kinds import Generated
from workers.models import make, spec_of
from workers.runner import ModelRunner, Outcome, Prepared

MARKED = (Path(__file__).parent / "technical_sentences.txt").read_text(encoding="utf-8").splitlines()
"""Identifiers stand between « and »."""
SENTENCES = [re.sub("[«»]", "", line) for line in MARKED]
IDENTIFIERS = [re.findall("«(.*?)»", line) for line in MARKED]


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    folder = models_from_config.save_seq2seq("marian", tmp_path_factory.mktemp("marian"))
    return loaded(folder, "translation", backend="torch", options={"max_length": 12})


def lost(sentence: str, identifiers: Sequence[str], translation: str) -> list[str]:
    return [each for each in identifiers if translation.count(each) < sentence.count(each)]


def answer(runner: ModelRunner, prepared: Prepared, texts: Sequence[str]) -> list[Generated]:
    """A model that says this of its items."""
    assert len(texts) == len(prepared.items)
    return [Generated(model_of(runner).codec.encode(text), False) for text in texts]


def test_a_random_model_loses_no_identifier(marian: ModelRunner) -> None:
    told = to_the_end(marian, SENTENCES, copy_identifiers=True)
    for sentence, identifiers, outcome in zip(SENTENCES, IDENTIFIERS, told, strict=True):
        assert lost(sentence, identifiers, outcome.output["translation_text"]) == []


def test_without_the_option_it_does(marian: ModelRunner) -> None:
    told = [str(outcome.output["translation_text"]) for outcome in outcomes(marian, SENTENCES[:20])]
    assert any(lost(*each) for each in zip(SENTENCES, IDENTIFIERS, told, strict=False))
    assert outcomes(marian, SENTENCES[:20], copy_identifiers=False) == outcomes(marian, SENTENCES[:20])


@pytest.mark.parametrize(
    "text",
    ["libssl3", "`a b`, /etc/hosts\n\n- x_1 (2.0.1)", "openssl, pcntl, pcre, random", "{PDP-10}: www.example.com/a"],
)
def test_a_document_of_nothing_else_costs_no_model(marian: ModelRunner, text: str) -> None:
    plan = bound(marian, copy_identifiers=True)
    prepared = plan.prepare(text)
    assert not prepared.items
    outcome = plan.assemble(prepared, [])
    assert isinstance(outcome, Outcome)
    assert outcome.output == {"translation_text": text}
    assert bound(marian).prepare(text).items


def test_what_the_model_keeps_is_taken_as_it_is(marian: ModelRunner) -> None:
    plan = bound(marian, copy_identifiers=True)
    outcome = plan.assemble(prepared := plan.prepare("It is 3.1.4 now."), answer(marian, prepared, ["hora 3.1.4"]))
    assert isinstance(outcome, Outcome)
    assert outcome.output == {"translation_text": "hora 3.1.4"}


def test_else_by_stand_ins_and_else_around_it(marian: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three rounds, of a document of two sentences of which one needs them."""
    monkeypatch.setattr("workers.tasks.translation.STAND_IN", "S{}")  # the tiny vocabulary has no X
    plan = bound(marian, copy_identifiers=True)
    first = plan.prepare("It rained. The river is 3.1.4 now.")
    assert len(first.items) == 2
    second = plan.assemble(first, answer(marian, first, ["o", "3 1 4"]))
    assert isinstance(second, Prepared)
    assert len(second.items) == 1
    assert model_of(marian).codec.read(second.items[0].payload).split()[3] == "S1"

    outcome = plan.assemble(second, answer(marian, second, ["hora S1 o"]))
    assert isinstance(outcome, Outcome)
    assert outcome.output == {"translation_text": "o hora 3.1.4 o"}

    third = plan.assemble(second, answer(marian, second, ["hora"]))
    assert isinstance(third, Prepared)
    assert len(third.items) == 2
    last = plan.assemble(third, answer(marian, third, ["rio", "hora"]))
    assert isinstance(last, Outcome)
    assert last.output == {"translation_text": "o rio 3.1.4 hora"}
    assert (last.pieces, last.input_tokens) == (first.pieces, first.input_tokens)


def test_what_was_cut_in_a_try_that_is_thrown_away_does_not_count(marian: ModelRunner) -> None:
    plan = bound(marian, copy_identifiers=True)
    first = plan.prepare("The river is 3.1.4 now.")
    second = plan.assemble(first, [Generated(model_of(marian).codec.encode("o"), True)])
    assert isinstance(second, Prepared)
    while isinstance(second, Prepared):
        second = plan.assemble(second, answer(marian, second, ["hora"] * len(second.items)))
    assert not second.truncated


def test_the_bundled_model_loses_none_of_the_technical_sentences() -> None:
    entry = load(Path(__file__).parents[3] / "models" / "catalogue.toml").entries["translation-en-pt-small"]
    runner = make(spec_of(entry, DEVICE, 1, "float32", CACHE))
    runner.open()
    runner.load()
    assert len(SENTENCES) >= 200
    for sentence, identifiers, outcome in zip(SENTENCES, IDENTIFIERS, to_the_end(runner, SENTENCES), strict=True):
        assert lost(sentence, identifiers, outcome.output["translation_text"]) == []
