"""The tasks in the words of the Inference API: one file each, and the one list of them."""

from api.hf.shape import Shape
from api.hf.tasks import (
    feature_extraction,
    fill_mask,
    generated,
    ner,
    question_answering,
    text_classification,
    text_generation,
    zero_shot_classification,
)

SHAPES: dict[str, Shape] = {
    "summarization": generated.SHAPE,
    "translation": generated.SHAPE,
    "ner": ner.SHAPE,
    "text-classification": text_classification.SHAPE,
    "zero-shot-classification": zero_shot_classification.SHAPE,
    "question-answering": question_answering.SHAPE,
    "fill-mask": fill_mask.SHAPE,
    "text-generation": text_generation.SHAPE,
    "feature-extraction": feature_extraction.SHAPE,
}

PLAIN = Shape()
"""Of a task that the Inference API has no words for: texts in, its own options, its own outputs."""


def shape_of(task: str) -> Shape:
    """How the Inference API speaks of the task."""
    return SHAPES.get(task, PLAIN)
