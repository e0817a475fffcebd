"""Faces: contracts of HTTP that stand beside each other in one process, each below a prefix of its own."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Response

from textmill.errors import TextmillError


@dataclass(frozen=True)
class Face:
    """One contract: where it stands, its routes, the form of its errors, and what FastAPI cannot see of it."""

    prefix: str
    """The start of all its paths, as `/v1`. What is unknown below it is answered in this face's form, too."""
    routers: Sequence[APIRouter]
    """In the order in which their routes are tried."""
    error: Callable[[TextmillError], Response]
    """An error, with the status that it has in this contract, in the form that this contract's clients read."""
    describe: Callable[[dict[str, Any], Iterable[str]], None]
    """Completes an OpenAPI description, given it and those of its paths that this face answers for."""

    def has(self, path: str) -> bool:
        """Whether the path is below the prefix: `/v1` and `/v1/jobs` are, `/v10` is not."""
        return path == self.prefix or path.startswith(f"{self.prefix}/")


class Faces:
    """The faces of a process. The first one is the default: it speaks for what is below no prefix, which is `/health`,
    `/metrics` and every unknown address."""

    def __init__(self, faces: Sequence[Face]) -> None:
        self._faces = tuple(faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self._faces)

    def at(self, path: str) -> Face:
        """The face that answers for the path."""
        return next((face for face in self._faces if face.has(path)), self._faces[0])
