"""The tasks: one file each, and the one list of them. Whatever asks "which task" looks here."""

from textmill.errors import InvalidRequest
from textmill.tasks import (
    feature_extraction,
    fill_mask,
    ner,
    question_answering,
    summarization,
    text_classification,
    text_generation,
    translation,
    zero_shot_classification,
)
from textmill.tasks.task import Candidate, DocumentFields, Offer, Offered, Task, TaskOptions

__all__ = [
    "NAMES", "TASKS", "Candidate", "DocumentFields", "Offer", "Offered", "Task", "TaskOptions", "fields_of", "get",
]  # fmt: skip

TASKS: tuple[Task, ...] = (
    summarization.TASK,
    translation.TASK,
    ner.TASK,
    text_classification.TASK,
    zero_shot_classification.TASK,
    question_answering.TASK,
    fill_mask.TASK,
    text_generation.TASK,
    feature_extraction.TASK,
)
"""In the order in which they are shown."""

NAMES: tuple[str, ...] = tuple(task.name for task in TASKS)

_BY_NAME = {name: task for task in TASKS for name in (task.name, *task.aliases)}


def get(name: str) -> Task:
    """The task of that name, or that it is an alias of. Raises InvalidRequest, naming those that there are."""
    if name not in _BY_NAME:
        raise InvalidRequest(f"there is no task {name[:64]!r}; the tasks are: {', '.join(NAMES)}", valid=list(NAMES))
    return _BY_NAME[name]


def fields_of(name: str) -> tuple[str, ...] | None:
    """What the documents of the task may have beside id and text; None for a task that this version does not know."""
    return tuple(_BY_NAME[name].fields.model_fields) if name in _BY_NAME else None
