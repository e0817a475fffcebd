"""The bundled models on real texts: by CTranslate2 in float32 they answer as by torch, to the letter."""

import bz2
import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from store import catalogue
from tests.unit.models_from_config import DEVICE
from tests.unit.runners import CACHE
from workers.model_comparison import run
from workers.models import spec_of

ROOT = Path(__file__).parents[3]
ENTRIES = catalogue.load(ROOT / "models" / "catalogue.toml").entries
with gzip.open(ROOT / "examples" / "documents.jsonl.gz", "rt", encoding="utf-8") as lines:
    EXAMPLES = [json.loads(line)["text"] for line in lines]
BACKEND = {"cpu": "auto"}.get(DEVICE, "ctranslate2")
"""On a GPU it has to be asked for by name."""

GREEDY = {"num_beams": 1, "min_length": 8}
FREELY = {"faithful": False}
"""By several beams both find faithful summaries, not always the same."""


def held_out(name: str, count: int) -> list[str]:
    """Texts that the model was not trained on."""
    with bz2.open(ROOT / "models" / "training" / "data" / name, "rt") as lines:
        found = [json.loads(next(lines)) for _ in range(count)]
    return [one["text"] if isinstance(one, dict) else one[0] for one in found]


@pytest.mark.parametrize(
    ("name", "texts", "options"),
    [
        ("translation-en-pt-small", held_out("translation_test.jsonl.bz2", 8) + EXAMPLES[:1], {}),
        ("translation-en-pt-small", held_out("translation_test.jsonl.bz2", 6), {"num_beams": 4}),
        ("summarization-en-small", held_out("summarization_test.jsonl.bz2", 6) + EXAMPLES[:2], FREELY),
        ("summarization-en-small", held_out("summarization_test.jsonl.bz2", 4), FREELY | GREEDY),
        ("summarization-en-small", held_out("summarization_test.jsonl.bz2", 6) + EXAMPLES[:4], GREEDY),
    ],
)
def test_texts_are_the_same(name: str, texts: list[str], options: dict[str, object]) -> None:
    if ENTRIES[name].task == "translation":
        options |= {"source_lang": "en", "target_lang": "pt"}
    spec = spec_of(ENTRIES[name], DEVICE, 1, "float32", CACHE)
    ours = run(replace(spec, backend=BACKEND), texts, options)
    theirs = run(replace(spec, backend="torch"), texts, options)
    assert (ours.name, theirs.name) == ("ctranslate2 float32", "torch float32")
    assert ours.answers == theirs.answers


def test_entities_are_the_same() -> None:
    texts = held_out("ner_test.jsonl.bz2", 40) + EXAMPLES
    spec = spec_of(ENTRIES["ner-en-small"], DEVICE, 1, "float32", CACHE)
    ours = run(replace(spec, backend=BACKEND), texts, {})
    assert ours.name == "ctranslate2 float32"
    assert ours.answers == run(replace(spec, backend="torch"), texts, {}).answers
    assert sum(map(len, ours.answers)) > 50
