"""JSON lines."""

from textmill import wire


def result_line(result: wire.Result) -> str:
    """A result as a line of JSON, its output as the server gave it."""
    return result.model_dump_json() + "\n"
