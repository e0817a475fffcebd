"""The middleware that tells of requests, where traces are on.

FastAPI can tell of them itself. It was not taken, because it tells the query as well, which is what producers search
for.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from store.traces import Traces

SILENT = ("/health/", "/metrics")
"""Paths of probes, which would be most of what is told."""


class TraceRequests:
    """ASGI middleware. A span is named by the route's template."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(SILENT):
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._traces.request(scope["method"], scope["path"], scope["scheme"], headers) as ended:
            try:
                await self._app(scope, receive, watched)
            finally:
                ended(getattr(scope.get("route"), "path", None), status)
