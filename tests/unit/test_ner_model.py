"""The bundled entity model, loaded from its folder as any user of transformers would."""

from pathlib import Path

import pytest
import torch
from transformers import Pipeline, pipeline

FOLDER = Path(__file__).parents[2] / "models" / "ner-en-small"
SENTENCE = "My name is Sylvain and I work at Hugging Face in Brooklyn."


@pytest.fixture(scope="module")
def find() -> Pipeline:
    return pipeline("token-classification", model=str(FOLDER))


@pytest.mark.parametrize("strategy", ["simple", "first", "average", "max"])
def test_three_entities_with_their_labels_and_offsets(find: Pipeline, strategy: str) -> None:
    found = [(e["entity_group"], e["start"], e["end"]) for e in find(SENTENCE, aggregation_strategy=strategy)]
    assert found == [("PER", 11, 18), ("ORG", 33, 45), ("LOC", 49, 57)]


def test_offsets_count_the_text_as_it_is_written(find: Pipeline) -> None:
    """Accents are taken off inside; the offsets must not notice."""
    text = "João Araújo met Zoë Müller in São Paulo."
    found = [text[e["start"] : e["end"]] for e in find(text, aggregation_strategy="first")]
    assert found == ["João Araújo", "Zoë Müller", "São Paulo"]


def test_it_loads_as_float32_from_less_than_ten_megabytes(find: Pipeline) -> None:
    assert find.model.dtype == torch.float32
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000
