"""The face at `/hf`: its routes, the form of its errors, and its description."""

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from api.faces import Face
from api.hf import calls
from api.hf.errors import InferenceError, answered
from api.hf.shape import InferenceRequest

EXAMPLE = {"inputs": "Maria Silva moved to Lisbon.", "parameters": {"aggregation_strategy": "simple"}}


def describe(schema: dict[str, Any], paths: Iterable[str]) -> None:
    """Complete FastAPI's description of the paths by the body, the form of errors, and the key."""
    refs, definitions = models_json_schema(
        [(InferenceRequest, "validation"), (InferenceError, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(definitions["$defs"])
    schemas["InferenceRequest"]["examples"] = [EXAMPLE]
    answer = {"description": "The answer, in the task's own form", "content": {"application/json": {"schema": {}}}}
    error = {"application/json": {"schema": refs[InferenceError, "serialization"]}}
    body = {"application/json": {"schema": refs[InferenceRequest, "validation"]}}
    for path in paths:
        for operation in schema["paths"][path].values():
            operation["responses"] = {"200": answer, "default": {"description": "An error", "content": error}}
            operation["requestBody"] = {"content": body, "required": True}
            operation["security"] = [{"key": []}]


FACE = Face("/hf", (calls.router,), answered, describe)
