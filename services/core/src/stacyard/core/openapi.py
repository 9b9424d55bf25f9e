"""The API definition of a service, with the address under which the client sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

# OGC API Common 1.0, section 7.7.2, asks for this media type
_MEDIA_TYPE = "application/vnd.oai.openapi+json;version=3.0"

Amended: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


def serve_definition(app: FastAPI, amended: Amended = dict) -> None:
    """Serve the definition with an absolute server URL, in place of FastAPI's own route, which knows a path only.

    Args:
        app: the application.
        amended: gives the definition with what FastAPI does not know.
    """

    async def definition(request: Request) -> Response:
        server = {"url": str(request.base_url).rstrip("/")}
        return JSONResponse({**amended(app.openapi()), "servers": [server]}, media_type=_MEDIA_TYPE)

    if app.openapi_url is None:
        raise ValueError(f"{app.title} has no openapi_url, so there is no definition to serve")
    route = Route(app.openapi_url, definition, name="openapi", include_in_schema=False)
    routes = app.router.routes
    routes[:] = [route, *(known for known in routes if getattr(known, "path", None) != app.openapi_url)]
