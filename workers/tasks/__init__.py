"""The rules: how a text becomes items and comes back, one file a task (the contract is in `textmill/tasks/`).

A rule's module has its task's name, with `_` for `-`, and `RULE`. It knows texts and kinds of models; no framework, no
backend, no queue.
"""

import importlib

from textmill import tasks
from workers.runner import TaskRule


def rule(task: str) -> type[TaskRule]:
    """The task's rule. Raises InvalidRequest where there is no such task."""
    name = tasks.get(task).name
    found: type[TaskRule] = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").RULE
    return found
