"""The form of an error of the Inference API: what its clients show, with Textmill's own code."""

from typing import Any

from fastapi import Response
from pydantic import BaseModel

from api.v1.errors import RETRY_AFTER_SECONDS
from api.v1.errors import STATUS as V1
from textmill import errors

# A document that failed is the whole answer here, so its error has a status. The model is part of the address.
STATUS = V1 | {
    errors.ModelNotFound: 404,
    errors.DocumentError: 422,
    errors.DeviceOutOfMemory: 500,
    errors.WorkerLost: 500,
    errors.ProcessingFailed: 500,
    errors.ModelUnavailable: 503,
}


class InferenceError(BaseModel):
    """An error: a sentence for people, and Textmill's stable code with its details for programs."""

    error: str
    code: str
    details: dict[str, Any]


def answered(error: errors.TextmillError) -> Response:
    """The error as clients of the Inference API read it."""
    status = next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)
    body = InferenceError(error=error.message, code=error.code, details=error.details)
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(error.details.get("retry_after_seconds", RETRY_AFTER_SECONDS))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(body.model_dump_json(), status, headers, media_type="application/json")
