"""The form of an error of `/v1`: the one table from exceptions to statuses, and problem+json (RFC 9457)."""

from fastapi import Response

from textmill import errors, wire

# The first class of an exception's ancestry that stands here decides.
STATUS: dict[type[errors.TextmillError], int] = {
    errors.InvalidRequest: 422,
    errors.RequestTooLarge: 413,
    errors.TooManyDocuments: 413,
    errors.BodyTimeout: 408,
    errors.UnsupportedMediaType: 415,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.KeyNotFound: 404,
    errors.JobNotFound: 404,
    errors.DocumentNotFound: 404,
    errors.DeliveryNotFound: 404,
    errors.FileNotFound: 404,
    errors.BatchNotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.ResultNotReady: 409,
    errors.FileInUse: 409,
    errors.BatchEnded: 409,
    errors.JobClosed: 409,
    errors.JobNotEnded: 409,
    errors.NothingToRetry: 409,
    errors.MatchChanged: 409,
    errors.UploadOffsetMismatch: 409,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
    errors.AnswerTimeout: 504,
    errors.TextmillError: 500,
}

RETRY_AFTER_SECONDS = 2
"""Where the error does not know better."""


def status_of(error: errors.TextmillError) -> int:
    """The HTTP status of an exception of the tree."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def problem(error: errors.TextmillError) -> Response:
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
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(error.details.get("retry_after_seconds", RETRY_AFTER_SECONDS))
    if status == 408:
        headers["Connection"] = "close"  # whatever still comes is the rest of the body
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(body.model_dump_json(), status, headers, media_type="application/problem+json")
