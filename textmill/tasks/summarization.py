"""Summarization: a text becomes a shorter one."""

from textmill.base import Wire
from textmill.tasks.generation import GenerationOptions, GenerationTask


class SummarizationOptions(GenerationOptions):
    """Options of a summarization job."""


class SummarizationOutput(Wire):
    """What a document became."""

    summary_text: str


TASK = GenerationTask(
    name="summarization",
    title="A text becomes its summary.",
    options=SummarizationOptions,
    output=SummarizationOutput,
    architectures=("ForConditionalGeneration", "MTModel"),
)
