"""Summarization: a text becomes a shorter one."""

from collections.abc import Mapping
from typing import Any

from textmill.base import Wire
from textmill.tasks.generation import GenerationOptions, GenerationTask


class SummarizationOptions(GenerationOptions):
    """Options of a summarization job."""


class SummarizationOutput(Wire):
    """What a document became."""

    summary_text: str


class SummarizationTask(GenerationTask):
    """A task over encoder-decoders."""

    def shown(self, output: Mapping[str, Any]) -> str:
        """The summary."""
        return str(output["summary_text"])


TASK = SummarizationTask(
    name="summarization",
    title="A text becomes its summary.",
    options=SummarizationOptions,
    output=SummarizationOutput,
    architectures=("ForConditionalGeneration", "MTModel"),
)
