"""Question answering: the part of a text that answers a question."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from textmill.base import Wire
from textmill.errors import InvalidDocument
from textmill.tasks.task import Candidate, DocumentFields, Task, TaskOptions

Question = Annotated[str, Field(min_length=1, max_length=10_000)]


class QuestionAnsweringOptions(TaskOptions):
    """Options of a question-answering job."""

    question: Question | None = None
    """What is asked of each text that brings no question of its own."""
    top_k: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """How many answers are reported at most; 1 where nothing is said."""
    max_answer_len: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """Tokens of an answer at most; 15 where nothing is said."""
    handle_impossible_answer: bool | None = None
    """Whether "there is no answer" may be one: an empty one, with the score that the model gives it."""


class QuestionFields(DocumentFields):
    """A document may ask a question of its own."""

    question: Question | None = None
    """What is asked of this text, whatever the job asks of the others."""


class Answer(Wire):
    """A part of the text: `text[start:end] == answer`, in code points. Where there is none: empty, from 0 to 0."""

    answer: str
    score: float
    start: int
    end: int


class QuestionAnsweringOutput(Wire):
    """The answers that were found in a document, best first."""

    answers: list[Answer]


class QuestionAnsweringTask(Task):
    """Each document needs a question, its own or the job's."""

    def check_fields(
        self, fields: Mapping[str, Any], options: Mapping[str, Any], model: Candidate | None = None
    ) -> None:
        """Refuses a document that nothing is asked of."""
        super().check_fields(fields, options, model)
        if "question" not in fields and "question" not in options:
            message = "question: the document has none, and the job names none for all"
            raise InvalidDocument(message, field="question", valid=["text", *self.fields.model_fields])

    def shown(self, output: Mapping[str, Any]) -> str:
        """An answer a line."""
        answers = [f"{one['answer'] or '(no answer)'}  {one['score']:.3f}" for one in output["answers"]]
        return "\n".join(answers) or "(no answer)"


TASK = QuestionAnsweringTask(
    name="question-answering",
    title="The part of a text that answers a question is found.",
    options=QuestionAnsweringOptions,
    output=QuestionAnsweringOutput,
    architectures=("ForQuestionAnswering",),
    fields=QuestionFields,
)
