"""What runs models: one folder a backend, found by its name. Each has `BACKEND`, an object of `workers.runner.Backend`,
and imports its framework only when it opens a model, or is asked to ahead of that."""

import importlib
import pkgutil
from dataclasses import replace
from functools import cache

from textmill.errors import ModelUnavailable
from workers.kinds import Kind, ModelSpec
from workers.runner import Backend


@cache
def known() -> dict[str, Backend]:
    """The backends by name, those first that `auto` prefers."""
    folders = (module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    found: list[Backend] = [importlib.import_module(f"{__name__}.{folder}").BACKEND for folder in folders]
    return {backend.name: backend for backend in sorted(found, key=lambda backend: -backend.rank)}


def get(name: str) -> Backend:
    """The backend of that name. Raises ModelUnavailable, naming those that there are."""
    if name not in known():
        raise ModelUnavailable(f"there is no backend {name!r}; there are: {', '.join(sorted(known()))}")
    return known()[name]


def choose(spec: ModelSpec, kind: Kind) -> Backend:
    """What runs the model: the backend that its catalogue entry names, or the best that can.

    Raises ModelUnavailable with the reasons where none can.
    """
    if spec.backend != "auto":
        backend = get(spec.backend)
        if (reason := backend.inspect(spec, kind)) is not None:
            raise ModelUnavailable(f"{spec.name}: the backend {backend.name} cannot run it: {reason}")
        return backend
    reasons = []
    for backend in known().values():
        if (reason := backend.inspect(spec, kind)) is None:
            return backend
        reasons.append(f"{backend.name}: {reason}")
    raise ModelUnavailable(f"{spec.name}: no backend can run it ({'; '.join(reasons)})")


def stand_in(spec: ModelSpec, kind: Kind, backend: Backend) -> tuple[ModelSpec, Backend] | None:
    """What does the rest where this backend does not do all that a model's jobs ask for, and how it is told of the
    model: in its own choice of number format, where it lacks the one that was asked for."""
    if backend.stand_in is None:
        return None
    other = get(backend.stand_in)
    for seen in (replace(spec, backend=other.name), replace(spec, backend=other.name, dtype="auto")):
        if other.inspect(seen, kind) is None:
            return seen, other
    return None
