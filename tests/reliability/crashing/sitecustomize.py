"""Kills its process by SIGKILL when the code comes to a named point. Python imports this module as it starts, wherever
this folder is on its path: so real processes die where a test wants them to, and the product knows nothing of it.

CRASH_AT    module:function:before|after:n    at the n-th call of it in one process
CRASH_MARK  a file that is made then: processes that find it live on, so that the one started next does the work
"""

import functools
import importlib.util
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def crash_once() -> None:
    """End, unless another process has died here before."""
    try:
        os.close(os.open(os.environ["CRASH_MARK"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def crashing(function: Callable[..., Any], when: str, number: int) -> Callable[..., Any]:
    """The function, at whose n-th call the process dies."""
    calls = itertools.count(1)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        now = next(calls) == number
        if now and when == "before":
            crash_once()
        result = function(*args, **kwargs)
        if now and when == "after":
            crash_once()
        return result

    return call


class Finder(MetaPathFinder):
    """Finds one module, as everybody else would, and changes a function in it as soon as it has been run."""

    def __init__(self, module: str, function: str, when: str, number: str) -> None:
        self._module = module
        self._function = function
        self._when = when
        self._number = int(number)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None: not this one's business."""
        if fullname != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            *owners, name = self._function.split(".")
            owner: Any = functools.reduce(getattr, owners, module)
            setattr(owner, name, crashing(getattr(owner, name), self._when, self._number))

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


if "CRASH_AT" in os.environ:
    sys.meta_path.insert(0, Finder(*os.environ["CRASH_AT"].split(":")))
