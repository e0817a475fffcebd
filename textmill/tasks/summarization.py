"""Summarization: a text becomes a shorter one."""

from collections.abc import Mapping
from typing import Any, Literal

from textmill.base import Wire
from textmill.tasks.generation import GenerationOptions, GenerationTask


class SummarizationOptions(GenerationOptions):
    """Options of a summarization job."""

    faithful: bool | None = None
    """Summaries are made of words of the text, in other inflections too, and of English function words, none of them
    three times in a row. For texts in English: of another language only the text's words are left, of scripts
    without spaces between words its characters. Where nothing faithful is said, the summary is the text's first
    sentence, and told to be truncated."""
    reduce: Literal["generate", "choose"] | None = None
    """What becomes of a text that is too long: the summaries of its parts are summarized (`generate`), or the one that
    has most in common with all parts is the summary (`choose`), for models that know paragraphs and no lists of
    phrases. Where nothing is said, `generate`."""


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
