"""Writes through the API, from the request to what it is answered with.

Every write is one transaction. What `If-Match` names is compared within it, under the locks that it writes under, with
the tag that a GET would be given at that moment; and a write is answered with what a GET is answered with after it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, cast

from fastapi import Request
from fastapi.encoders import jsonable_encoder
from stac_fastapi.api.models import JSONResponse
from stac_fastapi.types.requests import get_base_url
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from stacyard.core.access import check_read
from stacyard.core.entity_tag import is_known, tag_of
from stacyard.core.errors import Conflict, InvalidRequest, PreconditionFailed
from stacyard.core.pgstac_writes import CatalogWriter
from stacyard.stac.bodies import JSON, JSON_PATCH, MERGE_PATCH, check_value, media_type, read_json
from stacyard.stac.connections import Writing
from stacyard.stac.documents import DocumentPublisher
from stacyard.stac.intake import Intake, stored_item
from stacyard.stac.patches import json_patch, merge_patch

_PATCHES = (MERGE_PATCH, JSON_PATCH, *JSON)
_METHODS = ("insert", "upsert")
_IDS_SAID = 5


class Reads(Protocol):
    """What answers a GET of either kind of document."""

    async def get_item(self, item_id: str, collection_id: str, request: Request) -> Any:
        """`GET /collections/{id}/items/{id}`."""

    async def get_collection(self, collection_id: str, request: Request) -> Any:
        """`GET /collections/{id}`."""


class BulkCounts(TypedDict):
    """What became of the items of a bulk write: `received` is the sum of the others."""

    received: int
    success: int
    skipped: int
    errors: list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Writes:
    """The operations of the transaction extensions. `max_bytes` is of a request's body."""

    writing: Writing
    intake: Intake
    max_bytes: int

    async def create_item(self, request: Request, collection_id: str) -> Response:
        """`POST /collections/{id}/items`: one item, or an ItemCollection, which is written whole or not at all."""
        check_read(request, collection=collection_id)
        body = await read_json(request, max_bytes=self.max_bytes)
        if isinstance(body, dict) and body.get("type") == "FeatureCollection":
            items = await run_in_threadpool(
                self.intake.items, body, published=DocumentPublisher.of(request), collection=collection_id
            )
            async with self.writing(request, collection_id) as catalog:
                await _insert_new(catalog, items)
            return Response(status_code=201)
        item = await run_in_threadpool(
            self.intake.item, body, published=DocumentPublisher.of(request), collection=collection_id
        )
        async with self.writing(request, collection_id) as catalog:
            await _insert_new(catalog, [item])
            found = await _get_item(request, collection_id, item["id"])
        place = f"{get_base_url(request)}collections/{collection_id}/items/{item['id']}"
        return _answer(found, status=201, location=place)

    async def update_item(self, request: Request, collection_id: str, item_id: str) -> Response:
        """`PUT /collections/{id}/items/{id}`."""
        check_read(request, collection=collection_id, item=item_id)
        body = await read_json(request, max_bytes=self.max_bytes)
        item = await run_in_threadpool(
            self.intake.item, body, published=DocumentPublisher.of(request), collection=collection_id, item_id=item_id
        )
        async with self.writing(request, collection_id) as catalog:
            await catalog.lock_items()
            await _unchanged(request, _get_item(request, collection_id, item_id))
            return await self._replace(request, catalog, collection_id, item)

    async def patch_item(self, request: Request, collection_id: str, item_id: str) -> Response:
        """`PATCH /collections/{id}/items/{id}`: a patch of the item as it is stored."""
        check_read(request, collection=collection_id, item=item_id)
        patch = await self._read_patch(request)
        async with self.writing(request, collection_id) as catalog:
            await catalog.lock_items()
            await _unchanged(request, _get_item(request, collection_id, item_id))
            stored = (await catalog.items([item_id]))[item_id]
            patched = await run_in_threadpool(self._patched, stored, patch)
            item = await run_in_threadpool(
                self.intake.item,
                patched,
                published=DocumentPublisher.of(request),
                collection=collection_id,
                item_id=item_id,
            )
            return await self._replace(request, catalog, collection_id, item)

    async def delete_item(self, request: Request, collection_id: str, item_id: str) -> Response:
        """`DELETE /collections/{id}/items/{id}`."""
        check_read(request, collection=collection_id, item=item_id)
        async with self.writing(request, collection_id) as catalog:
            await catalog.lock_items()
            await _unchanged(request, _get_item(request, collection_id, item_id))
            await catalog.delete_items([item_id])
        return _response({"deleted item": item_id})

    async def create_collection(self, request: Request) -> Response:
        """`POST /collections`."""
        body = await read_json(request, max_bytes=self.max_bytes)
        document = await run_in_threadpool(self.intake.collection, body, published=DocumentPublisher.of(request))
        collection = document["id"]
        check_read(request, collection=collection)
        async with self.writing(request, collection) as catalog:
            await catalog.create_collection(document)
            found = await _get_collection(request, collection)
        return _answer(found, status=201, location=f"{get_base_url(request)}collections/{collection}")

    async def update_collection(self, request: Request, collection_id: str) -> Response:
        """`PUT /collections/{id}`."""
        check_read(request, collection=collection_id)
        body = await read_json(request, max_bytes=self.max_bytes)
        document = await run_in_threadpool(
            self.intake.collection, body, published=DocumentPublisher.of(request), collection=collection_id
        )
        async with self.writing(request, collection_id) as catalog:
            await catalog.lock_collection()
            await _unchanged(request, _get_collection(request, collection_id))
            await catalog.update_collection(document)
            return _answer(await _get_collection(request, collection_id))

    async def patch_collection(self, request: Request, collection_id: str) -> Response:
        """`PATCH /collections/{id}`: a patch of the collection as it is stored."""
        check_read(request, collection=collection_id)
        patch = await self._read_patch(request)
        async with self.writing(request, collection_id) as catalog:
            await catalog.lock_collection()
            await _unchanged(request, _get_collection(request, collection_id))
            patched = await run_in_threadpool(self._patched, await catalog.collection(), patch)
            document = await run_in_threadpool(
                self.intake.collection, patched, published=DocumentPublisher.of(request), collection=collection_id
            )
            await catalog.update_collection(document)
            return _answer(await _get_collection(request, collection_id))

    async def delete_collection(self, request: Request, collection_id: str) -> Response:
        """`DELETE /collections/{id}`, with all of its items."""
        check_read(request, collection=collection_id)
        async with self.writing(request, collection_id) as catalog:
            await catalog.lock_items()
            await catalog.lock_collection()
            await _unchanged(request, _get_collection(request, collection_id))
            await catalog.delete_collection()
        return _response({"deleted collection": collection_id})

    async def bulk_items(self, request: Request, collection_id: str) -> BulkCounts:
        """`POST /collections/{id}/bulk_items`: each item by itself, those that can be written in one transaction."""
        check_read(request, collection=collection_id)
        body = await read_json(request, max_bytes=self.max_bytes)
        documents, upsert = self._bulk(body)
        faults = await run_in_threadpool(self._bulk_faults, documents, collection_id, upsert)
        published = DocumentPublisher.of(request)
        items = {
            name: stored_item(each, collection_id, published) for name, each in documents.items() if name not in faults
        }
        skipped: list[str] = []
        async with self.writing(request, collection_id) as catalog:
            await catalog.lock_items()
            if upsert:
                there = await catalog.items(list(items))
                skipped = [name for name, item in there.items() if item == items[name]]
                await catalog.delete_items([name for name in there if name not in skipped])
            else:
                faults |= dict.fromkeys(await catalog.present(list(items)), "/id: there is one of this id already")
            written = [item for name, item in items.items() if name not in faults and name not in skipped]
            await catalog.insert_items(written)
        return {
            "received": len(documents),
            "success": len(written),
            "skipped": len(skipped),
            "errors": [{"id": name, "msg": reason} for name, reason in faults.items()],
        }

    def _bulk(self, body: Any) -> tuple[dict[str, Any], bool]:
        if not isinstance(body, dict) or not isinstance(body.get("items"), dict):
            raise InvalidRequest("/items: an object of items by their ids was expected", parameter="/items")
        method = body.get("method", "insert")
        if method not in _METHODS:
            raise InvalidRequest(f"/method: expected {' or '.join(_METHODS)}", parameter="/method")
        self.intake.check_number(len(body["items"]))
        return body["items"], method == "upsert"

    def _bulk_faults(self, documents: dict[str, Any], collection: str, upsert: bool) -> dict[str, str]:
        found = {
            name: self.intake.item_faults(document, collection=collection, item_id=name, new=not upsert)
            for name, document in documents.items()
        }
        return {
            name: "; ".join(f"{fault.place or '/'}: {fault.reason}" for fault in faults[:_IDS_SAID])
            for name, faults in found.items()
            if faults
        }

    async def _replace(
        self, request: Request, catalog: CatalogWriter, collection: str, item: dict[str, Any]
    ) -> Response:
        await catalog.delete_items([item["id"]])
        await catalog.insert_items([item])
        return _answer(await _get_item(request, collection, item["id"]))

    async def _read_patch(self, request: Request) -> dict[str, Any] | list[Any]:
        """A merge patch, or the operations of a JSON patch; of plain JSON an array is the latter."""
        patch = await read_json(request, max_bytes=self.max_bytes, types=_PATCHES)
        kind = media_type(request)
        if isinstance(patch, dict) and kind != JSON_PATCH:
            return patch
        if isinstance(patch, list) and kind != MERGE_PATCH:
            return patch
        raise InvalidRequest(
            f"a patch is an object ({MERGE_PATCH}, RFC 7396) or an array of operations ({JSON_PATCH}, RFC 6902)",
            parameter="body",
        )

    def _patched(self, document: dict[str, Any], patch: dict[str, Any] | list[Any]) -> Any:
        if isinstance(patch, dict):
            patched = merge_patch(document, patch)
        else:
            patched = json_patch(document, patch, max_bytes=self.max_bytes)
        check_value(patched)
        return patched


async def _insert_new(catalog: CatalogWriter, items: list[dict[str, Any]]) -> None:
    await catalog.lock_items()
    ids = [item["id"] for item in items]
    if there := await catalog.present(ids):
        more = f" and {len(there) - _IDS_SAID} more" if len(there) > _IDS_SAID else ""
        raise Conflict(f"there already: {', '.join(there[:_IDS_SAID])}{more}; PUT or PATCH changes an item")
    await catalog.insert_items(items)


async def _unchanged(request: Request, reading: Awaitable[Response]) -> None:
    """See that what is about to be changed is there, and is what `If-Match` names.

    Raises:
        NotFoundError: it is not there.
        PreconditionFailed: it is another.
    """
    current = await reading
    named = ",".join(request.headers.getlist("if-match"))
    if named and not is_known(named, tag_of(bytes(current.body))):
        raise PreconditionFailed("it has changed since it was read with the ETag that If-Match names: read it again")


async def _get_item(request: Request, collection: str, item: str) -> Response:
    return _response(await _reads(request).get_item(item, collection, _as_get(request)))


async def _get_collection(request: Request, collection: str) -> Response:
    return _response(await _reads(request).get_collection(collection, _as_get(request)))


def _reads(request: Request) -> Reads:
    return cast(Reads, request.app.state.reads)


def _as_get(request: Request) -> Request:
    """The same request without a body, within the same transaction; upstream makes links of the body that it finds."""
    return Request({**request.scope, "method": "GET"})


def _answer(answer: Response, *, status: int = 200, location: str | None = None) -> Response:
    answer.status_code = status
    answer.headers["ETag"] = tag_of(bytes(answer.body))
    if location is not None:
        answer.headers["Location"] = location
    return answer


def _response(found: Any) -> Response:
    """What a client's method gives, as FastAPI would answer with it."""
    if isinstance(found, Response):
        return found
    answer: Response = JSONResponse(jsonable_encoder(found))
    return answer
