"""Every error that leaves this process: what it is in Textmill's own tree. How it looks is for the face at its path."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.faces import Faces
from store.faults import brief
from textmill import errors

log = logging.getLogger(__name__)


def install(app: FastAPI, faces: Faces) -> None:
    """Answer all errors in the form of their face: ours, FastAPI's, the router's, and those nobody expected.

    By the path and not by a class of routes: no route has seen an unknown address, nor what a middleware raised.
    """
    for kind, known in _KNOWN.items():
        app.add_exception_handler(kind, _handler(faces, known))


def _handler(faces: Faces, known: Callable[[Request, Any], errors.TextmillError]) -> Any:
    def handle(request: Request, error: Exception) -> Response:
        response = faces.at(request.scope["path"]).error(known(request, error))
        if isinstance(error, HTTPException):
            response.headers.update(error.headers or {})  # 405 says what is allowed
        if isinstance(error, errors.Unavailable):
            # One line: every request fails, and a traceback says nothing about what is down.
            log.warning("%s: %s: %s", _asked(request), error.code, brief(error))
        elif isinstance(error, errors.TextmillError) and response.status_code >= 500:
            log.error("%s: %s: %s", _asked(request), error.code, error.message, exc_info=error)
        return response

    return handle


def _asked(request: Request) -> str:
    """Method and path as they came: decoded, a path could write lines of its own into the log."""
    return f"{request.method} {quote(request.url.path)}"


def _ours(_request: Request, error: errors.TextmillError) -> errors.TextmillError:
    return error


def _validation(_request: Request, error: RequestValidationError) -> errors.TextmillError:
    found: list[dict[str, Any]] = [
        {"location": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()
    ]
    return errors.InvalidRequest(f"{found[0]['location']}: {found[0]['message']}", errors=found)


def _router(request: Request, error: HTTPException) -> errors.TextmillError:
    """The router knows two errors: no such address, and no such method there."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return errors.NotFound(f"nothing is at {request.url.path}")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return errors.MethodNotAllowed(f"{request.url.path} does not take {request.method}")
    return errors.InternalError(str(error.detail))


def _gone(_request: Request, _error: ClientDisconnect) -> errors.TextmillError:
    """The producer hung up while its body was read: nothing was done, and nobody hears this answer."""
    return errors.InvalidRequest("the connection was closed before the body was complete")


def _unexpected(_request: Request, _error: Exception) -> errors.TextmillError:
    # Starlette raises the exception again after answering, and uvicorn logs it with its traceback.
    return errors.InternalError()


_KNOWN: dict[type[Exception], Callable[[Request, Any], errors.TextmillError]] = {
    errors.TextmillError: _ours,
    RequestValidationError: _validation,
    HTTPException: _router,
    ClientDisconnect: _gone,
    Exception: _unexpected,
}
