"""What is at `/`: the explorer for a browser, an index of the services for a program."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from stacyard.local import explorer

#: Everything the page needs is of this origin: MapLibre's worker is a file of the build, its styles are set by script.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; worker-src 'self' blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
)

_NOT_BUILT = (
    "<!doctype html><title>stacyard</title><p>The map is not built; <code>stacyard doctor</code> says why. "
    "The services answer all the same: {links}.</p>"
)


class ExplorerPages:
    """Serves the built explorer if there is one; whether there is, is looked up once, when the server starts."""

    def __init__(self, services: Sequence[str]) -> None:
        built = explorer.built()
        self._files = StaticFiles(directory=built, html=True) if built else None
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a page, its files, or the index."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                if at_root:
                    headers.add_vary_header("Accept")
            await send(message)

        request = Request(scope, receive)
        at_root = scope["path"].removeprefix(scope.get("root_path", "")) in ("", "/")
        if at_root and "text/html" not in request.headers.get("accept", ""):
            await self._index(request)(scope, receive, send_with_policy)
        elif self._files is not None:
            await self._files(scope, receive, send_with_policy)
        elif at_root:
            await self._missing()(scope, receive, send_with_policy)
        else:
            raise HTTPException(404)

    def _index(self, request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        links = [
            {"rel": "self", "type": "application/json", "href": f"{base}/"},
            *({"rel": "service", "title": path[1:], "href": f"{base}{path}/"} for path in self._services),
            {"rel": "explorer", "type": "text/html", "href": f"{base}/"},
        ]
        return JSONResponse({"title": "stacyard", "links": links})

    def _missing(self) -> Response:
        links = ", ".join(f'<a href=".{path}/">{path[1:]}</a>' for path in self._services)
        return HTMLResponse(_NOT_BUILT.format(links=links))
