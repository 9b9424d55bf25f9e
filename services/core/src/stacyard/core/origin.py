"""Several applications under one origin, each below its own path."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class OneOrigin:
    """Hands a request to the application whose path it is below, else to the fallback.

    Each application sees its path as its root path, just as behind a proxy, and so builds its links right. (Starlette's
    own `Mount` lets the parent's router answer `url_for`, which knows none of the mounted application's routes.)
    """

    def __init__(self, apps: Mapping[str, ASGIApp], fallback: ASGIApp) -> None:
        self._apps = dict(apps)
        self._fallback = fallback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the application and let it answer; what served it is left in the scope."""
        if scope["type"] in ("http", "websocket"):
            root = scope.get("root_path", "")
            path = scope["path"].removeprefix(root)
            for prefix, app in self._apps.items():
                if path == prefix or path.startswith(prefix + "/"):
                    inner = {**scope, "root_path": root + prefix}
                    if path == prefix:
                        inner["path"] = scope["path"] + "/"
                    for key in ("router", "route", "endpoint", "path_params"):
                        inner.pop(key, None)
                    try:
                        await app(inner, receive, send)
                    finally:
                        scope["operation"] = operation_of(inner)
                    return
        await self._fallback(scope, receive, send)


def operation_of(scope: Scope) -> str:
    """What served a request: the operation id of its route, else the path pattern; `other` where no route matched.

    An included router shows its routes without the prefix under which it was included, but upstream's operation ids
    carry it. Neither holds an id, so that metric labels stay few.
    """
    route = scope.get("route")
    for name in ("operation_id", "path_format", "path"):
        if value := getattr(route, name, None):
            return str(value).lstrip(".")
    return "other"
