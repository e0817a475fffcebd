"""The face at `/v1`: its routes, the form of its errors, and its description."""

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from api.faces import Face
from api.v1 import catalogue, events, jobs, keys, results, search, webhooks
from api.v1.bodies import BODIES, OPTIONAL_BODIES
from api.v1.errors import problem
from api.v1.examples import EXAMPLES
from textmill import wire

PREFIX = "/v1"


def describe(schema: dict[str, Any], paths: Iterable[str]) -> None:
    """Complete FastAPI's description of the paths by the bodies, the one form of errors, and the key."""
    models = list(dict.fromkeys([wire.Problem, *(model for body in BODIES.values() for model in body.values())]))
    refs, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    for name, example in EXAMPLES.items():
        components["schemas"][name]["examples"] = [example]
    components.setdefault("securitySchemes", {})["key"] = {"type": "http", "scheme": "bearer"}
    problem_content = {"application/problem+json": {"schema": refs[wire.Problem, "validation"]}}
    for path in paths:
        for method, operation in schema["paths"][path].items():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"description": "An error (RFC 9457)", "content": problem_content}
            if FACE.has(path):
                operation["security"] = [{"key": []}]
            if body := BODIES.get((path, method)):
                content = {kind: {"schema": refs[model, "validation"]} for kind, model in body.items()}
                operation["requestBody"] = {"content": content, "required": path not in OPTIONAL_BODIES}


# Results before jobs: FastAPI takes the first route that fits.
ROUTERS = (results.router, search.router, events.router, jobs.router, webhooks.router, catalogue.router, keys.router)

FACE = Face(PREFIX, ROUTERS, problem, describe)
