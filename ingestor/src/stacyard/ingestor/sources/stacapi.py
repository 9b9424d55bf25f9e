"""Items of a remote STAC API: pages of searches that are cut by time, each of which can be asked for again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson

from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.found import Found, Line
from stacyard.ingestor.sources.polite import Patience, Refused, Server, Unanswered
from stacyard.ingestor.sources.stacsearch import Search, as_body, read_moment, understand

_LIMITS = (1000, 250, 100, 10)
_TOO_MUCH = frozenset({400, 413, 414, 422})
# a cursor of the server's may not live as long as ours
_LOST_PAGE = frozenset({400, 404, 410, 422})
_SHARD_ITEMS = 20_000
_NARROWEST = timedelta(seconds=1)
# empty pages that point to a next one: some servers filter after they have cut
_EMPTY_PAGES = 100
# an order that no two items share, and the one in which catalogs keep them
_ORDER = [{"field": "properties.datetime", "direction": "asc"}, {"field": "id", "direction": "asc"}]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for one page, as JSON of a cursor or a source keeps it."""

    url: str
    method: str = "GET"
    body: Any = None

    def document(self) -> dict[str, Any]:
        """The request as JSON."""
        return {"url": self.url, "method": self.method, "body": self.body}


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A part of the search: items from `start` to `stop`; None if time is not cut."""

    start: datetime | None = None
    stop: datetime | None = None


def find(source: str, *, cursor: Mapping[str, Any] | None = None, patience: Patience | None = None) -> Iterator[Found]:
    """A block for every page of a collection (`…/collections/name`) or a search (`…/search?…`).

    The items of a block come with it. Pages overlap where items span the moment between two shards, or the catalog
    changes meanwhile: the same item may come twice.

    Raises:
        SourceError: the API does not answer, is not one, or leads to another origin; run again, it goes on.
    """
    server = Server(source, patience=patience)
    try:
        yield from _Harvest(server, understand(source, server)).pages(cursor or {})
    finally:
        server.close()


def read(source: Mapping[str, Any], *, patience: Patience | None = None) -> Iterator[Line]:
    """The items of a page, asked for again.

    Raises:
        SourceError: the API does not answer, or does not know the page any more.
    """
    request = Request(**source["request"])
    server = Server(request.url, patience=patience)
    try:
        answer = server.ask(request.url, method=request.method, body=request.body)
        yield from _lines(_features(answer, request.url))
    finally:
        server.close()


class _Harvest:
    """One walk through all pages; `_limit`, `_sorts` and `_counts` are what the server has taken so far."""

    def __init__(self, server: Server, search: Search) -> None:
        self._server = server
        self._search = search
        self._limit = 0
        self._sorts = search.sorts
        self._counts = True
        self._shard_items = 0

    def pages(self, cursor: Mapping[str, Any]) -> Iterator[Found]:
        self._limit = cursor.get("limit", 0)
        width: timedelta | None = None
        shard: Shard | None = None
        request = Request(**cursor["request"]) if cursor.get("request") else None
        begin = read_moment(cursor["start"]) if cursor.get("start") else self._search.begin
        if request is not None:
            shard = Shard(start=begin, stop=read_moment(cursor["stop"]) if cursor.get("stop") else None)
        while shard is not None or not cursor.get("finished"):
            if shard is None:
                shard = self._next_shard(begin, width)
            self._shard_items = 0
            for each in self._pages_of(shard, request):
                self._shard_items += each.items
                yield each
            if shard.stop is None or shard.start is None or shard.stop == self._search.end:
                return
            begin, width = shard.stop, shard.stop - shard.start
            shard, request = None, None

    def _next_shard(self, begin: datetime | None, width: timedelta | None) -> Shard:
        """From `begin` on as much as holds a bounded number of items.

        If the server does not count it is a month, or twice as much as the last time where that held little.
        """
        end = self._search.end
        if begin is None or end is None or begin >= end:
            return Shard(start=begin, stop=end)
        stop = end if width is None else min(end, begin + 2 * width)
        while self._counts:
            shard = Shard(start=begin, stop=stop)
            count = self._count(shard)
            if count is None:
                self._counts = False
                break
            if count <= _SHARD_ITEMS or stop - begin <= _NARROWEST:
                return shard
            half = begin + (stop - begin) / 2
            stop = max(half.replace(microsecond=0), begin + _NARROWEST)
        if width is None or self._shard_items > _SHARD_ITEMS // 4:
            return Shard(start=begin, stop=min(end, _next_month(begin)))
        return Shard(start=begin, stop=stop)

    def _count(self, shard: Shard) -> int | None:
        request = self._request(shard, limit=1, sorts=False)
        answer = self._server.ask(request.url, method=request.method, body=request.body)
        context = answer.get("context") if isinstance(answer, dict) else None
        count = answer.get("numberMatched") if isinstance(answer, dict) else None
        count = context.get("matched") if count is None and isinstance(context, dict) else count
        return count if isinstance(count, int) else None

    def _pages_of(self, shard: Shard, request: Request | None) -> Iterator[Found]:
        answer: Any = None
        if request is not None:
            try:
                answer = self._server.ask(request.url, method=request.method, body=request.body)
            except Refused as error:
                if error.answered not in _LOST_PAGE:
                    raise
                # the server has forgotten the page: this shard once more, of which the loader knows what it has
                request = None
        if request is None:
            request, answer = self._first_page(shard)
        asked: set[bytes] = set()
        empty = 0
        while True:
            digest = hashlib.sha256(orjson.dumps(request.document(), option=orjson.OPT_SORT_KEYS)).digest()
            features = _features(answer, request.url)
            empty = 0 if features else empty + 1
            if digest in asked or empty > _EMPTY_PAGES:
                raise SourceError(
                    f"{request.url} comes round to itself: the pages of this API have no end; cut the search by "
                    "datetime=…/…"
                )
            asked.add(digest)
            following = self._following(request, answer)
            if features:
                yield self._found(shard, request, features, following)
            if following is None:
                return
            request = following
            answer = self._server.ask(request.url, method=request.method, body=request.body)

    def _first_page(self, shard: Shard) -> tuple[Request, Any]:
        """The first page, as large as the server gives it, and in order if it can."""
        limits = (self._limit,) if self._limit else _LIMITS
        refused: SourceError | None = None
        for limit in limits:
            for sorts in (True, False) if self._sorts else (False,):
                request = self._request(shard, limit=limit, sorts=sorts)
                try:
                    answer = self._server.ask(request.url, method=request.method, body=request.body)
                except Refused as error:
                    if error.answered not in _TOO_MUCH:
                        raise
                    refused = error
                except Unanswered as error:
                    # a server that is busy would be no less so
                    if error.answered in (429, 503):
                        raise
                    refused = error
                else:
                    self._limit, self._sorts = limit, sorts
                    return request, answer
        assert refused is not None  # noqa: S101 - there is a limit to try
        raise refused

    def _request(self, shard: Shard, *, limit: int, sorts: bool) -> Request:
        search = self._search
        interval = _interval(shard, search)
        if search.method == "POST":
            body: dict[str, Any] = {**as_body(search.parameters), "limit": limit}
            body |= {"datetime": interval} if interval else {}
            body |= {"sortby": [{"field": "id", "direction": "asc"}]} if sorts else {}
            return Request(url=search.url, method="POST", body=body)
        parameters = {**search.parameters, "limit": str(limit)}
        parameters |= {"datetime": interval} if interval else {}
        parameters |= {"sortby": ",".join(f"+{part['field']}" for part in _ORDER)} if sorts else {}
        return Request(url=f"{search.url}?{urlencode(parameters)}")

    def _following(self, request: Request, answer: Any) -> Request | None:
        """The request for the next page (STAC API, "Paging"): a link by GET, or by POST with a body of its own."""
        links = answer.get("links", [])
        link = next((each for each in links if isinstance(each, dict) and each.get("rel") == "next"), None)
        if link is None or not isinstance(link.get("href"), str):
            return None
        url = self._server.within(request.url, link["href"])
        if str(link.get("method", "GET")).upper() != "POST":
            return Request(url=url)
        body = link.get("body")
        if link.get("merge") and isinstance(request.body, dict):
            body = {**request.body, **(body or {})}
        return Request(url=url, method="POST", body=request.body if body is None else body)

    def _found(self, shard: Shard, request: Request, features: Sequence[Any], following: Request | None) -> Found:
        lines = list(_lines(features))
        digest = hashlib.sha256(b"\n".join(line.data for line in lines)).hexdigest()
        page = hashlib.sha256(orjson.dumps(request.document(), option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
        cursor: dict[str, Any] = {"limit": self._limit}
        if following is not None:
            cursor |= {"start": _text(shard.start), "stop": _text(shard.stop), "request": following.document()}
        elif shard.stop is None or shard.stop == self._search.end:
            cursor |= {"finished": True}
        else:
            cursor |= {"start": _text(shard.stop)}
        return Found(
            item_id=f"{self._search.url} {_interval(shard, self._search) or 'all'} page {page}",
            source={"reader": "api", "request": request.document()},
            content={"sha256": digest},
            items=len(lines),
            lines=lines,
            cursor=cursor,
        )


def _interval(shard: Shard, search: Search) -> str:
    """The shard as the `datetime` of a search; empty if it is open at both ends."""
    first = shard.start is None or (search.open_begin and shard.start == search.begin)
    last = shard.stop is None or (search.open_end and shard.stop == search.end)
    if first and last:
        return ""
    return f"{'..' if first else _text(shard.start)}/{'..' if last else _text(shard.stop)}"


def _features(answer: Any, url: str) -> list[Any]:
    features = answer.get("features") if isinstance(answer, dict) else None
    if not isinstance(features, list):
        raise SourceError(f"{url} answers no items: it is no search of a STAC API")
    return features


def _lines(features: Sequence[Any]) -> Iterator[Line]:
    for number, feature in enumerate(features, start=1):
        yield Line(place=f"feature {number}", data=orjson.dumps(feature))


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _next_month(moment: datetime) -> datetime:
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)
