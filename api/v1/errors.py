"""The one table from exceptions to statuses, and problem+json (RFC 9457) for every error that leaves this process."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from store.faults import brief
from textmill import errors, wire

log = logging.getLogger(__name__)

# The first class of an exception's ancestry that stands here decides.
STATUS: dict[type[errors.TextmillError], int] = {
    errors.InvalidRequest: 422,
    errors.RequestTooLarge: 413,
    errors.TooManyDocuments: 413,
    errors.UnsupportedMediaType: 415,
    errors.Unauthorized: 401,
    errors.NotFound: 404,
    errors.JobNotFound: 404,
    errors.DocumentNotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.ResultNotReady: 409,
    errors.JobClosed: 409,
    errors.JobNotEnded: 409,
    errors.NothingToRetry: 409,
    errors.UploadOffsetMismatch: 409,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
    errors.TextmillError: 500,
}

RETRY_AFTER_SECONDS = "2"


def status_of(error: errors.TextmillError) -> int:
    """The HTTP status of an exception of the tree."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def problem(error: errors.TextmillError, headers: dict[str, str] | None = None) -> Response:
    """The error as problem+json. `title` is the same for each `code`; `detail` speaks of this occurrence."""
    status = status_of(error)
    body = wire.Problem(
        type=f"urn:textmill:{error.code}",
        title=(type(error).__doc__ or error.code).strip().split("\n")[0],
        status=status,
        code=error.code,
        detail=error.message,
        details=error.details,
    )
    headers = dict(headers or {})
    if status in (429, 503):
        headers["Retry-After"] = RETRY_AFTER_SECONDS
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(body.model_dump_json(), status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Every error leaves this process through `problem`: ours, FastAPI's, the router's, and those nobody expected."""
    app.add_exception_handler(errors.TextmillError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _router)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.TextmillError)
    if isinstance(error, errors.Unavailable):
        # One line: what is down is no fault of this code, a traceback says nothing about it, and every request fails.
        log.warning("%s %s: %s: %s", request.method, request.url.path, error.code, brief(error))
    elif status_of(error) >= 500:
        log.error("%s %s: %s: %s", request.method, request.url.path, error.code, error.message, exc_info=error)
    return problem(error)


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found: list[dict[str, Any]] = [
        {"location": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()
    ]
    return problem(errors.InvalidRequest(f"{found[0]['location']}: {found[0]['message']}", errors=found))


def _router(request: Request, error: Exception) -> Response:
    """The router knows two errors: no such address, and no such method there."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem(errors.NotFound(f"nothing is at {request.url.path}"), headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{request.url.path} does not take {request.method}"
        return problem(errors.MethodNotAllowed(message), headers)
    return problem(errors.InternalError(str(error.detail)), headers)


def _gone(request: Request, error: Exception) -> Response:
    """The producer hung up while its body was read: nothing was done, and nobody hears this answer."""
    return problem(errors.InvalidRequest("the connection was closed before the body was complete"))


def _unexpected(request: Request, error: Exception) -> Response:
    # Starlette raises the exception again after answering, and uvicorn logs it with its traceback.
    return problem(errors.InternalError())
