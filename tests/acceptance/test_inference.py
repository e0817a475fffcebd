"""`huggingface_hub`'s own client against the whole system, every task: what it sends is understood, what it gets it can
read. Three tasks have their bundled models, the others random and tiny ones."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.acceptance import test_tasks as tiny
from tests.acceptance.conftest import ROOT, Running
from tests.worker_process import wait_until

BUNDLED = f"""
["ner"]
task = "ner"
source = "{ROOT}/models/ner-en-small"
window = 256
options = {{ aggregation_strategy = "first" }}
licence = "Apache-2.0"
limitations = "Small."

["translation"]
task = "translation"
source = "{ROOT}/models/translation-en-pt-small"
source_langs = ["en"]
target_langs = ["pt"]
window = 512
licence = "MPL-2.0"
limitations = "Small."

["summarization"]
task = "summarization"
source = "{ROOT}/models/summarization-en-small"
window = 512
licence = "MPL-2.0"
limitations = "Small."
"""
TEXT = tiny.TEXT
PATIENCE = 600
"""Seconds that only a hung system needs: the first request waits for torch to be imported and its model to load."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    catalogue: Path = tiny.catalogue(tmp_path_factory.mktemp("models"))
    catalogue.write_text(catalogue.read_text() + BUNDLED)
    system = Running(
        tmp_path_factory.mktemp("inference"),
        {"TEXTMILL_CATALOGUE": str(catalogue), "TEXTMILL_ASK_SECONDS": str(PATIENCE)},
    )
    try:
        yield system.start()
    finally:
        system.clean_up()


def client(running: Running, model: str) -> InferenceClient:
    state = running.state()
    return InferenceClient(base_url=f"{state['api_url']}/hf/{model}", api_key=state["api_key"], timeout=2 * PATIENCE)


def post(running: Running, model: str, inputs: Any, **parameters: Any) -> Any:
    state = running.state()
    url = f"{state['api_url']}/hf/{model}"
    headers = {"Authorization": f"Bearer {state['api_key']}"}
    return httpx.post(
        url, json={"inputs": inputs, "parameters": parameters}, headers=headers, timeout=2 * PATIENCE
    ).json()


def test_summarization(running: Running) -> None:
    mill = client(running, "summarization")
    whole = mill.summarization("This package contains the shared library for reading and writing archives. " * 4)
    assert whole.summary_text
    short = mill.summarization(TEXT, generate_parameters={"max_new_tokens": 2}, truncation="longest_first")
    assert len(short.summary_text) < len(TEXT)
    assert [list(one) for one in post(running, "summarization", [TEXT, TEXT])] == [["summary_text"]] * 2


def test_translation(running: Running) -> None:
    mill = client(running, "translation")
    plain = mill.translation("The server sends the file.").translation_text
    assert plain
    assert mill.translation("The server sends the file.", src_lang="en", tgt_lang="pt").translation_text == plain
    beams = mill.translation("The server sends the file.", generate_parameters={"num_beams": 3})
    assert beams.translation_text
    with pytest.raises(HfHubHTTPError, match="has no target_lang 'de'"):
        mill.translation("The server sends the file.", src_lang="en", tgt_lang="de")


def test_token_classification(running: Running) -> None:
    mill = client(running, "ner")
    found = mill.token_classification(TEXT)
    names = {entity.word: entity.entity_group for entity in found}
    assert names["Berlin"] == "LOC"
    assert all(TEXT[entity.start : entity.end] == entity.word and entity.entity is None for entity in found)
    without = mill.token_classification(TEXT, aggregation_strategy="simple", ignore_labels=["LOC"], stride=16)
    assert {entity.entity_group for entity in without} == set(names.values()) - {"LOC"}
    tokens = mill.token_classification(TEXT, aggregation_strategy="none")
    assert tokens[0].entity_group is None
    assert {str(token.entity)[:2] for token in tokens} <= {"B-", "I-"}
    both = post(running, "ner", [TEXT, "Nothing is in here."])
    assert ([entity["word"] for entity in both[0]], both[1]) == (list(names), [])


def test_text_classification(running: Running) -> None:
    mill = client(running, "text-classification")
    labels = mill.text_classification(TEXT)
    assert sorted(label.label for label in labels) == sorted(tiny.LABELS.values()), "all, best first"
    assert [label.score for label in labels] == sorted((label.score for label in labels), reverse=True)
    assert math.isclose(sum(label.score for label in labels), 1, abs_tol=1e-4)
    assert mill.text_classification(TEXT, top_k=1, function_to_apply="sigmoid")[0].label == labels[0].label
    both = post(running, "text-classification", [TEXT, TEXT], top_k=2)
    assert [len(one) for one in both] == [2, 2]


def test_zero_shot_classification(running: Running) -> None:
    mill = client(running, "zero-shot-classification")
    labels = mill.zero_shot_classification(TEXT, ["travel", "food"], hypothesis_template="It is about {}.")
    assert {label.label for label in labels} == {"travel", "food"}
    assert mill.zero_shot_classification(TEXT, ["travel"], multi_label=True)[0].label == "travel"
    with pytest.raises(HfHubHTTPError, match="candidate_labels"):
        mill.zero_shot_classification(TEXT, [])


def test_question_answering(running: Running) -> None:
    mill = client(running, "question-answering")
    answer: Any = mill.question_answering("Who spoke?", TEXT, max_answer_len=4, doc_stride=8)
    assert TEXT[answer.start : answer.end] == answer.answer != ""
    several: Any = mill.question_answering("Who spoke?", TEXT, top_k=3)
    assert len(several) == 3
    both = post(running, "question-answering", [{"question": "Who?", "context": TEXT}] * 2)
    assert [list(one) for one in both] == [["answer", "score", "start", "end"]] * 2
    with pytest.raises(HfHubHTTPError, match="question"):
        mill.question_answering("", TEXT)
    assert post(running, "question-answering", TEXT)["code"] == "invalid_request"


def test_fill_mask(running: Running) -> None:
    mill = client(running, "fill-mask")
    words = mill.fill_mask("It [MASK] for three days.", top_k=2)
    assert len(words) == 2
    assert all(isinstance(word.token, int) and word.token_str and word.sequence for word in words)
    several = post(running, "fill-mask", "It [MASK] for [MASK] days.", top_k=3)
    assert [len(mask) for mask in several] == [3, 3]
    with pytest.raises(HfHubHTTPError, match="has no mask"):
        mill.fill_mask("It rained.")


def test_text_generation(running: Running) -> None:
    mill = client(running, "text-generation")
    new = mill.text_generation("It rained", max_new_tokens=5, details=False, stream=False)
    assert mill.text_generation("It rained", max_new_tokens=5, return_full_text=True) == f"It rained{new}"
    drawn = {"do_sample": True, "seed": 7, "temperature": 0.8, "top_k": 20, "top_p": 0.9, "max_new_tokens": 5}
    assert mill.text_generation("It rained", **drawn) == mill.text_generation("It rained", **drawn)
    with pytest.raises(HfHubHTTPError, match="do_sample needs a seed"):
        mill.text_generation("It rained", do_sample=True)
    with pytest.raises(HfHubHTTPError, match="no such option"):
        mill.text_generation("It rained", stop=["."])
    assert [list(one[0]) for one in post(running, "text-generation", ["It", "rained"])] == [["generated_text"]] * 2


def test_feature_extraction(running: Running) -> None:
    mill = client(running, "feature-extraction")
    vector = mill.feature_extraction(TEXT, normalize=True, dimensions=16, truncate=True, encoding_format="float")
    assert (vector.shape, vector.dtype) == ((1, 16), np.dtype("float32"))
    assert math.isclose(float(np.linalg.norm(vector)), 1, abs_tol=1e-3)
    assert mill.feature_extraction([TEXT, "It rained."]).shape == (2, 32)
    with pytest.raises(HfHubHTTPError, match="encoding_format"):
        mill.feature_extraction(TEXT, encoding_format="base64")


def test_what_is_wrong_the_client_shows(running: Running) -> None:
    with pytest.raises(HfHubHTTPError, match="no model 'nobody' in the catalogue") as unknown:
        client(running, "nobody").summarization(TEXT)
    assert unknown.value.response.status_code == 404
    assert unknown.value.response.json()["code"] == "model_not_found"
    state = running.state()
    stranger = InferenceClient(base_url=f"{state['api_url']}/hf/ner", api_key="nobody's", timeout=2 * PATIENCE)
    with pytest.raises(HfHubHTTPError) as refused:
        stranger.token_classification(TEXT)
    assert refused.value.response.status_code == 401


def test_no_job_is_left(running: Running) -> None:
    client(running, "ner").token_classification(TEXT)
    with running.client() as mill:
        assert list(mill.jobs()) == []
        wait_until(lambda: not mill.stats().queued, "nothing is in the ledger either")


def test_the_example(running: Running) -> None:
    state = running.state()
    environment = {**os.environ, "TEXTMILL_URL": state["api_url"], "TEXTMILL_API_KEY": state["api_key"]}
    command = [sys.executable, str(ROOT / "examples" / "inference_client.py"), "ner"]
    done = subprocess.run(command, env=environment, input=f"{TEXT}\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("1\tLOC\t") and line.endswith("\tBerlin") for line in done.stdout.splitlines())
