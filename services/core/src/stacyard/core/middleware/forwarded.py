"""The public base URL: from settings, or from the proxy in front if it is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True)
class Forwarded:
    """Makes scheme, host and root path those that the client sees, so that every link starts with the public base URL.

    Attributes:
        public_url: if set, it alone decides.
        trusted: networks of proxies whose X-Forwarded-Proto, -Host and -Prefix are believed.
    """

    app: ASGIApp
    public_url: str | None
    trusted: Sequence[IPv4Network | IPv6Network]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrite the scope of a request."""
        if scope["type"] in ("http", "websocket"):
            if self.public_url is not None:
                parts = urlsplit(self.public_url)
                scope = _seen_as(scope, scheme=parts.scheme, host=parts.netloc, prefix=parts.path)
            elif self._comes_from_trusted_proxy(scope):
                headers = Headers(scope=scope)
                scope = _seen_as(
                    scope,
                    scheme=_first(headers.get("x-forwarded-proto")),
                    host=_first(headers.get("x-forwarded-host")),
                    prefix=_first(headers.get("x-forwarded-prefix")),
                )
        await self.app(scope, receive, send)

    def _comes_from_trusted_proxy(self, scope: Scope) -> bool:
        client = scope.get("client")
        if client is None:
            return False
        try:
            address = ip_address(client[0])
        except ValueError:
            return False
        return any(address in network for network in self.trusted)


def _first(value: str | None) -> str | None:
    """The first of several comma-separated values: the one that the outermost proxy, next to the client, wrote."""
    return value.split(",")[0].strip() or None if value else None


def _seen_as(scope: Scope, *, scheme: str | None, host: str | None, prefix: str | None) -> Scope:
    seen = dict(scope)
    if scheme in ("http", "https"):
        seen["scheme"] = scheme
    headers = MutableHeaders(raw=list(scope["headers"]))
    if host:
        headers["host"] = host
    # upstream packages read these themselves; what is decided here is decided once
    for name in ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "forwarded"):
        if name in headers:
            del headers[name]
    seen["headers"] = headers.raw
    prefix = (prefix or "").rstrip("/")
    if prefix.startswith("/"):
        seen["root_path"] = prefix + scope.get("root_path", "")
        seen["path"] = prefix + scope["path"]
        if scope.get("raw_path") is not None:
            seen["raw_path"] = prefix.encode() + scope["raw_path"]
    return seen
