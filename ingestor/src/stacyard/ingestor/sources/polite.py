"""JSON from a server that others use too: one origin, bounded answers, and patience where it asks for some."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import orjson

from stacyard.ingestor.errors import SourceAway, SourceError

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_CHUNK_BYTES = 2**16


class Refused(SourceError):
    """The server answered, but not with what was asked for. `answered` is the status; 413 if it was too much."""

    def __init__(self, message: str, *, answered: int) -> None:
        super().__init__(message)
        self.answered = answered


class NoJson(SourceError):
    """The server answered something else than JSON."""


class Unanswered(SourceAway):
    """The server did not answer in all attempts. `answered` is the last status; None if the connection broke."""

    def __init__(self, message: str, *, answered: int | None) -> None:
        super().__init__(message)
        self.answered = answered


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server is waited for; times in seconds.

    Between attempts passes what the server asks for, or a random share of a time that doubles ("full jitter", AWS
    Architecture Blog, "Exponential Backoff And Jitter"). In all that is less than a lease of the queue by default,
    because who waits does nothing else.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 30.0
    longest_asked: float = 120.0
    sleep: Callable[[float], None] = time.sleep
    share: Callable[[], float] = random.random
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def delay(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait after an attempt, counted from 0; `asked` is what the server asked for."""
        if asked is not None:
            return asked + self.share() * self.first
        return float(self.share() * min(self.longest, self.first * 2**attempt))


class Server:
    """Asks one origin, and never another, for JSON. Threads may share one."""

    def __init__(self, url: str, *, patience: Patience | None = None, most_bytes: int = 64 * 2**20) -> None:
        check_url(url)
        self._origin = origin(url)
        self._patience = patience or Patience()
        self._most_bytes = most_bytes
        self._client = httpx.Client(
            timeout=httpx.Timeout(60.0, connect=10.0),
            headers={"Accept": "application/geo+json, application/json", "User-Agent": "stacyard"},
        )

    def ask(self, url: str, *, method: str = "GET", body: Any = None) -> Any:
        """The JSON behind a URL, and the URL that answered it, after redirects.

        Raises:
            Refused: the server says no, or its answer is too large.
            SourceError: it does not answer, or leads to another origin.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            status, headers, content = self._patiently(url, method, body)
            if status not in _REDIRECTS or method != "GET":
                break
            url = self.within(url, headers.get("location", ""))
        if status >= 300:
            raise Refused(f"{url} answers {status}: {_excerpt(content)}", answered=status)
        try:
            return orjson.loads(content)
        except ValueError as error:
            raise NoJson(f"{url} answers no JSON: {error}") from error

    def within(self, base: str, href: str) -> str:
        """An href made absolute.

        Raises:
            SourceError: it leads to another origin, which is not followed.
        """
        url = urljoin(base, href)
        if origin(url) != self._origin:
            raise SourceError(
                f"{base} leads to {url}, which is another origin and is not followed: if it is right, "
                "ingest it by itself"
            )
        return url

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _patiently(self, url: str, method: str, body: Any) -> tuple[int, httpx.Headers, bytes]:
        patience = self._patience
        asked: float | None = None
        last: int | None = None
        trouble = ""
        for attempt in range(patience.attempts):
            if attempt:
                patience.sleep(patience.delay(attempt - 1, asked))
            try:
                status, headers, content = self._once(url, method, body)
            except httpx.TransportError as error:
                last, trouble, asked = None, type(error).__name__, None
                continue
            except httpx.InvalidURL as error:
                raise SourceError(f"{url} is no URL: {error}") from error
            if status not in _PASSING:
                return status, headers, content
            last, trouble, asked = status, f"{status}: {_excerpt(content)}", _retry_after(headers, patience.now())
            if asked is not None and asked > patience.longest_asked:
                raise SourceError(
                    f"{url} answers {status} and wants to be asked in {asked:.0f} s again: run the same command then, "
                    "which goes on where this one was"
                )
        raise Unanswered(
            f"{url} did not answer in {patience.attempts} attempts ({trouble}): run the same command again later, "
            "which goes on where this one was",
            answered=last,
        )

    def _once(self, url: str, method: str, body: Any) -> tuple[int, httpx.Headers, bytes]:
        content = None if body is None else orjson.dumps(body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        with self._client.stream(method, url, content=content, headers=headers) as response:
            pieces: list[bytes] = []
            length = 0
            for piece in response.iter_bytes(_CHUNK_BYTES):
                length += len(piece)
                if length > self._most_bytes:
                    raise Refused(f"{url} answers more than {self._most_bytes // 2**20} MB", answered=413)
                pieces.append(piece)
            return response.status_code, response.headers, b"".join(pieces)


def check_url(url: str) -> None:
    """See that a URL may be asked: over https, or on this machine.

    Raises:
        SourceError: it may not.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise SourceError(f"{url} is not encrypted: write https://")
    if parts.username or parts.password:
        raise SourceError(f"the URL on {parts.hostname} holds a password, which the ledger would keep: leave it out")


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds of a Retry-After, which is a number of them or a date (RFC 9110, 10.2.3); None if there is none."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _excerpt(content: bytes) -> str:
    return " ".join(content[:300].decode("utf-8", "replace").split())
