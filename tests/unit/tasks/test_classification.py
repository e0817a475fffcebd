"""Text and zero-shot classification in fp32: batched = one by one = transformers' own pipelines; windows, limits."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from tests.unit import encoders_from_config as made
from tests.unit.models_from_config import CORPUS, DEVICE
from tests.unit.runners import bound, by_each_backend, loaded, model_of, opened
from tests.unit.tasks.running import outcomes, outputs
from textmill import tasks
from textmill.errors import DocumentTooLong, InvalidOptions, ModelUnavailable
from workers.kinds import Row
from workers.runner import ModelRunner

FAMILIES = list(made.ENCODERS)
TEXTS = [*CORPUS[2:], "x", "  two  spaces ", "Olá 😀", ""]
TOPICS = {0: "politics", 1: "weather", 2: "software", 3: "travel"}
INFERENCE = {0: "contradiction", 1: "neutral", 2: "entailment"}
LABELS = ["the weather", "software", "a person"]


def save(family: str, folder: Path, labels: dict[int, str], **settings: Any) -> Path:
    names = {name: index for index, name in labels.items()}
    return made.save(family, "ForSequenceClassification", folder, id2label=labels, label2id=names, **settings)


@pytest.fixture(scope="module", params=FAMILIES)
def topics(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param), TOPICS)


@pytest.fixture(scope="module", params=FAMILIES)
def inference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param), INFERENCE)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    return loaded(save("bert", tmp_path_factory.mktemp("bert"), TOPICS), "text-classification", window=64)


@functools.cache
def both(folder: Path, task: str) -> tuple[list[ModelRunner], Any]:
    """Ours by each backend, and the library's."""
    pipe = tf.pipeline(task, model=str(folder), device=DEVICE, dtype=torch.float32)
    return by_each_backend(folder, task, window=64), pipe


def scores(labels: list[dict[str, Any]]) -> dict[str, float]:
    return {label["label"]: label["score"] for label in labels}


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert scores(one) == pytest.approx(scores(other), abs=2e-5, rel=1e-4)
    assert [label["score"] for label in one] == sorted((label["score"] for label in one), reverse=True)


# --- text classification ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [None, "sigmoid", "none"])
def test_equal_to_the_pipeline_of_transformers(topics: Path, function: str | None) -> None:
    runners, pipe = both(topics, "text-classification")
    options = {} if function is None else {"function_to_apply": function}
    for runner in runners:
        together = outputs(runner, TEXTS, top_k=10, **options)
        apart = outputs(runner, TEXTS, False, top_k=10, **options)
        for text, one, other in zip(TEXTS, together, apart, strict=True):
            expected = pipe(text, top_k=None, **options)
            same(one["labels"], expected)
            same(other["labels"], expected)
            assert len(one["labels"]) == 4
        assert len({round(output["labels"][0]["score"], 4) for output in together}) > 3, "alike answers prove nothing"


@pytest.mark.parametrize(
    ("settings", "function"),
    [
        ({"problem_type": "regression"}, "none"),
        ({"problem_type": "multi_label_classification"}, "sigmoid"),
        ({"problem_type": "single_label_classification"}, "softmax"),
        ({}, "softmax"),
    ],
)
def test_the_configuration_says_what_makes_the_scores(settings: Any, function: str, tmp_path: Path) -> None:
    folder = save("distilbert", tmp_path, TOPICS, **settings)
    runner = loaded(folder, "text-classification", window=64)
    assert model_of(runner).function == function
    pipe = tf.pipeline("text-classification", model=str(folder), device=DEVICE, dtype=torch.float32)
    [output] = outputs(runner, [CORPUS[0]], top_k=10)
    same(output["labels"], pipe(CORPUS[0], top_k=None))
    [output] = outputs(runner, [CORPUS[0]])
    assert len(output["labels"]) == 1, "as the pipeline: the best one, unless more are asked for"


def test_a_long_text_is_the_mean_of_its_windows_by_their_tokens(bert: ModelRunner) -> None:
    text = " ".join(CORPUS * 3)
    plan = bound(bert, top_k=10, function_to_apply="none")
    prepared = plan.prepare(text)
    assert len(prepared.items) > 2
    assert all(item.length == len(item.payload.ids) <= 64 for item in prepared.items)
    inside = [token for item in prepared.items for token in item.payload.ids[1:-1]]
    assert inside == model_of(bert).codec.encode(text), "every token is in one window, once"
    logits = np.stack(model_of(bert).logits([item.payload for item in prepared.items]))
    weights = [item.length - 2 for item in prepared.items]
    expected = (logits * np.array(weights)[:, None]).sum(0) / sum(weights)
    [outcome] = outcomes(bert, [text], top_k=10, function_to_apply="none")
    assert scores(outcome.output["labels"]) == pytest.approx(
        {TOPICS[i]: value for i, value in enumerate(expected.tolist())}, abs=1e-4
    )
    assert (outcome.pieces, outcome.input_tokens) == (len(prepared.items), sum(weights))
    with pytest.raises(DocumentTooLong, match=f"{sum(weights)} tokens"):
        bound(bert, long_documents="error").prepare(text)


def test_its_labels_are_those_of_the_configuration() -> None:
    config = {"id2label": {"10": "j", "2": "b", "0": "a"}}
    assert tasks.get("sentiment-analysis").labels(config) == ["a", "b", "j"]


# --- zero-shot --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multi_label", [False, True])
def test_zero_shot_is_equal_to_the_pipeline_of_transformers(inference: Path, multi_label: bool) -> None:
    runners, pipe = both(inference, "zero-shot-classification")
    template = "It is about {}."
    # Where a text does not fit, the pipeline cuts it, and says nothing.
    codec = model_of(runners[0]).codec
    texts = [text for text in TEXTS if 0 < len(codec.encode(text)) < 40]
    assert len(texts) > 4
    options = {"candidate_labels": LABELS, "hypothesis_template": template, "multi_label": multi_label}
    for runner in runners:
        together, apart = outputs(runner, texts, **options), outputs(runner, texts, False, **options)
        for text, one, other in zip(texts, together, apart, strict=True):
            expected = pipe(text, LABELS, hypothesis_template=template, multi_label=multi_label)
            wanted = dict(zip(expected["labels"], expected["scores"], strict=True))
            for found in (one, other):
                assert scores(found["labels"]) == pytest.approx(wanted, abs=3e-5)
                assert found["labels"][0]["score"] == max(wanted.values()) or multi_label or len(wanted) > 1


@pytest.fixture(scope="module")
def zero_shot(tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    folder = save("roberta", tmp_path_factory.mktemp("roberta"), INFERENCE)
    return loaded(folder, "zero-shot-classification", window=64)


def test_one_label_alone_is_judged_by_itself(zero_shot: ModelRunner) -> None:
    [alone] = outputs(zero_shot, [CORPUS[0]], candidate_labels=["software"])
    [beside] = outputs(zero_shot, [CORPUS[0]], candidate_labels=["software", "travel"], multi_label=True)
    assert alone["labels"][0]["score"] == pytest.approx(scores(beside["labels"])["software"], abs=1e-5)


def test_a_long_premise_is_read_in_windows_beside_each_label(zero_shot: ModelRunner) -> None:
    text = " ".join(CORPUS * 3)
    prepared = bound(zero_shot, candidate_labels=LABELS).prepare(text)
    assert len(prepared.items) == prepared.pieces * len(LABELS)
    assert prepared.pieces > 2
    assert all(item.length <= 64 for item in prepared.items)
    [output] = outputs(zero_shot, [text], candidate_labels=LABELS)
    assert sum(label["score"] for label in output["labels"]) == pytest.approx(1)
    with pytest.raises(DocumentTooLong):
        bound(zero_shot, candidate_labels=LABELS, long_documents="error").prepare(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs labels to choose from"),
        ({"candidate_labels": []}, "at least 1 item"),
        ({"candidate_labels": ["a", "b", "a"]}, "names a twice"),
        ({"candidate_labels": [""]}, "at least 1 character"),
        ({"candidate_labels": ["a"], "hypothesis_template": "This is."}, "has no {} where the label stands"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(zero_shot: ModelRunner, options: Any, message: str) -> None:
    with pytest.raises(InvalidOptions, match=message):
        tasks.get("zero-shot-classification").canonical(zero_shot.spec, options)


def test_a_template_is_text_and_no_format(zero_shot: ModelRunner) -> None:
    template = "{0.__class__} {} {x}"
    bound(zero_shot, candidate_labels=["a"], hypothesis_template=template).prepare("It rained.")


def test_a_label_that_fills_the_window_is_refused(zero_shot: ModelRunner) -> None:
    with pytest.raises(InvalidOptions, match="fills the model's window of 64"):
        bound(zero_shot, candidate_labels=["a", "word " * 40])


def test_a_model_without_entailment_is_none_for_this(topics: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no label `entailment` among politics"):
        opened(topics, "zero-shot-classification", window=64)


def test_only_pairs_tell_the_second_text(zero_shot: ModelRunner) -> None:
    """RoBERTa has no types of tokens, BERT has: the same rows, and both work."""
    [item, *_] = bound(zero_shot, candidate_labels=["a"]).prepare("It rained.").items
    assert isinstance(item.payload, Row)
    assert item.payload.second is not None
