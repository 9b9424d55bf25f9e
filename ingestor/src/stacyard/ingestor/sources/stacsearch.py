"""What is asked of a STAC API: a source's collection or search, after a look at what the API can do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import orjson

from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.polite import Refused, Server

_SORT = re.compile(r"/item-search#sort$")


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is asked for: parameters of item search without time, limit and order, and the bounds of time.

    `begin` and `end` are what was asked for, else where the catalog says that its items begin and end; of the latter
    the search is `open` to what lies outside in spite of that. Without both of them time is not cut.
    """

    url: str
    method: str
    parameters: Mapping[str, str]
    begin: datetime | None = None
    end: datetime | None = None
    open_begin: bool = True
    open_end: bool = True
    sorts: bool = False


def understand(source: str, server: Server) -> Search:
    """What a source means, after a look at the API's landing page and at the collection.

    Raises:
        SourceError: the API does not answer, or what is asked for cannot be read.
    """
    parts = urlsplit(source)
    given = dict(parse_qsl(parts.query))
    path = parts.path.rstrip("/")
    base = f"{parts.scheme}://{parts.netloc}"
    collection: str | None = None
    if path.endswith("/search"):
        root = path.removesuffix("/search")
        names = given.get("collections", "").split(",")
        collection = names[0] if len(names) == 1 and names[0] else None
    else:
        root, _, rest = path.rpartition("/collections/")
        collection = unquote(rest.removesuffix("/items"))
    landing = _landing(server, f"{base}{root}")
    begin, end = asked = _times(given.pop("datetime", ""))
    for name in ("limit", "sortby", "token"):
        given.pop(name, None)
    if collection is not None:
        place = f"{base}{root}/collections/{quote(collection, safe='')}"
        first, last = _extent(server.ask(place), place, now=datetime.now(UTC))
        begin, end = begin or first, end or last
    if begin is None or end is None or begin > end:
        begin, end = asked
    link = _search_link(landing)
    if link is not None or collection is None or path.endswith("/search"):
        parameters = {**given, "collections": collection} if collection is not None else given
        url, method = (server.within(f"{base}{root}/", link[0]), link[1]) if link else (f"{base}{root}/search", "GET")
    else:
        # features without item search: their pages are the same
        parameters, url, method = given, f"{place}/items", "GET"
    conforms = landing.get("conformsTo") or []
    return Search(
        url=url,
        method=method,
        parameters=parameters,
        begin=begin,
        end=end,
        open_begin=asked[0] is None,
        open_end=asked[1] is None,
        sorts=link is not None and any(isinstance(uri, str) and _SORT.search(uri) for uri in conforms),
    )


def _landing(server: Server, root: str) -> dict[str, Any]:
    """The landing page of an API, which some have only with and some only without a slash; empty if there is none."""
    for url in (f"{root}/", root):
        try:
            answer = server.ask(url)
        except Refused as error:
            if error.answered != 404:
                raise
        else:
            return answer if isinstance(answer, dict) else {}
    return {}


def _search_link(landing: Mapping[str, Any]) -> tuple[str, str] | None:
    """Href and method of item search; by GET if the API has both, since such a request can be shown and repeated."""
    links = [link for link in landing.get("links", []) if isinstance(link, dict) and link.get("rel") == "search"]
    methods = {
        str(link.get("method", "GET")).upper(): link["href"] for link in links if isinstance(link.get("href"), str)
    }
    for method in ("GET", "POST"):
        if method in methods:
            return methods[method], method
    return None


def _extent(document: Any, url: str, *, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Begin and end of a collection's items, as it says; None and None if it says no begin."""
    try:
        begin, end = document["extent"]["temporal"]["interval"][0]
        first = None if begin is None else read_moment(begin)
        last = now.replace(microsecond=0) if end is None else read_moment(end)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SourceError(f"{url} is no STAC collection: it has no extent.temporal ({error})") from error
    return (first, last) if first is not None and first < last else (None, None)


def _times(value: str) -> tuple[datetime | None, datetime | None]:
    """Begin and end of a `datetime` parameter; None where it is open."""
    if not value:
        return None, None
    start, slash, stop = value.partition("/")
    try:
        begin = None if start in ("", "..") else read_moment(start)
        end = begin if not slash else None if stop in ("", "..") else read_moment(stop)
    except ValueError as error:
        raise SourceError(
            f"datetime={value} is no RFC 3339 time or interval: write for example 2024-01-01/.."
        ) from error
    return begin, end


def as_body(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Parameters of GET as those of POST.

    Raises:
        SourceError: one is not what its name promises.
    """
    try:
        return _body(parameters)
    except ValueError as error:
        raise SourceError(f"the search has a parameter that cannot be read: {error}") from error


def _body(parameters: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in ("collections", "ids"):
            body[name] = value.split(",")
        elif name == "bbox":
            body[name] = [float(part) for part in value.split(",")]
        elif name in ("intersects", "query"):
            body[name] = orjson.loads(value)
        elif name == "filter":
            body |= {"filter-lang": "cql2-text", name: value}
        else:
            body[name] = value
    return body


def read_moment(text: str) -> datetime:
    """An RFC 3339 time; what has no zone is UTC.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
