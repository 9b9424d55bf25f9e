"""HEAD where there is GET, OPTIONS everywhere, and `Allow` that names them. RFC 9110, sections 9.3 and 10.2.1."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.routing import Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.middleware.headers import RawHeaders, header, without
from stacyard.core.origin import operation_of

_ROUTED = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Methods:
    """Serves HEAD by the route of GET where no other does, and answers OPTIONS with what may be asked.

    The body of an answer to HEAD is left to the layers outside, which make tag and length of it, and to the server,
    which does not send it; of a stream no more than the beginning is made.
    """

    def __init__(self, app: ASGIApp, *, router: Router) -> None:
        self._app = app
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, by another method if need be."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        # routing writes into the scope
        asked = dict(scope)
        allowed: str | None = None

        async def send_unless_answered_here(message: Message) -> None:
            nonlocal allowed
            if message["type"] == "http.response.start" and message["status"] == 405:
                allowed = self._allowed(asked) or (header(message["headers"], b"allow") or b"").decode()
                message = {**message, "headers": [*without(message["headers"], b"allow"), *_allow(allowed)]}
            if not _is_answered_here(method, allowed):
                await send(message)

        await self._app(scope, receive, send_unless_answered_here)
        if not _is_answered_here(method, allowed):
            return
        if method == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": _allow(allowed)})
            await send({"type": "http.response.body", "body": b""})
        else:
            asked["method"] = "GET"
            await _only_beginning(self._app, asked, receive, send)
            scope["operation"] = asked.get("operation") or operation_of(asked)

    def _allowed(self, asked: Scope) -> str:
        """The methods of all routes to this path; empty if the router has none."""
        methods = [method for method in _ROUTED if self._serves({**asked, "method": method})]
        if "GET" in methods:
            methods.insert(1, "HEAD")
        return ", ".join([*methods, "OPTIONS"]) if methods else ""

    def _serves(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._router.routes)


class _Enough(OSError):
    """The client is not there to read on; an error that servers raise too, and that every response knows."""


async def _only_beginning(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    ended = False

    async def send_beginning(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.body" and message.get("more_body", False):
            ended = True
            await send({"type": "http.response.body", "body": b""})
            raise _Enough
        await send(message)

    try:
        await app(scope, receive, send_beginning)
    except (_Enough, ClientDisconnect):
        if not ended:
            raise


def _is_answered_here(method: str, allowed: str | None) -> bool:
    """Whether the application refused what can be answered all the same."""
    return bool(allowed) and (method == "OPTIONS" or (method == "HEAD" and "GET" in str(allowed)))


def _allow(methods: str | None) -> RawHeaders:
    return [(b"allow", methods.encode())] if methods else []
