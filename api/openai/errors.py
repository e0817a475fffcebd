"""The form of an error at `/openai`: OpenAI's, with Textmill's own stable code."""

from typing import Any

from fastapi import Response
from pydantic import BaseModel

from api.v1.errors import RETRY_AFTER_SECONDS
from api.v1.errors import STATUS as V1_STATUS
from textmill import errors

STATUS: dict[type[errors.TextmillError], int] = {
    **V1_STATUS,
    # Where OpenAI says another status than `/v1` for the like.
    errors.InvalidRequest: 400,
    errors.ModelNotFound: 404,
    errors.TooManyDocuments: 400,
    # What became of a text, which `/v1` says in a result.
    errors.DocumentError: 400,
    errors.DeviceOutOfMemory: 500,
    errors.WorkerLost: 500,
    errors.ProcessingFailed: 500,
    errors.ModelUnavailable: 503,
}
"""The first class of an exception's ancestry that stands here decides."""

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
"""OpenAI's kinds of errors by status; other statuses below 500 are `invalid_request_error`."""

PLACES = ("param", "option", "field", "location")
"""Where an error's details may name what is wrong."""


class ErrorBody(BaseModel):
    """What went wrong: `code` is stable, `message` for people."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorBody


def status_of(error: errors.TextmillError) -> int:
    """The HTTP status of an exception of the tree."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def body_of(error: errors.TextmillError) -> dict[str, Any]:
    """The error as OpenAI's clients read it."""
    status = status_of(error)
    kind = "server_error" if status >= 500 else TYPES.get(status, "invalid_request_error")
    found = [*error.details.get("errors", []), error.details]
    param = next((one[place] for one in found for place in PLACES if one.get(place)), None)
    said = ErrorBody(message=error.message, type=kind, param=None if param is None else str(param), code=error.code)
    return ErrorAnswer(error=said).model_dump()


def answer(error: errors.TextmillError) -> Response:
    """The answer to a request that failed."""
    status = status_of(error)
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(error.details.get("retry_after_seconds", RETRY_AFTER_SECONDS))
    if status in (408, 413):
        headers["Connection"] = "close"  # whatever still comes is the rest of the body
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = ErrorAnswer.model_validate(body_of(error)).model_dump_json()
    return Response(content, status, headers, media_type="application/json")
