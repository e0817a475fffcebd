"""Two contracts beside each other: each answers in its own form, and the first one for what belongs to none."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from api.faces import Face, Faces
from api.v1.face import FACE as V1
from store.session import Store
from tests.integration.serving import serving
from textmill.errors import JobNotFound, MethodNotAllowed, NotFound, TextmillError

ROUTER = APIRouter(prefix="/toy/deep")
STATUS = {JobNotFound: 410, NotFound: 418, MethodNotAllowed: 400}


@ROUTER.get("/raise")
def raise_ours() -> None:
    raise JobNotFound("gone")


@ROUTER.get("/number")
def number(n: int) -> int:
    return n


@ROUTER.get("/bug")
def bug() -> None:
    raise ZeroDivisionError


def in_words(error: TextmillError) -> Response:
    return PlainTextResponse(f"toy says {error.code}", STATUS.get(type(error), 409))


def describe(schema: dict[str, Any], paths: Any) -> None:
    for path in paths:
        for operation in schema["paths"][path].values():
            operation["x-toy"] = True


TOY = Face("/toy", (ROUTER,), in_words, describe)


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: this is about HTTP."""
    return str(request.param)


@pytest.fixture
def http(store: Store) -> Iterator[httpx.Client]:
    with serving(store, faces=(V1, TOY)) as api, api.http() as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/toy/deep/raise", 410, "job_not_found"),
        ("GET", "/toy/deep/number?n=many", 409, "invalid_request"),
        ("GET", "/toy/deep/nothing", 418, "not_found"),
        ("GET", "/toy", 418, "not_found"),
        ("POST", "/toy/deep/number", 400, "method_not_allowed"),
        ("GET", "/toy/deep/bug", 409, "internal_error"),
    ],
)
def test_the_second_face_has_its_own_form(http: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, answer.text) == (status, f"toy says {code}")
    assert answer.headers.get("allow") == ("GET" if status == 400 else None)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/jobs/none", 404, "job_not_found"),
        ("GET", "/v1/jobs?limit=many", 422, "invalid_request"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        # Of no face: the first one speaks.
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/toys", 404, "not_found"),
        ("POST", "/health/live", 405, "method_not_allowed"),
    ],
)
def test_v1_and_what_is_of_no_face_answer_as_ever(
    http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = http.request(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (status, status, code)


def test_each_face_describes_its_own_paths(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    toys = {path for path, operations in paths.items() if any("x-toy" in each for each in operations.values())}
    assert toys == {"/toy/deep/raise", "/toy/deep/number", "/toy/deep/bug"}
    assert "default" not in paths["/toy/deep/raise"]["get"]["responses"]
    for path in ("/v1/jobs", "/health/live"):
        assert "application/problem+json" in paths[path]["get"]["responses"]["default"]["content"]
    assert ("security" in paths["/v1/jobs"]["get"], "security" in paths["/health/live"]["get"]) == (True, False)


def test_every_route_of_v1_is_below_its_prefix() -> None:
    paths = [route.path for router in V1.routers for route in router.routes]  # type: ignore[attr-defined]
    assert "/v1/models" in paths
    assert [path for path in paths if not V1.has(path)] == []


def test_a_prefix_is_a_whole_segment() -> None:
    faces = Faces((V1, TOY))
    where = {"/toy": TOY, "/toy/": TOY, "/toy/x": TOY, "/toys": V1, "/": V1, "/v1": V1, "/v10": V1, "/v1/toy/": V1}
    assert {path: faces.at(path) for path in where} == where
