"""Question answering in fp32: batched = one by one = the rule of transformers 4's pipeline, written down here too;
windows, words, limits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from tests.unit import encoders_from_config as made
from tests.unit.models_from_config import CORPUS, DEVICE
from tests.unit.runners import bound, by_each_backend, loaded
from tests.unit.tasks.running import outcomes, outputs
from textmill import tasks
from textmill.errors import DocumentTooLong, InvalidDocument
from workers.runner import ModelRunner, Outcome

FAMILIES = list(made.ENCODERS)
QUESTION = "Who met?"
TEXTS = [*CORPUS, "x", "  two  spaces in Rio  ", "Olá 😀 Lisboa", "U.N. U.N., U.N.!"]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.save(request.param, "ForQuestionAnswering", tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    folder = made.save("bert", "ForQuestionAnswering", tmp_path_factory.mktemp("bert"))
    return loaded(folder, "question-answering", window=64)


class Pipeline:
    """`QuestionAnsweringPipeline` of transformers 4 for a context that fits: its steps in its order, one span by one.

    After its documentation: softmax over context and first token for start and end, `max_answer_len` and `top_k`
    (`decode_spans`), answers aligned to words.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer = tf.AutoTokenizer.from_pretrained(folder)
        self.model = tf.AutoModelForQuestionAnswering.from_pretrained(folder).eval().to(DEVICE)

    @torch.inference_mode()
    def __call__(
        self, question: str, context: str, max_answer_len: int = 15, impossible: bool = False
    ) -> list[tuple[float, int, int]]:
        """(score, start, end) of all answers, best first, each place once."""
        encoded = self.tokenizer(question, context, return_offsets_mapping=True, return_tensors="pt")
        [offsets] = encoded.pop("offset_mapping").tolist()
        sides, words = encoded.sequence_ids(0), encoded.word_ids(0)
        output = self.model(**{name: value.to(DEVICE) for name, value in encoded.items()})
        desired = np.array([side == 1 for side in sides])
        with_first = desired.copy()
        with_first[0] = True
        begins, ends = (
            torch.tensor(np.where(with_first, logits[0].cpu().numpy(), -10_000.0)).softmax(0).numpy()
            for logits in (output.start_logits, output.end_logits)
        )
        found: dict[tuple[int, int], float] = {(0, 0): float(begins[0] * ends[0])} if impossible else {}
        inside = np.flatnonzero(desired).tolist()
        for first in inside:
            for last in range(first, min(first + max_answer_len, inside[-1] + 1)):
                same_first = [i for i in inside if words[i] == words[first] and words[i] is not None] or [first]
                same_last = [i for i in inside if words[i] == words[last] and words[i] is not None] or [last]
                start, end = offsets[same_first[0]][0], offsets[same_last[-1]][1]
                text = context[start:end]
                start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
                if start < end:
                    score = float(begins[first] * ends[last])
                    found[start, end] = max(found.get((start, end), 0.0), score)
        return sorted(((score, *place) for place, score in found.items()), reverse=True)


def found(answers: list[dict[str, Any]]) -> list[tuple[float, int, int]]:
    return [(answer["score"], answer["start"], answer["end"]) for answer in answers]


def same(one: list[tuple[float, int, int]], other: list[tuple[float, int, int]]) -> None:
    assert [score for score, _, _ in one] == pytest.approx([score for score, _, _ in other], abs=2e-5)
    scores = {place: score for score, *place in map(list, other) for place in [tuple(place)]}
    assert all(scores[start, end] == pytest.approx(score, abs=2e-5) for score, start, end in one)


@pytest.mark.parametrize("impossible", [False, True])
def test_equal_to_the_pipeline_of_transformers_4(folder: Path, impossible: bool) -> None:
    runners, pipe = by_each_backend(folder, "question-answering", window=64), Pipeline(folder)
    options = {"question": QUESTION, "top_k": 3, "max_answer_len": 4, "handle_impossible_answer": impossible}
    for runner in runners:
        together, apart = outputs(runner, TEXTS, **options), outputs(runner, TEXTS, False, **options)
        for text, one, other in zip(TEXTS, together, apart, strict=True):
            expected = pipe(QUESTION, text, max_answer_len=4, impossible=impossible)
            for output in (one, other):
                same(found(output["answers"]), expected[:1] + expected[1 : len(output["answers"])])
                assert all(text[a["start"] : a["end"]] == a["answer"] for a in output["answers"])
        best = {output["answers"][0]["answer"] for output in together}
        assert len(best) > 4, "alike answers prove nothing"


def test_an_answer_has_so_many_tokens_at_most(bert: ModelRunner) -> None:
    for longest in (1, 3):
        [output] = outputs(bert, [CORPUS[0]], question=QUESTION, max_answer_len=longest, top_k=50)
        assert len(output["answers"]) > 5
        assert all(len(answer["answer"].split()) <= longest for answer in output["answers"])


def test_the_documents_question_comes_before_the_jobs(bert: ModelRunner) -> None:
    other = {"question": "Where is the bakery called Sol?"}
    [own] = outcomes(bert, [CORPUS[0]], fields=other, question=QUESTION, top_k=5)
    [alone] = outcomes(bert, [CORPUS[0]], question=other["question"], top_k=5)
    [jobs] = outcomes(bert, [CORPUS[0]], question=QUESTION, top_k=5)
    assert own.output == alone.output != jobs.output


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_best_span_over_all_windows(family: str, tmp_path: Path) -> None:
    runner = loaded(made.save(family, "ForQuestionAnswering", tmp_path), "question-answering", window=64)
    text = " ".join(CORPUS * 3)
    plan = bound(runner, question=QUESTION, max_answer_len=5, top_k=4)
    prepared = plan.prepare(text)
    assert prepared.pieces == len(prepared.items) > 3
    assert all(item.length <= 64 for item in prepared.items)
    outputs_of = runner.run(prepared.items)
    whole = plan.assemble(prepared, outputs_of)
    assert isinstance(whole, Outcome)
    answers = whole.output["answers"]
    assert all(text[a["start"] : a["end"]] == a["answer"].strip() != "" for a in answers)
    assert len({(a["start"], a["end"]) for a in answers}) == 4, "an answer that two windows see is one"
    # The best of each window by itself is not better than the best of all.
    best = []
    for window, output in zip(prepared.memo.windows, outputs_of, strict=True):
        memo = type(prepared.memo)(prepared.memo.words, prepared.memo.first, [window])
        alone = plan.assemble(type(prepared)(prepared.items, memo, 0, 1), [output])
        assert isinstance(alone, Outcome)
        best.append(alone.output["answers"][0]["score"])
    assert answers[0]["score"] == max(best)
    with pytest.raises(DocumentTooLong):
        bound(runner, question=QUESTION, long_documents="error").prepare(text)


def test_a_text_without_words_has_no_answer(bert: ModelRunner) -> None:
    [nothing, blank] = outcomes(bert, ["", " \n "], question=QUESTION)
    assert nothing.output == blank.output == {"answers": []}
    [maybe] = outcomes(bert, [""], question=QUESTION, handle_impossible_answer=True)
    assert maybe.output["answers"] == [{"answer": "", "score": 1.0, "start": 0, "end": 0}]


def test_a_question_that_fills_the_window_is_too_long(bert: ModelRunner) -> None:
    with pytest.raises(DocumentTooLong, match="The question has"):
        bound(bert, question="Who met in Berlin? " * 10).prepare("It rained.")


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({}, {}, "the document has none, and the job names none for all"),
        ({"question": ""}, {}, "at least 1 character"),
        ({"question": 5}, {}, "valid string"),
        ({"answer": "x"}, {"question": "Who?"}, "answer: question-answering has no such field"),
    ],
)
def test_a_document_that_nothing_can_be_asked_of_is_refused(fields: Any, options: Any, message: str) -> None:
    with pytest.raises(InvalidDocument, match=message) as raised:
        tasks.get("question-answering").check_fields(fields, options)
    assert raised.value.details["valid"] == ["text", "question"]


def test_a_question_of_its_own_or_of_the_job_will_do() -> None:
    task = tasks.get("question-answering")
    task.check_fields({"question": "Who?"}, {})
    task.check_fields({}, {"question": "Who?"})
    with pytest.raises(InvalidDocument, match="question: ner has no such field; a document of ner has: text"):
        tasks.get("ner").check_fields({"question": "Who?"}, {})
