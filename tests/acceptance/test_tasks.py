"""Each task with a model of its own, from the client to the result, through a whole system. The models are random and
tiny, so that what they answer is nonsense of the right form; that it is right is for tests/unit/tasks/."""

import asyncio
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import ROOT, Running
from tests.unit import encoders_from_config as made
from textmill import AsyncClient, Client, errors

TEXT = "The committee met on Tuesday in Berlin, and Maria Silva spoke about the river."
LABELS = {0: "contradiction", 1: "neutral", 2: "entailment"}

MODELS: dict[str, Callable[[Path], Path]] = {
    "text-classification": lambda folder: made.save("distilbert", "ForSequenceClassification", folder, id2label=LABELS),
    "zero-shot-classification": lambda folder: made.save("bert", "ForSequenceClassification", folder, id2label=LABELS),
    "question-answering": lambda folder: made.save("roberta", "ForQuestionAnswering", folder),
    "fill-mask": lambda folder: made.save("bert", "ForMaskedLM", folder),
    "text-generation": lambda folder: made.save_decoder("llama", folder, made.CHAT_TEMPLATES["llama"]),
    "feature-extraction": lambda folder: made.save("bert", "Model", folder),
}


ASKED = [{"role": "user", "content": "It rained."}]


def catalogue(folder: Path) -> Path:
    """A model for each task of one forward pass, and for text generation; of that also one without a chat template."""
    entries = []
    for task, save in MODELS.items():
        save(folder / task)
        window = 128 if task == "text-generation" else 64
        entries.append(
            f'["{task}"]\ntask = "{task}"\nsource = "{task}"\nwindow = {window}\ndtype = "float32"\n'
            'licence = "MIT"\nlimitations = "Nonsense."\n'
        )
    made.save_decoder("gpt2", folder / "plain")
    entries.append(entries[list(MODELS).index("text-generation")].replace('"text-generation"]', "plain]"))
    entries[-1] = entries[-1].replace('source = "text-generation"', 'source = "plain"')
    path = folder / "catalogue.toml"
    path.write_text("\n".join(entries))
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tasks")
    system = Running(folder, {"TEXTMILL_CATALOGUE": str(catalogue(tmp_path_factory.mktemp("models")))})
    try:
        yield system.start()
    finally:
        system.clean_up()


@pytest.fixture
def mill(running: Running) -> Any:
    with running.client() as client:
        yield client


def test_one_text_of_each_task(mill: Client) -> None:
    labels = mill.classify(TEXT, top_k=3)
    assert sorted(label.label for label in labels) == sorted(LABELS.values())
    assert math.isclose(sum(label.score for label in labels), 1, abs_tol=1e-4)

    own = mill.classify(TEXT, candidate_labels=["travel", "food"])
    assert {label.label for label in own} == {"travel", "food"}

    [answer] = mill.answer(TEXT, "Who spoke?", max_answer_len=4)
    assert TEXT[answer.start : answer.end] == answer.answer != ""

    [mask] = mill.fill("It [MASK] for three days.", top_k=2)
    assert len(mask) == 2

    assert isinstance(mill.generate("It rained", max_new_tokens=5), str)
    assert isinstance(mill.generate(messages=ASKED, max_new_tokens=5), str)
    assert len(mill.embed(TEXT, dimensions=16)) == 16


def test_the_asynchronous_client_has_the_same(running: Running) -> None:
    async def ask() -> tuple[Any, ...]:
        state = running.state()
        async with AsyncClient(state["api_url"], api_key=state["api_key"]) as mill:
            return (
                await mill.classify(TEXT), await mill.answer(TEXT, "Who spoke?"), await mill.fill("It [MASK]."),
                await mill.generate("It rained", max_new_tokens=5), await mill.embed(TEXT),
                await mill.generate(messages=ASKED, max_new_tokens=5),
            )  # fmt: skip

    labels, answers, masks, text, vector, said = asyncio.run(ask())
    assert (len(labels), len(answers), len(masks[0]), type(text), len(vector)) == (1, 1, 5, str, 32)
    assert isinstance(said, str)


def test_conversations_come_out_of_a_file(mill: Client, tmp_path: Path) -> None:
    turns = [*ASKED, {"role": "assistant", "content": "Yes."}]
    lines = [{"id": "asked", "messages": ASKED}, {"id": "turns", "messages": turns}, {"id": "text", "text": "It"},
             {"id": "wrong", "messages": turns[1:]}]  # fmt: skip
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = mill.submit("text-generation", [tmp_path / "asked.jsonl"], max_new_tokens=4)
    found = {result.id: result for result in job.results()}
    assert {name: result.error and result.error.code for name, result in found.items()} == {
        "asked": None, "turns": None, "text": None, "wrong": "messages_refused",
    }  # fmt: skip
    with pytest.raises(errors.InvalidDocument, match="messages: the tokenizer of plain has no chat template"):
        mill.generate(messages=ASKED, model="plain")
    with pytest.raises(errors.InvalidRequest, match="text or messages, not both"):
        mill.submit("text-generation", [{"text": "a", "messages": ASKED}])


def test_a_document_that_is_bad_in_its_own_way_fails_alone(mill: Client) -> None:
    texts = ["It [MASK].", "It rained.", "<mask>"]
    by_id = {result.id: result for result in mill.submit("fill-mask", texts).results()}
    assert [by_id[key].state for key in "012"] == ["succeeded", "failed", "succeeded"]
    assert by_id["1"].error is not None
    assert by_id["1"].error.code == "mask_missing"
    long = list(mill.submit("text-generation", ["It rained. " * 100, "It rained"], max_new_tokens=20).results())
    assert [result.error and result.error.code for result in long] == ["document_too_long", None]
    with pytest.raises(errors.InvalidDocument, match="document 1 of this request: question: the document has none"):
        mill.submit("question-answering", [{"text": TEXT, "question": "Who?"}, TEXT])
    with pytest.raises(errors.InvalidOptions, match="dimensions is 33; a vector of this model has 32"):
        mill.embed(TEXT, dimensions=33)


def test_questions_come_out_of_a_file(running: Running, tmp_path: Path) -> None:
    rows = f'id,text,question\na,"{TEXT}",Who spoke?\nb,"{TEXT}",\n'
    (tmp_path / "asked.csv").write_text(rows)
    state = running.state()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TEXTMILL_URL": state["api_url"],
        "TEXTMILL_API_KEY": state["api_key"],
    }
    arguments = ["run", "question-answering", "asked.csv", "-o", "answers.jsonl", "-q"]
    main = [sys.executable, "-c", "from textmill.cli import main; main()", *arguments, "-O", 'question="Where?"']
    done = subprocess.run(main, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [result["id"] for result in found] == ["a", "b"]
    for result in found:
        [answer] = result["output"]["answers"]
        assert TEXT[answer["start"] : answer["end"]] == answer["answer"]
