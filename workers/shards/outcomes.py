"""Outcomes as the ledger stores them: output as JSON text, made once."""

import json

from store.bulk import DocumentOutcome
from textmill.errors import ProcessingFailed, TextmillError
from textmill.wire import unstorable
from workers.runner import Outcome

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def succeeded(position: int, outcome: Outcome, revision: str, attempt: int) -> DocumentOutcome:
    """A runner's outcome; it may also be an error."""
    if outcome.output is None:
        return DocumentOutcome(
            position,
            None,
            outcome.error_code or ProcessingFailed.code,
            _storable(outcome.error_message or ""),
            revision,
            outcome.input_tokens,
            outcome.output_tokens,
            outcome.pieces,
            outcome.truncated,
            attempt,
        )
    try:
        output = _encode(outcome.output)
    except ValueError as error:  # a score that is not a number
        return failed(position, ProcessingFailed(f"the output is not JSON: {error}"), outcome.input_tokens, attempt)
    if unstorable(output) is not None:
        output = _encode_ascii(outcome.output)  # half of a surrogate pair: only its escape can be stored
    return DocumentOutcome(
        position,
        output,
        None,
        None,
        revision,
        outcome.input_tokens,
        outcome.output_tokens,
        outcome.pieces,
        outcome.truncated,
        attempt,
    )


def failed(position: int, error: TextmillError, input_tokens: int, attempt: int) -> DocumentOutcome:
    """A document that has no output."""
    return DocumentOutcome(
        position, None, error.code, _storable(error.message), None, input_tokens or None, None, None, False, attempt
    )


def _storable(message: str) -> str:
    """Messages may quote a text, and an exception may quote anything."""
    return message.replace("\0", "").encode(errors="replace").decode()
