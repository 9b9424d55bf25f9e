"""Where published hrefs begin, for the answer to a request."""

from __future__ import annotations

from starlette.requests import Request


def api_of(request: Request) -> str:
    """Base URL of the API, with a slash at its end."""
    return str(request.base_url)


def origin_of(api: str) -> str:
    """The public base URL of the whole platform, without a slash at its end; the API's own path is the rest of it."""
    return api.rstrip("/").removesuffix("/stac")
