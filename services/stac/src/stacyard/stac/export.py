"""Bulk reading: all items of a search in one answer, whatever their number, in memory that does not grow with it.

NDJSON goes out page by page as it is read. A table must know its columns before its first byte, so CSV and GeoParquet
read the whole search first and keep it on disk, compressed (`spool`), and then write without the database: what goes
wrong in reading is a problem with a status, and what is read is told exactly by `OGC-NumberReturned`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from stacyard.core.errors import InvalidRequest, NotFound, Overloaded, Unavailable
from stacyard.core.pgstac_order import Position
from stacyard.core.pgstac_pages import Catalog, Page, count_rows, has_collection
from stacyard.stac.answers import Asked
from stacyard.stac.connections import GetConnection
from stacyard.stac.formats.form import Form
from stacyard.stac.items import ItemPublisher
from stacyard.stac.paging import token_of
from stacyard.stac.search import ItemSearch, check_limit, search_of
from stacyard.stac.settings import StacSettings
from stacyard.stac.spool import Spool
from stacyard.stac.walk import Connect, walk

# what is sent, and compressed, at a time while other requests wait
_PIECE_BYTES = 2**16


class Places:
    """So many exports at the same time, and no more."""

    def __init__(self, number: int) -> None:
        self._free = number

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One of them.

        Raises:
            Overloaded: all are taken.
        """
        if self._free == 0:
            raise Overloaded("as many exports as this service makes at once are under way; try again shortly")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@dataclass(frozen=True, kw_only=True)
class ExportSearch(ItemSearch):
    """A search for an export. `limited`: the client has said itself how many items it wants at the most."""

    limited: bool = False


def export_of(parameters: Mapping[str, Any], *, most: int, collection: str | None = None) -> ExportSearch:
    """What an export asks for. Parameters as those of `search_of`; `most` items it may hold.

    Raises:
        InvalidRequest: a parameter is wrong, or the limit is above `most`: an export is never cut unasked.
    """
    limit = parameters.get("limit")
    check_limit(limit)
    if limit is not None and limit > most:
        raise InvalidRequest(
            f"an export holds {most} items at the most: set no higher limit, and go on with the token that the header "
            "Next-Token gives",
            parameter="limit",
        )
    search = search_of({**parameters, "limit": limit or most}, page_limit=most, collection=collection)
    if search.page.backwards:
        raise InvalidRequest("an export goes forwards only: take a token that begins with next", parameter="token")
    return ExportSearch(page=search.page, fields=search.fields, limited=limit is not None)


class ExportResponse(StreamingResponse):
    """A stream that holds what an export takes until its end, also if the client goes away.

    An error breaks the connection off before the last chunk, by which the client knows that the answer is cut.
    """

    def __init__(self, pieces: AsyncIterator[bytes], *, until: float, holding: AsyncExitStack, **options: Any) -> None:
        """Of pieces, to be sent until that time of the event loop, and of what is to be released behind them."""
        super().__init__(pieces, **options)
        self._until = until
        self._holding = holding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with suppress(ClientDisconnect):
            async with self._holding, asyncio.timeout_at(self._until):
                await super().__call__(scope, receive, send)


@dataclass(frozen=True, kw_only=True)
class Exports:
    """Answers searches with exports."""

    settings: StacSettings
    connect: GetConnection
    catalog: Catalog
    places: Places

    async def answer(
        self,
        request: Request,
        search: ExportSearch,
        form: Form,
        asked: Asked,
        publisher: ItemPublisher,
    ) -> Response:
        """The answer, in which nothing can go wrong any more that a status could tell.

        Raises:
            InvalidRequest: the search is wrong, finds more than an export holds, or items do not fit into the form.
            NotFound: there is no such collection.
            Overloaded: there is no place for it now, or not the time.
        """
        until = asyncio.get_running_loop().time() + self.settings.export_seconds
        headers = {"Vary": "Accept", "Content-Disposition": f'attachment; filename="items.{form.suffix}"'}
        async with AsyncExitStack() as holding:
            holding.enter_context(self.places.taken())
            async with _in_time(until):
                connect = partial(self.connect, request)
                matched = await self._count(connect, search, asked.collection)
                headers["OGC-NumberReturned"] = str(min(matched, search.page.limit))
                options: dict[str, Any] = {"headers": headers, "media_type": form.media_types[0]}
                if request.method == "HEAD":
                    return StreamingResponse(iter(()), **options)
                writer = await asyncio.to_thread(form.writer)
                pages = walk(connect, self.catalog, search.page)
                holding.push_async_callback(pages.aclose)

                def taken(page: Page) -> bytes:
                    return writer.take([publisher.publish(row, page.collections[row.collection]) for row in page.rows])

                if form.at_once and matched <= search.page.limit:
                    pieces = _at_once(await anext(pages), pages, taken)
                else:
                    spool = holding.enter_context(Spool(most_bytes=self.settings.export_disk_mb * 2**20))
                    number, behind = await _spooled(pages, taken, spool)
                    headers["OGC-NumberReturned"] = str(number)
                    if behind is not None:
                        headers |= asked.onward(f"next:{token_of(behind)}")
                    pieces = _written(writer.written(spool.pages()))
                holding.push_async_callback(pieces.aclose)
                first = await anext(pieces, b"")
            return ExportResponse(_after(first, pieces), until=until, holding=holding.pop_all(), **options)

    async def _count(self, connect: Connect, search: ExportSearch, collection: str | None) -> int:
        """How many items there are to export, up to one more than the limit."""
        async with connect() as connection:
            matched = await count_rows(connection, self.catalog, search.page)
            if matched == 0 and collection is not None and not await has_collection(connection, collection):
                raise NotFound(f"Collection {collection} does not exist.")
        if matched > search.page.limit and not search.limited:
            raise InvalidRequest(
                f"this search finds more than the {search.page.limit} items that an export holds: narrow it, or take"
                f" parts of it with limit={search.page.limit} and the token of the header Next-Token",
                parameter="limit",
            )
        return matched


@asynccontextmanager
async def _in_time(until: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout_at(until):
            yield
    except TimeoutError as error:
        raise Overloaded("this export took too long: narrow the search, or take it in parts with limit") from error


async def _after(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for each in others:
        yield each


async def _at_once(
    first: Page, pages: AsyncIterator[Page], take: Callable[[Page], bytes]
) -> AsyncGenerator[bytes, None]:
    """The pieces of each page as soon as it is read."""
    async for piece in _pieces(await asyncio.to_thread(take, first)):
        yield piece
    behind = first.behind
    async for page in pages:
        async for piece in _pieces(await asyncio.to_thread(take, page)):
            yield piece
        behind = page.behind
    if behind is not None:
        raise Unavailable("more items came during an export than it can hold, so that its end is missing")


async def _spooled(
    pages: AsyncIterator[Page], take: Callable[[Page], bytes], spool: Spool
) -> tuple[int, Position | None]:
    """How many items were put away, and behind which one there are more."""
    number, behind = 0, None
    async for page in pages:
        await asyncio.to_thread(lambda read: spool.put(take(read)), page)
        number, behind = number + len(page.rows), page.behind
    return number, behind


async def _written(written: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The pieces of an export as it is written, in a thread."""
    while (data := await asyncio.to_thread(next, written, None)) is not None:
        async for piece in _pieces(data):
            yield piece


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    """The data in small pieces, between which other requests have their turn."""
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]
        await asyncio.sleep(0)
