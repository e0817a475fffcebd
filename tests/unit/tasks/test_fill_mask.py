"""Fill-mask in fp32: batched = one by one = transformers' own pipeline; windows around masks; limits."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from tests.unit import encoders_from_config as made
from tests.unit.models_from_config import CORPUS, DEVICE
from tests.unit.runners import bound, by_each_backend, loaded, model_of
from tests.unit.tasks.running import outcomes, outputs
from textmill.errors import DocumentTooLong, InvalidOptions, MaskMissing
from workers.runner import ModelRunner

FAMILIES = [family for family in made.ENCODERS if family != "bart"]
TEXTS = [
    "The committee met on [MASK] in Berlin.",
    "[MASK]",
    "It rained for [MASK] days; the old [MASK] fell.",
    "Where is the station? It is behind the park, next to a [MASK]",
]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.save(request.param, "ForMaskedLM", tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    return loaded(made.save("bert", "ForMaskedLM", tmp_path_factory.mktemp("bert")), "fill-mask", window=64)


def same(found: list[list[dict[str, Any]]], expected: list[list[dict[str, Any]]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert [word["score"] for word in one] == pytest.approx([word["score"] for word in other], abs=2e-5)
        assert {(w["token_str"], w["sequence"]) for w in one} == {(w["token_str"], w["sequence"]) for w in other}


def of_pipeline(pipe: Any, text: str, **options: Any) -> list[list[dict[str, Any]]]:
    found = pipe(text.replace("[MASK]", pipe.tokenizer.mask_token), **options)
    return found if isinstance(found[0], list) else [found]


def test_equal_to_the_pipeline_of_transformers(folder: Path) -> None:
    runners = by_each_backend(folder, "fill-mask", window=64)
    pipe = tf.pipeline("fill-mask", model=str(folder), device=DEVICE, dtype=torch.float32)
    for runner in runners:
        together, apart = outputs(runner, TEXTS), outputs(runner, TEXTS, False)
        for text, one, other in zip(TEXTS, together, apart, strict=True):
            expected = of_pipeline(pipe, text)
            same(one["masks"], expected)
            same(other["masks"], expected)
            assert len(one["masks"]) == text.count("[MASK]")
            assert all(len(words) == 5 for words in one["masks"])
        assert len({words[0]["token_str"] for output in together for words in output["masks"]}) > 1


def test_only_targets_count(bert: ModelRunner, tmp_path: Path) -> None:
    targets = ["Maria", "Dr", "park"]
    pipe = tf.pipeline("fill-mask", model=bert.spec.source, device=DEVICE, dtype=torch.float32)
    known = [word for word in pipe.tokenizer.get_vocab() if word.isalpha() and len(word) > 3][:3]
    expected = of_pipeline(pipe, TEXTS[0], targets=known, top_k=2)
    [output] = outputs(bert, TEXTS[:1], targets=known, top_k=2)
    same(output["masks"], expected)
    with pytest.raises(InvalidOptions, match="not one token of this model: Mariagold"):
        bound(bert, targets=[known[0], "Mariagold"])
    assert targets


def test_either_way_of_writing_a_mask_is_the_models_own(tmp_path: Path) -> None:
    runner = loaded(made.save("roberta", "ForMaskedLM", tmp_path), "fill-mask", window=64)
    same(outputs(runner, ["It [MASK]."])[0]["masks"], outputs(runner, ["It <mask>."])[0]["masks"])


def test_a_mask_of_a_long_text_is_guessed_in_the_window_around_it(bert: ModelRunner) -> None:
    text = " ".join([*CORPUS, "It [MASK] and [MASK].", *CORPUS, "The [MASK]"])
    prepared = bound(bert).prepare(text)
    mask = model_of(bert).codec.mask[1]
    assert len(prepared.items) == prepared.pieces == 3
    assert all(item.length <= 64 for item in prepared.items)
    for place in prepared.memo:
        row = prepared.items[place.item].payload
        assert row[place.at] == mask
        assert row[: place.at].count(mask) == place.number
        assert place.at > 20, "there is context before it"
    together, apart = outcomes(bert, [text]), outcomes(bert, [text], False)
    same(together[0].output["masks"], apart[0].output["masks"])
    assert len(together[0].output["masks"]) == 3
    with pytest.raises(DocumentTooLong):
        bound(bert, long_documents="error").prepare(text)


def test_a_text_without_a_mask_fails_alone(bert: ModelRunner) -> None:
    for text in ("It rained.", ""):
        with pytest.raises(MaskMissing):
            bound(bert).prepare(text)
