"""Who asks, and below which public base URL: from settings, or from the proxy in front if it is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from stacyard.core.middleware.headers import RawHeaders, combined, header, without

_NAMES = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"forwarded",
)


class Forwarded:
    """Makes scheme, host and root path those that the client sees, so that every link starts with the public base URL.

    The client's address becomes the one that the outermost trusted proxy saw.
    """

    def __init__(self, app: ASGIApp, *, public_url: str | None, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        """Around an application.

        Args:
            app: the application.
            public_url: if set, it alone decides of the base URL.
            trusted: networks of proxies whose X-Forwarded-For, -Proto, -Host and -Prefix are believed.
        """
        self._app = app
        self._public = urlsplit(public_url) if public_url is not None else None
        self._trusted = tuple(trusted)
        self._is_trusted = lru_cache(maxsize=1024)(self._lies_in_trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrite the scope of a request."""
        if scope["type"] in ("http", "websocket"):
            headers: RawHeaders = scope["headers"]
            said = any(name in _NAMES for name, _ in headers)
            if said or self._public is not None:
                scope = self._seen_by_client(scope, headers)
        await self._app(scope, receive, send)

    def _seen_by_client(self, scope: Scope, headers: RawHeaders) -> Scope:
        # upstream packages read these themselves; what is decided here is decided once
        seen = {**scope, "headers": without(headers, *_NAMES)}
        client = scope.get("client")
        trusted = client is not None and self._is_trusted(client[0])
        chain = combined(headers, b"x-forwarded-for")
        if trusted and chain and (address := self._client_in(chain.decode("latin-1"))):
            seen["client"] = (address, 0)
        if self._public is not None:
            return _seen_as(seen, scheme=self._public.scheme, host=self._public.netloc, prefix=self._public.path)
        if trusted:
            return _seen_as(
                seen,
                scheme=_first(header(headers, b"x-forwarded-proto")),
                host=_first(header(headers, b"x-forwarded-host")),
                prefix=_first(header(headers, b"x-forwarded-prefix")),
            )
        return seen

    def _client_in(self, chain: str) -> str | None:
        """The last address of the chain that is no trusted proxy: what stands before it, anybody may have written."""
        address = None
        for part in reversed(chain.split(",")):
            parsed = _address(part.strip())
            if parsed is None:
                break
            address = str(parsed)
            if not self._is_trusted(address):
                break
        return address

    def _lies_in_trusted(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, also one with a port as some proxies write it; None if it is none."""
    for candidate in _without_port(text):
        try:
            return ip_address(candidate)
        except ValueError:
            continue
    return None


def _without_port(text: str) -> Iterable[str]:
    yield text
    if text.startswith("["):
        yield text[1:].partition("]")[0]
    elif text.count(":") == 1:
        yield text.partition(":")[0]


def _first(value: bytes | None) -> str | None:
    """The first of several comma-separated values: the one that the outermost proxy, next to the client, wrote."""
    return value.decode("latin-1").split(",")[0].strip() or None if value else None


def _seen_as(scope: Scope, *, scheme: str | None, host: str | None, prefix: str | None) -> Scope:
    if scheme in ("http", "https"):
        scope["scheme"] = scheme
    if host:
        scope["headers"] = [(b"host", host.encode("latin-1")), *without(scope["headers"], b"host")]
    prefix = (prefix or "").rstrip("/")
    if prefix.startswith("/"):
        scope["root_path"] = prefix + scope.get("root_path", "")
        scope["path"] = prefix + scope["path"]
        if scope.get("raw_path") is not None:
            scope["raw_path"] = prefix.encode("latin-1") + scope["raw_path"]
    return scope
