"""NER in fp32: batched = one by one = transformers' own pipeline; long documents, limits and failures."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from tests.unit import models_from_config
from tests.unit.models_from_config import DEVICE, NER_FAMILIES
from tests.unit.runners import bound, model_of, opened
from textmill.errors import DocumentTooLong, ModelUnavailable, ProcessingFailed
from workers.faults import Fault, attempt
from workers.runner import ModelRunner, Outcome

STRATEGIES = ["none", "simple", "first", "average", "max"]
TEXTS = [
    "Maria Silva met Dr. John Smith in Berlin.",
    "It rained; the old bridge near Lisbon fell, said Acme Corporation (1,000 people).",
    "  two  spaces, a\ttab and a\nline end in Rio  ",
    "x",
    "U.N. U.N., U.N.! e-mail: someone@example.org",
]
BEYOND_ASCII = [
    "Olá Lisboa às nove: São Paulo, Zürich e Łódź.",
    "今日は Berlin です。😀 John 👍🏽 Smith",
    "Jose\u0301 em Bele\u0301m",
]


BY_CTRANSLATE2 = {"bert", "distilbert", "roberta", "xlm-roberta", "camembert"}
CASES = [("torch", family) for family in NER_FAMILIES] + [("ctranslate2", family) for family in sorted(BY_CTRANSLATE2)]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture(scope="module")
def folder(case: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models_from_config.save_ner(case[1], tmp_path_factory.mktemp(case[1]))


@pytest.fixture(scope="module")
def runner(case: tuple[str, str], folder: Path) -> ModelRunner:
    return loaded(folder, backend=case[0])


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    return loaded(models_from_config.save_ner("bert", tmp_path_factory.mktemp("bert")), backend="torch")


def loaded(folder: Path, **fields: Any) -> ModelRunner:
    runner = opened(folder, "ner", **{"window": 512} | fields)
    runner.load()
    return runner


def outcomes(runner: ModelRunner, texts: list[str], together: bool, **options: Any) -> list[Outcome]:
    plan = bound(runner, **options)
    documents = [plan.prepare(text) for text in texts]
    items = [item for document in documents for item in document.items]
    batches = [items] if together else [[item] for item in items]
    outputs = iter([output for batch in batches if batch for output in runner.run(batch)])
    return [plan.assemble(d, [next(outputs) for _ in d.items]) for d in documents]


def entities(outcome: Outcome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = outcome.output["entities"]
    return found


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    keys = ("entity_group", "start", "end", "word")
    assert [[e[k] for k in keys] for e in found] == [[e[k] for k in keys] for e in expected]
    assert [e["score"] for e in found] == pytest.approx([e["score"] for e in expected], abs=2e-5)


def pipeline_entities(pipe: Any, text: str, strategy: str) -> list[dict[str, Any]]:
    """What transformers finds, with our three differences: trimmed, not empty, not overlapping; `word` is the text."""
    found: list[dict[str, Any]] = []
    for entity in pipe(text, aggregation_strategy=strategy):
        start, end = max(entity["start"], found[-1]["end"] if found else 0), entity["end"]
        word = text[start:end].strip()
        if word:
            start = text.index(word, start)
            label = entity.get("entity_group", entity.get("entity"))
            found.append({"entity_group": label, "start": start, "end": start + len(word), "word": word,
                          "score": float(entity["score"])})  # fmt: skip
    return found


def test_equal_windows_are_known_and_what_is_kept_of_one_holds_no_batch(bert: ModelRunner) -> None:
    plan = bound(bert)
    one, again, other = (plan.prepare(text).items[0] for text in (TEXTS[0], TEXTS[0], TEXTS[1]))
    assert one.same is not None
    assert one.same == again.same != other.same
    kept, size = bert.kept(bert.run([one, other])[0])
    assert kept.base is None
    assert size == kept.nbytes


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_to_the_pipeline_of_transformers(runner: ModelRunner, folder: Path, strategy: str) -> None:
    pipe = tf.pipeline("token-classification", model=str(folder), device=DEVICE, dtype=torch.float32)
    total = 0
    for text in TEXTS + BEYOND_ASCII:
        expected = pipeline_entities(pipe, text, strategy)
        [outcome] = outcomes(runner, [text], True, aggregation_strategy=strategy)
        same(entities(outcome), expected)
        total += len(expected)
    assert total > 5, "the random model must label something, or this compares nothing with nothing"


def test_batched_equals_one_by_one(runner: ModelRunner) -> None:
    texts = [*TEXTS, *BEYOND_ASCII, " ".join(TEXTS * 4), ""]
    together, apart = outcomes(runner, texts, True), outcomes(runner, texts, False)
    for one, other in zip(together, apart, strict=True):
        same(entities(one), entities(other))
        assert (one.input_tokens, one.pieces) == (other.input_tokens, other.pieces)


def test_a_long_document_is_windowed_with_every_token_counted_once(runner: ModelRunner) -> None:
    text = "\n\n".join(TEXTS * 12)
    document = bound(runner).prepare(text)
    assert len(document.items) > 3
    assert all(item.length == len(item.payload) <= 130 for item in document.items)
    [outcome] = outcomes(runner, [text], True)
    assert outcome.pieces == len(document.items)
    found = entities(outcome)
    assert all(text[e["start"] : e["end"]] == e["word"] for e in found)
    assert all(a["end"] <= b["start"] for a, b in itertools.pairwise(found))
    assert found[-1]["start"] > len(text) * 0.9, "the end of the document is labelled too"


def test_what_fits_one_window_is_the_same_with_smaller_windows_where_context_does_not_matter(tmp_path: Path) -> None:
    """With attention switched off (zero value projections) scores depend on token and position alone."""
    model, tokenizer = NER_FAMILIES["bert"]()
    for layer in model.bert.encoder.layer:
        torch.nn.init.zeros_(layer.attention.self.value.weight)
    torch.nn.init.zeros_(model.bert.embeddings.position_embeddings.weight)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    text = " ".join(TEXTS[:2] * 2)
    [whole] = outcomes(loaded(tmp_path), [text[:180]], True)
    [cut] = outcomes(loaded(tmp_path, window=16), [text[:180]], True)
    assert whole.pieces < cut.pieces
    same(entities(cut), entities(whole))


def test_options_come_from_the_request_then_the_catalogue(tmp_path: Path) -> None:
    folder = models_from_config.save_ner("bert", tmp_path)
    runner = loaded(folder, options={"aggregation_strategy": "none", "min_score": 0.0})
    [by_default] = outcomes(runner, TEXTS[:1], True)
    assert {e["entity_group"][:2] for e in entities(by_default)} <= {"B-", "I-"}
    [requested] = outcomes(runner, TEXTS[:1], True, aggregation_strategy="simple", labels=["PER"], min_score=None)
    assert {e["entity_group"] for e in entities(requested)} <= {"PER"}
    [none] = outcomes(runner, TEXTS[:1], True, min_score=1.0)
    assert entities(none) == []


def test_long_documents_error(bert: ModelRunner) -> None:
    with pytest.raises(DocumentTooLong, match="window takes 62"):
        bound(bert, long_documents="error").prepare("word " * 200)
    bound(bert, long_documents="error").prepare("word")


@pytest.mark.parametrize("text", ["", " \n\t ", "\u200b"])
def test_a_text_without_words_has_no_entities(bert: ModelRunner, text: str) -> None:
    [outcome] = outcomes(bert, [text], True)
    assert entities(outcome) == []


def test_enormous_words_and_texts(bert: ModelRunner) -> None:
    assert bound(bert).prepare("a" * 500_000).pieces >= 1
    assert bound(bert).prepare("(" * 10_000).pieces > 150


def test_the_canary_runs(runner: ModelRunner) -> None:
    assert runner.run([runner.canary()])[0].shape == (runner.canary().length - 2, len(models_from_config.LABELS))


def test_auto_takes_the_fastest_backend_that_knows_the_architecture(case: tuple[str, str], folder: Path) -> None:
    runner = opened(folder, "ner")
    assert runner.backend.name == ("ctranslate2" if case[1] in BY_CTRANSLATE2 else "torch")
    assert runner.dtype == "float32"


def test_memory_is_counted_and_given_back(case: tuple[str, str], folder: Path) -> None:
    runner = opened(folder, "ner", backend=case[0])
    assert runner.memory_bytes() == 0
    runner.load()
    size = (folder / "model.safetensors").stat().st_size
    assert 0.5 * size < runner.memory_bytes() < 1.5 * size
    runner.unload()
    assert runner.memory_bytes() == 0
    runner.load()
    assert runner.run([runner.canary()])


def test_running_out_of_memory_holds_no_tensors(bert: ModelRunner) -> None:
    items = [bert.canary()] if DEVICE == "cpu" else [bert.canary()] * 3_000_000
    model = model_of(bert)._weights.model
    if DEVICE == "cpu":
        model.register_forward_hook(_allocate_too_much, prepend=True)
    try:
        outputs, failure = attempt(lambda: bert.run(items), bert.backend.fault)
    finally:
        model._forward_hooks.clear()
    assert outputs is None
    assert failure is not None
    assert failure.fault is Fault.OUT_OF_MEMORY
    assert failure.error.__traceback__ is None
    assert bert.run([bert.canary()])


def _allocate_too_much(*_: object) -> None:
    torch.empty(2**60, dtype=torch.uint8)  # the allocator's own refusal, whatever the machine has


def test_scores_that_are_not_numbers_are_an_error(bert: ModelRunner) -> None:
    document = bound(bert).prepare(TEXTS[0])
    outputs = list(bert.run(document.items))
    outputs[0][0, 0] = float("nan")
    with pytest.raises(ProcessingFailed, match="not numbers"):
        bound(bert).assemble(document, outputs)


# --- models that do not load ------------------------------------------------------------------------------------------


def unavailable(source: str, revision: str | None = None) -> str:
    try:
        loaded(Path(source), revision=revision)
    except ModelUnavailable as error:
        return str(error)
    pytest.fail(f"{source} was loaded")


def test_a_hub_model_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = unavailable("someone/some-model", "0123abc")
    assert all(part in message for part in ("someone/some-model", "0123abc", "local folder"))


def test_broken_folders(tmp_path: Path) -> None:
    folder = models_from_config.save_ner("bert", tmp_path / "model")
    assert "configuration" in unavailable(str(tmp_path))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "weights" in unavailable(str(folder)), "only safetensors are read"
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.truncate(1_000)
    assert "weights" in unavailable(str(folder))


def test_a_checkpoint_without_the_classifier_is_refused(tmp_path: Path) -> None:
    model, tokenizer = NER_FAMILIES["bert"]()
    model.bert.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert "lacks weights" in unavailable(str(tmp_path))


def test_the_revision_of_a_folder_is_a_digest_of_its_contents(tmp_path: Path) -> None:
    folder = models_from_config.save_ner("bert", tmp_path / "a")
    copy = Path(shutil.copytree(folder, tmp_path / "b"))
    first, second = loaded(folder).revision, loaded(copy).revision
    assert first == second
    assert len(first) == 12
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.2}))
    assert loaded(copy).revision != first
