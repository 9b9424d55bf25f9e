"""What the path and query of a request name: a mosaic, an item, an asset; and how a mosaic is put together."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import pystac
from cql2 import Expr
from fastapi import Depends, Path, Query, Request
from pydantic import BeforeValidator, ValidationError
from stac_pydantic.shared import validate_datetime
from titiler.core.dependencies import DefaultDependency
from titiler.pgstac.model import Metadata, PgSTACSearch
from titiler.pgstac.validation import parse_and_validate_bbox

from stacyard.core.access import check_read
from stacyard.core.database import SyncDatabase
from stacyard.core.errors import InvalidRequest, NotFound
from stacyard.core.pgstac import (
    BaseItems,
    SearchClauses,
    read_collection,
    read_item,
    registered_search,
    search_clauses,
)
from stacyard.raster.reader import ReadableAssets
from stacyard.raster.renders import tile_parameters

CollectionId = Annotated[str, Path(description="STAC collection identifier")]
ItemId = Annotated[str, Path(description="STAC item identifier")]


def searched_mosaic(
    request: Request, search_id: Annotated[str, Path(description="Identifier of a registered search")]
) -> SearchClauses:
    """The mosaic of a registered search.

    Raises:
        NotFound: none of this id was registered.
    """
    with _database(request).connection() as connection:
        clauses = registered_search(connection, search_id)
    for collection in clauses.search.get("collections") or []:
        check_read(request, collection=collection)
    return clauses


def collection_mosaic(  # noqa: PLR0917 - a parameter of the request each
    request: Request,
    collection_id: CollectionId,
    ids: Annotated[str | None, Query(description="Item identifiers, separated by commas")] = None,
    bbox: Annotated[
        str | None, BeforeValidator(parse_and_validate_bbox), Query(description="west,south,east,north in degrees")
    ] = None,
    datetime: Annotated[
        str | None, BeforeValidator(validate_datetime), Query(description="RFC 3339 instant or interval")
    ] = None,
    query: Annotated[str | None, Query(description="STAC query extension, as JSON")] = None,
    sortby: Annotated[str | None, Query(description="Properties, each with + or -; the first item lies on top")] = None,
    filter_expr: Annotated[str | None, Query(alias="filter", description="CQL2 filter of items")] = None,
    filter_lang: Annotated[Literal["cql2-text", "cql2-json"], Query(alias="filter-lang")] = "cql2-text",
) -> SearchClauses:
    """The mosaic of a collection's items, or of those that the parameters select.

    Raises:
        NotFound: there is no such collection.
        InvalidRequest: a parameter cannot be understood.
    """
    check_read(request, collection=collection_id)
    search: dict[str, Any] = {"collections": [collection_id], "datetime": datetime, "bbox": bbox}
    if ids:
        search["ids"] = ids.split(",")
    if sortby:
        search["sortby"] = [_sort(part) for part in sortby.split(",")]
    if query:
        search["query"] = _json("query", query)
    if filter_expr:
        search |= {"filter": _filter(filter_expr, filter_lang), "filter-lang": "cql2-json"}
    try:
        checked = PgSTACSearch.model_validate(search).model_dump(mode="json", by_alias=True, exclude_none=True)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InvalidRequest(fault["msg"], parameter=str(fault["loc"][0]) if fault["loc"] else None) from error
    with _database(request).connection() as connection:
        collection = read_collection(connection, collection_id)
        return search_clauses(connection, checked, _metadata(collection, checked.get("bbox")))


def catalog_item(request: Request, collection_id: CollectionId, item_id: ItemId) -> pystac.Item:
    """One item.

    Raises:
        NotFound: there is no such item.
    """
    check_read(request, collection=collection_id, item=item_id)
    base_items: BaseItems = request.app.state.base_items
    with _database(request).connection() as connection:
        return pystac.Item.from_dict(read_item(connection, base_items, collection_id, item_id), migrate=False)


def item_asset(
    request: Request,
    item: Annotated[pystac.Item, Depends(catalog_item)],
    asset_id: Annotated[str, Path(description="Key of an asset of the item")],
) -> str:
    """The href of one asset.

    Raises:
        NotFound: the item has no such asset.
        stacyard.core.errors.Forbidden: it lies where tiles may not be made from.
    """
    if asset_id not in item.assets:
        raise NotFound(f"item {item.id!r} has no asset {asset_id!r}; it has {', '.join(item.assets)}")
    href = item.assets[asset_id].href
    readable: ReadableAssets = request.app.state.readable_assets
    readable.check(href)
    return href


@dataclass
class MosaicOptions(DefaultDependency):
    """How many items a tile is made of."""

    items_limit: Annotated[int, Query(ge=1, le=1000, description="Items a tile may be made of")] = 100
    exitwhenfull: Annotated[bool, Query(description="Stop when the tile is covered")] = True
    skipcovered: Annotated[bool, Query(description="Leave out items wholly below others")] = True


@dataclass(init=False)
class MosaicSource(DefaultDependency):
    """What the mosaic backend is made with, from the application's state."""

    pool: SyncDatabase = field(init=False)
    base_items: BaseItems = field(init=False)

    def __init__(self, request: Request) -> None:
        self.pool = request.app.state.dbpool
        self.base_items = request.app.state.base_items


def _database(request: Request) -> SyncDatabase:
    return cast(SyncDatabase, request.app.state.dbpool)


def _sort(part: str) -> dict[str, str]:
    return {"field": part.strip().lstrip("+-"), "direction": "desc" if part.strip().startswith("-") else "asc"}


def _json(parameter: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{parameter} is not valid JSON: {error}", parameter=parameter) from error


def _filter(text: str, language: str) -> Any:
    try:
        expression = Expr(text if language == "cql2-text" else json.loads(text))
        expression.validate()
        return expression.to_json()
    except Exception as error:
        # cql2 raises bare exceptions
        raise InvalidRequest(f"this filter is not valid {language}: {error}", parameter="filter") from error


def _metadata(collection: dict[str, Any], bbox: list[float] | None) -> dict[str, Any]:
    extent = collection.get("extent", {}).get("spatial", {}).get("bbox") or [[-180, -90, 180, 90]]
    metadata = Metadata(
        name=f"Mosaic of {collection['id']}",
        bounds=bbox or extent[0],
        assets=list(collection["item_assets"]) if "item_assets" in collection else None,
        defaults=tile_parameters(collection.get("renders")),
    )
    dumped: dict[str, Any] = metadata.model_dump(mode="json", exclude_none=True)
    return dumped
