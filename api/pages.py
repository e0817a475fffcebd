"""The page of `web/` at `/`, and Swagger UI at `/docs`: files from this machine alone, under a strict policy."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

DOCS_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""Swagger UI writes styles into what it shows."""

PAGE_POLICY = f"{POLICY}; require-trusted-types-for 'script'"
"""The page sets what it was told as text alone: no string of it can become markup or a script."""

DOCS_START = """\
window.addEventListener("load", () => SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis], validatorUrl: null,
}));
"""

DOCS_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Textmill: the HTTP contract</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""


class Guarded:
    """Files of a folder, under a policy. A browser asks each time whether its copy is still good: a new release of the
    server is a new page at once, and the answer is 304 mostly."""

    def __init__(self, folder: Path, policy: str) -> None:
        self._files = StaticFiles(directory=folder, html=True)
        self._headers = headers(policy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._files(scope, receive, guarded)


def headers(policy: str) -> dict[str, str]:
    """What every page and every file of one is sent with."""
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def install(app: FastAPI, folder: Path) -> None:
    """Serve the documentation, and the folder where there is nothing else: without it the api is as it is."""
    app.include_router(docs)
    app.mount("/docs", Guarded(_swagger_ui(), DOCS_POLICY), name="docs")
    if folder.is_dir():
        # Not a mount at "/", which would come before "this address does not take that method" of all other routes.
        app.router.default = _page_or(app.router.default, Guarded(folder, PAGE_POLICY))


def _page_or(nothing: ASGIApp, pages: ASGIApp) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        # An encoded ".." leads nowhere: what it would lead to has an address of its own.
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or ".." in scope["path"].split("/"):
            await nothing(scope, receive, send)
            return
        scope["route"] = PAGE
        await pages(scope, receive, send)

    return serve


PAGE = SimpleNamespace(path="page")
"""The route of all files of the page in metrics: an address that is none makes no new time series."""

docs = APIRouter(include_in_schema=False)


@docs.get("/docs")
async def docs_page() -> Response:
    """Swagger UI over `/openapi.json`."""
    return HTMLResponse(DOCS_PAGE, headers=headers(DOCS_POLICY))


@docs.get("/docs/start.js")
async def docs_start() -> Response:
    """What a page without inline scripts starts Swagger UI with."""
    return Response(DOCS_START, media_type="text/javascript", headers=headers(DOCS_POLICY))


def _swagger_ui() -> Path:
    """The folder of Swagger UI's files in the package that ships them. None of its code is run."""
    package = find_spec("fastapi_swagger")
    if package is None or package.origin is None:
        raise ImportError("fastapi-swagger is not installed: it is in the group `server` of pyproject.toml")
    return Path(package.origin).parent / "resources"
