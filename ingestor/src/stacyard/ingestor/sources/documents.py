"""JSON documents that link to each other by relative hrefs, on this machine, in S3 or over HTTP."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import orjson

from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.buckets import Buckets, Gone, is_bucket
from stacyard.ingestor.sources.polite import NoJson, Patience, Refused, Server, origin

_MOST_BYTES = 64 * 2**20
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def resolve(base: str, href: str) -> str:
    """An href in the document `base` made absolute: a path, `s3://bucket/key` or a URL, without a fragment."""
    if base.startswith(("http://", "https://")):
        return urldefrag(urljoin(base, href)).url
    if href.startswith("file://"):
        return unquote(urlsplit(href).path)
    if _SCHEME.match(href):
        return urldefrag(href).url
    href = urldefrag(href).url
    if is_bucket(base):
        bucket, _, key = base.removeprefix("s3://").partition("/")
        return f"s3://{bucket}{posixpath.normpath(posixpath.join('/', posixpath.dirname(key), href))}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), href))


class Unreadable(SourceError):
    """A document that is not there or is none; asking again would not help."""


class Documents:
    """Reads the documents of one place: this machine, one bucket, or one origin. Threads may share one."""

    def __init__(self, root: str, *, patience: Patience | None = None) -> None:
        self._root = root
        self._server = (
            Server(root, patience=patience, most_bytes=_MOST_BYTES)
            if root.startswith(("http://", "https://"))
            else None
        )
        self._buckets = Buckets()

    def problem(self, href: str) -> str | None:
        """Why a document is not read: it is somewhere else than the root; None if it is not."""
        if _place(href) == _place(self._root):
            return None
        return f"{href} is outside of {self._root} and is not followed: if it is right, ingest it by itself"

    def read(self, href: str) -> Any:
        """A document.

        Raises:
            Unreadable: it is not there, or no JSON, or elsewhere; asking again would not help.
            SourceError: it cannot be read now.
            OSError: the same.
            StorageError: the same.
        """
        problem = self.problem(href)
        if problem is not None:
            raise Unreadable(problem)
        try:
            if self._server is not None:
                return self._server.ask(href)
            content = self._content(href)
        except (Refused, Gone, NoJson, FileNotFoundError) as error:
            raise Unreadable(str(error)) from error
        if len(content) > _MOST_BYTES:
            raise Unreadable(f"{href} has more than {_MOST_BYTES // 2**20} MB: cut the catalog into smaller ones")
        try:
            return orjson.loads(content)
        except ValueError as error:
            raise Unreadable(f"{href} is no JSON: {error}") from error

    def absolute_hrefs(self, item: Any, href: str) -> bytes:
        """An item of this place as JSON, whose assets and links do not depend on where it is."""
        if not isinstance(item, dict):
            return orjson.dumps(item)
        assets = item.get("assets")
        links = item.get("links")
        if isinstance(assets, dict):
            item = {**item, "assets": {key: _absolute(asset, href) for key, asset in assets.items()}}
        if isinstance(links, list):
            item = {**item, "links": [_absolute(link, href) for link in links]}
        return orjson.dumps(item)

    def _content(self, href: str) -> bytes:
        with self._buckets.open(href) if is_bucket(href) else Path(href).open("rb") as file:
            return file.read(_MOST_BYTES + 1) or b""

    def close(self) -> None:
        """Close the connections."""
        if self._server is not None:
            self._server.close()


def _absolute(entry: Any, base: str) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("href"), str) or _SCHEME.match(entry["href"]):
        return entry
    target = resolve(base, entry["href"])
    return {**entry, "href": Path(target).as_uri() if target.startswith("/") else target}


def _place(href: str) -> Any:
    if is_bucket(href):
        return href.removeprefix("s3://").partition("/")[0]
    return origin(href) if _SCHEME.match(href) else "here"
