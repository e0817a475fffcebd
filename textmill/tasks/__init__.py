"""The tasks: one file each, and the one list of them. Whatever asks "which task" looks here."""

from textmill.errors import InvalidRequest
from textmill.tasks import ner, summarization, translation
from textmill.tasks.task import Candidate, Offer, Offered, Task, TaskOptions

__all__ = ["NAMES", "TASKS", "Candidate", "Offer", "Offered", "Task", "TaskOptions", "get"]

TASKS: tuple[Task, ...] = (summarization.TASK, translation.TASK, ner.TASK)
"""In the order in which they are shown."""

NAMES: tuple[str, ...] = tuple(task.name for task in TASKS)

_BY_NAME = {name: task for task in TASKS for name in (task.name, *task.aliases)}


def get(name: str) -> Task:
    """The task of that name, or that it is an alias of. Raises InvalidRequest, naming those that there are."""
    if name not in _BY_NAME:
        raise InvalidRequest(f"there is no task {name[:64]!r}; the tasks are: {', '.join(NAMES)}", valid=list(NAMES))
    return _BY_NAME[name]
