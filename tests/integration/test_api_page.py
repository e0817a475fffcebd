"""The page at `/` and Swagger UI at `/docs`: what is served, under which policy, and what stays an error."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.pages import PAGE_POLICY
from store.session import Store
from tests.integration.serving import serving
from tests.integration.test_api import problem


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: no row is read for a file."""
    return str(request.param)


@pytest.fixture
def web(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "views").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Textmill</title>")
    (folder / "views" / "jobs.js").write_text("export const jobs = 1;")
    (tmp_path / "secret.txt").write_text("nobody's business")
    return folder


@pytest.fixture
def http(store: Store, web: Path) -> Iterator[httpx.Client]:
    with serving(store, web=web) as api, httpx.Client(base_url=api.url, timeout=240) as client:
        yield client


def test_the_page_is_served_without_a_key_under_a_strict_policy(http: httpx.Client, web: Path) -> None:
    page = http.get("/")
    assert (page.status_code, page.text) == (200, "<!doctype html><title>Textmill</title>")
    script = http.get("/views/jobs.js")
    assert script.headers["content-type"].startswith("text/javascript")
    for answer in (page, script):
        assert answer.headers["content-security-policy"] == PAGE_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-cache"
        again = http.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["content-security-policy"] == PAGE_POLICY
    (web / "views" / "jobs.js").write_text("export const jobs = 2; // changed")
    changed = http.get("/views/jobs.js", headers={"If-None-Match": script.headers["etag"]})
    assert changed.text.startswith("export const jobs = 2"), "a new release is a new page at once"
    assert http.head("/").status_code == 200
    assert "unsafe" not in PAGE_POLICY


def test_what_is_no_file_is_the_error_that_it_was(http: httpx.Client) -> None:
    for path in ("/nothing.js", "/views/", "/../secret.txt", "/%2e%2e/secret.txt", "/v1/nothing", "/%00"):
        problem(http.get(path), 404, "not_found")
    problem(http.post("/"), 404, "not_found")
    problem(http.get("/v1/jobs/cancel/x"), 404, "not_found")
    problem(http.put("/v1/jobs"), 405, "method_not_allowed")
    problem(http.get("/v1/jobs"), 401, "unauthorized")
    routes = set(re.findall(r'route="([^"]+)"', http.get("/metrics").text))
    assert routes <= {"page", "unmatched", "/v1/jobs", "/metrics"}, "an address that is none makes no time series"


def test_without_the_folder_the_api_is_as_it_is(store: Store, tmp_path: Path) -> None:
    with serving(store, web=tmp_path / "none") as api, api.http() as http:
        problem(http.get("/"), 404, "not_found")
        assert http.get("/v1/jobs").status_code == 200


def test_the_documentation_needs_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert "://" not in page.text
    assert "'unsafe-inline'" not in page.headers["content-security-policy"].split("style-src")[0]
    assert "<script>" not in page.text
    for path in ("/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/favicon-32x32.png"):
        assert path in page.text
        file = http.get(path)
        assert file.status_code == 200
        assert file.headers["x-content-type-options"] == "nosniff"
    assert "SwaggerUIBundle" in http.get("/docs/swagger-ui-bundle.js").text
    problem(http.get("/docs/nothing.js"), 404, "not_found")
