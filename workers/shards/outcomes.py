"""Outcomes as the ledger stores them: output as JSON text, made once."""

import json

from store.bulk import DocumentOutcome
from textmill.errors import ProcessingFailed, TextmillError
from textmill.wire import unstorable
from workers.runner import ModelRunner, Outcome

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def succeeded(position: int, outcome: Outcome, runner: ModelRunner, attempt: int) -> DocumentOutcome:
    """A document that has an output."""
    try:
        output = _encode(outcome.output)
    except ValueError as error:  # a score that is not a number
        return failed(position, ProcessingFailed(f"the output is not JSON: {error}"), outcome.input_tokens, attempt)
    if unstorable(output) is not None:
        output = _encode_ascii(outcome.output)  # half of a surrogate pair: only its escape can be stored
    return DocumentOutcome(
        position,
        output,
        model_revision=runner.revision,
        input_tokens=outcome.input_tokens,
        output_tokens=outcome.output_tokens,
        pieces=outcome.pieces,
        truncated=outcome.truncated,
        attempts=attempt,
        backend=runner.backend.name,
        dtype=runner.dtype,
    )


def failed(position: int, error: TextmillError, input_tokens: int, attempt: int) -> DocumentOutcome:
    """A document that has no output."""
    return DocumentOutcome(
        position, None, error.code, _storable(error.message), None, input_tokens or None, None, None, False, attempt
    )


def _storable(message: str) -> str:
    """Messages may quote a text, and an exception may quote anything."""
    return message.replace("\0", "").encode(errors="replace").decode()
