"""A document that is bad in its own way fails alone, with a code that stays; and what no door has stopped (an earlier
release's, or a model whose files it did not see) ends as an outcome, too. What the door refuses is in `test_api.py`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from store.session import Store
from tests.unit import encoders_from_config as made
from tests.worker_process import Producer, running

SECONDS = 300
"""For models that are loaded on a busy machine."""

TEXT = "The committee met on Tuesday in Berlin."
LABELS = {0: "contradiction", 1: "neutral", 2: "entailment"}
MODELS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "masks": ("fill-mask", lambda folder: made.save("bert", "ForMaskedLM", folder)),
    "answers": ("question-answering", lambda folder: made.save("bert", "ForQuestionAnswering", folder)),
    "labels": (
        "zero-shot-classification",
        lambda folder: made.save("bert", "ForSequenceClassification", folder, id2label=LABELS),
    ),
    "talk": ("text-generation", lambda folder: made.save_decoder("llama", folder, made.CHAT_TEMPLATES["llama"])),
    "plain": ("text-generation", lambda folder: made.save_decoder("gpt2", folder)),
    "vectors": ("feature-extraction", lambda folder: made.save("bert", "Model", folder)),
}


def messages(*roles: str) -> tuple[str, str]:
    return "", json.dumps({"messages": [{"role": role, "content": "It rained."} for role in roles]})


CASES: list[tuple[str, dict[str, Any], Sequence[str | tuple[str, str]], list[str | None]]] = [
    ("masks", {}, ["It [MASK].", "It rained.", "<mask>"], [None, "mask_missing", None]),
    ("masks", {"targets": ["no such word"]}, ["It [MASK]."], ["invalid_options"]),
    ("masks", {"long_documents": "error"}, ["It [MASK].", "It rained. " * 90 + "[MASK]"], [None, "document_too_long"]),
    ("answers", {}, [(TEXT, '{"question": "Who?"}'), TEXT], [None, "processing_failed"]),
    ("answers", {}, [(TEXT, json.dumps({"question": "Who? " * 90})), (TEXT, '{"question": "Who?"}')],
     ["document_too_long", None]),
    ("labels", {}, [TEXT], ["invalid_options"]),
    ("labels", {"candidate_labels": ["travel"]}, [TEXT, ""], [None, None]),
    ("talk", {"max_new_tokens": 4}, [messages("user"), messages("assistant"), "It"], [None, "messages_refused", None]),
    ("plain", {"max_new_tokens": 4}, [messages("user"), "It", ""], ["chat_template_missing", None, "document_empty"]),
    ("plain", {"max_new_tokens": 20}, ["It rained. " * 100, "It"], ["document_too_long", None]),
    ("vectors", {"dimensions": 33}, [TEXT], ["invalid_options"]),
]  # fmt: skip
"""(model, options, documents, what each fails with)."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The catalogue of the models, and the folder of what workers make of them: made once for both databases."""
    folder = tmp_path_factory.mktemp("models")
    entries = []
    for name, (task, save) in MODELS.items():
        window = 128 if task == "text-generation" else 64
        entries.append(
            f'["{name}"]\ntask = "{task}"\nsource = "{save(folder / name)}"\nwindow = {window}\ndtype = "float32"\n'
            'licence = "MIT"\nlimitations = "Nonsense."\n'
        )
    return "\n".join(entries), folder / "cache"


def test_each_fails_alone_with_its_code(store: Store, key_id: int, tmp_path: Path, models: tuple[str, Path]) -> None:
    entries, cache = models
    producer = Producer(store, key_id)
    with running(store, tmp_path, entries=entries, cache_dir=cache) as worker:
        asked = [producer.submit(texts, MODELS[model][0], model, **options) for model, options, texts, _ in CASES]
        for job, (model, _, _, codes) in zip(asked, CASES, strict=True):
            producer.wait(job, SECONDS)
            found = [outcome.error_code for outcome in producer.results(job)]
            assert found == codes, (model, worker.log[-2000:])
    producer.close()
