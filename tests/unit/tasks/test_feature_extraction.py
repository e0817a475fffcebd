"""Feature extraction in fp32: batched = one by one = the library's hidden states pooled; a checkpoint's own pooling."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from tests.unit import encoders_from_config as made
from tests.unit.models_from_config import CORPUS, DEVICE
from tests.unit.runners import bound, by_each_backend, loaded, model_of
from tests.unit.tasks.running import outcomes, outputs
from textmill.errors import DocumentTooLong, InvalidOptions, ModelUnavailable
from workers.kinds import Embedding
from workers.runner import ModelRunner

FAMILIES = [family for family in made.ENCODERS if family != "bart"]
TEXTS = [*CORPUS, "x", "  two  spaces ", "Olá 😀", ""]
POOLED = {
    "mean": lambda states: states.mean(axis=0),
    "cls": lambda states: states[0],
    "max": lambda states: states.max(axis=0),
}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.save(request.param, "Model", tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    return loaded(made.save("bert", "Model", tmp_path_factory.mktemp("bert")), "feature-extraction", window=64)


def vectors(runner: ModelRunner, texts: list[str], together: bool = True, **options: Any) -> np.ndarray:
    return np.array([output["embedding"] for output in outputs(runner, texts, together, **options)])


@pytest.mark.parametrize("pooling", list(POOLED))
def test_equal_to_the_pipeline_of_transformers_pooled(folder: Path, pooling: str) -> None:
    runners = by_each_backend(folder, "feature-extraction", window=64)
    pipe = tf.pipeline("feature-extraction", model=str(folder), device=DEVICE, dtype=torch.float32)
    expected = np.stack([POOLED[pooling](np.array(pipe(text)[0])) for text in TEXTS])
    for runner, together in itertools.product(runners, (True, False)):
        assert np.allclose(vectors(runner, TEXTS, together, pooling=pooling), expected, atol=3e-5, rtol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.1, "alike answers prove nothing"


def test_normalized_and_cut(bert: ModelRunner) -> None:
    whole = vectors(bert, CORPUS)
    short = vectors(bert, CORPUS, normalize=True, dimensions=8)
    assert short.shape == (len(CORPUS), 8)
    assert np.allclose(short, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(InvalidOptions, match="dimensions is 33; a vector of this model has 32"):
        bound(bert, dimensions=33)


def test_numbers_are_written_as_short_as_they_can_be(bert: ModelRunner) -> None:
    [output] = outputs(bert, CORPUS[:1])
    numbers = output["embedding"]
    assert all(float(np.float32(number)) != number or number == 0 for number in numbers[:4])
    assert max(len(json.dumps(number)) for number in numbers) <= 15


def test_a_long_text_is_the_mean_of_its_windows_by_their_tokens(bert: ModelRunner) -> None:
    text = " ".join(CORPUS * 3)
    prepared = bound(bert).prepare(text)
    assert len(prepared.items) > 2
    parts = np.stack(model_of(bert).vectors([item.payload for item in prepared.items], "mean"))
    expected = np.average(parts, axis=0, weights=[item.length - 2 for item in prepared.items])
    [outcome] = outcomes(bert, [text])
    assert np.allclose(outcome.output["embedding"], expected, atol=1e-5)
    assert outcome.pieces == len(prepared.items)
    with pytest.raises(DocumentTooLong):
        bound(bert, long_documents="error").prepare(text)


def module(kind: str, path: str) -> dict[str, str]:
    return {"type": f"sentence_transformers.models.{kind}", "path": path}


def sentence_transformers(folder: Path, *kinds: str, **pooling: bool) -> Path:
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    (folder / "modules.json").write_text(json.dumps([module(kind, paths.get(kind, kind)) for kind in kinds]))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32} | pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 24}')
    return folder


def test_a_checkpoints_own_pooling_and_window_hold(tmp_path: Path) -> None:
    folder = made.save("bert", "Model", tmp_path)
    assert model_of(loaded(folder, "feature-extraction", window=64)).embedding == Embedding("mean", False)
    sentence_transformers(
        folder, "Transformer", "Pooling", "Normalize", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False
    )
    runner = loaded(folder, "feature-extraction", window=64)
    assert (model_of(runner).embedding, model_of(runner).window) == (Embedding("cls", True), 24)
    [own], [told] = vectors(runner, ["It rained."]), vectors(runner, ["It rained."], pooling="cls", normalize=True)
    assert np.allclose(own, told)
    assert np.linalg.norm(own) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(own, vectors(runner, ["It rained."], pooling="mean"))


@pytest.mark.parametrize(
    ("kinds", "pooling", "problem"),
    [
        (("Transformer", "Pooling", "Dense"), {}, "has a Dense layer"),
        (("Transformer", "Pooling"), {"pooling_mode_weightedmean_tokens": True}, "pools by pooling_mode_weightedmean"),
        (("Transformer", "Pooling"), {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, "pools by"),
    ],
)
def test_what_would_give_other_vectors_is_refused(kinds: Any, pooling: Any, problem: str, tmp_path: Path) -> None:
    folder = sentence_transformers(made.save("bert", "Model", tmp_path), *kinds, **pooling)
    with pytest.raises(ModelUnavailable, match=problem):
        loaded(folder, "feature-extraction", window=64)


def test_a_masked_language_model_gives_vectors_too(tmp_path: Path) -> None:
    """It has no pooler, and needs none."""
    runner = loaded(made.save("bert", "ForMaskedLM", tmp_path), "feature-extraction", window=64)
    assert vectors(runner, CORPUS).shape == (len(CORPUS), 32)
