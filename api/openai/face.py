"""The face at `/openai`: its routes, the form of its errors, and its description."""

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from api.faces import Face
from api.openai import batches, calls, files
from api.openai.errors import ErrorAnswer, answer
from api.openai.shapes import BatchRequest

PREFIX = "/openai"

_UPLOAD = {
    "type": "object",
    "required": ["purpose", "file"],
    "properties": {
        "purpose": {"type": "string", "enum": ["batch"]},
        "file": {"type": "string", "format": "binary"},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
}
_REQUEST = {"type": "object", "required": ["model"], "properties": {"model": {"type": "string"}}}
_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {"role": {"type": "string"}, "content": {"type": "string"}},
}


def _of_text(name: str, schema: dict[str, Any], model: str, example: object) -> dict[str, Any]:
    properties = {**_REQUEST["properties"], name: schema}  # type: ignore[dict-item]
    examples = [{"model": model, name: example}]
    return {**_REQUEST, "required": ["model", name], "properties": properties, "examples": examples}


BATCH = {"input_file_id": f"file-{'0' * 32}", "endpoint": "/v1/embeddings", "completion_window": "24h"}

BODIES: dict[str, dict[str, dict[str, Any]]] = {
    "/openai/v1/files": {"multipart/form-data": _UPLOAD},
    "/openai/v1/embeddings": {"application/json": _of_text("input", _TEXTS, "all-minilm-l6-v2", ["A vector of this."])},
    "/openai/v1/completions": {
        "application/json": _of_text("prompt", _TEXTS, "smollm2-360m-instruct", "Once upon a time")
    },
    "/openai/v1/chat/completions": {
        "application/json": _of_text(
            "messages",
            {"type": "array", "minItems": 1, "items": _MESSAGE},
            "smollm2-360m-instruct",
            [{"role": "user", "content": "Name three rivers."}],
        )
    },
}
"""Bodies that FastAPI does not know of, by path: all are POST."""


def describe(schema: dict[str, Any], paths: Iterable[str]) -> None:
    """Complete FastAPI's description by the bodies, the one form of errors, and the key."""
    refs, definitions = models_json_schema(
        [(ErrorAnswer, "serialization"), (BatchRequest, "validation")], ref_template="#/components/schemas/{model}"
    )
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components["schemas"]["BatchRequest"]["examples"] = [BATCH]
    components.setdefault("securitySchemes", {})["key"] = {"type": "http", "scheme": "bearer"}
    failed = {"application/json": {"schema": refs[ErrorAnswer, "serialization"]}}
    bodies = {**BODIES, "/openai/v1/batches": {"application/json": refs[BatchRequest, "validation"]}}
    for path in paths:
        for method, operation in schema["paths"][path].items():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"description": "An error, as OpenAI writes it", "content": failed}
            operation["security"] = [{"key": []}]
            if method == "post" and path in bodies:
                content = {kind: {"schema": body} for kind, body in bodies[path].items()}
                operation["requestBody"] = {"content": content, "required": True}


FACE = Face(PREFIX, (files.router, batches.router, calls.router), answer, describe)
