"""Links of items and collections: to where they are in the API, to their tiles and layers, and to the map.

All are made of the collection's document and the id of the item, and are never stored. Tiles follow the collection's
`renders` (render extension), and layers its `table:tables` (table extension), whose names are those of the vector
service: `schema.table`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import quote, urlencode

from stac_fastapi.pgstac.models.links import INFERRED_LINK_RELS
from stac_pydantic.links import Relations
from stac_pydantic.shared import MimeTypes

Service = Literal["raster", "vector", "explorer"]
Link = dict[str, Any]

#: Everything that may stand beside the catalog under its origin.
SERVICES: frozenset[Service] = frozenset(("raster", "vector", "explorer"))
#: https://github.com/stac-extensions/web-map-links
WEB_MAP_LINKS = "https://stac-extensions.github.io/web-map-links/v1.3.0/schema.json"
WEB_MAP_RELATIONS = frozenset(("3d-tiles", "pmtiles", "tilejson", "wms", "wmts", "xyz"))

_JSON, _GEOJSON, _HTML, _PNG = (
    MimeTypes.json.value,
    MimeTypes.geojson.value,
    MimeTypes.html.value,
    MimeTypes.png.value,
)
_MVT = "application/vnd.mapbox-vector-tile"
# RFC 3986, section 2.3
_PLAIN = re.compile(r"[A-Za-z0-9._~-]*")
_DERIVED_RELATIONS = frozenset(("tilejson", "xyz", "wmts", "preview", "related", "alternate"))
_INFERRED_RELATIONS = frozenset((*INFERRED_LINK_RELS, Relations.queryables.value, "aggregate", "aggregations"))
_MATRIX_SET = "WebMercatorQuad"
#: What a render says of reading values and of colouring them that is a parameter of TiTiler of the same name.
_PARAMETERS = ("expression", "nodata", "unscale", "resampling", "color_formula", "colormap_name", "colormap")
_WORLD = [-180, -90, 180, 90]


def encoded(item_id: str) -> str:
    """An item's id as it stands in links, whether in a path or in a fragment."""
    return item_id if _PLAIN.fullmatch(item_id) else quote(item_id, safe="")


def item_links(
    collection: Mapping[str, Any], *, origin: str, api: str, item_id: str, services: Collection[Service] = SERVICES
) -> list[Link]:
    """The links of an item that are not stored with it. Its id stands in them only as `encoded`.

    Args:
        collection: the document of its collection; the id alone, where nothing else is known.
        origin: public base URL of the whole platform, without a slash at the end.
        api: base URL of the catalog, with a slash at the end.
        item_id: its id.
        services: what stands beside the catalog.
    """
    item = encoded(item_id)
    parent = f"{api}collections/{quote(collection['id'], safe='')}"
    links: list[Link] = [
        {"rel": "collection", "type": _JSON, "href": parent},
        {"rel": "parent", "type": _JSON, "href": parent},
        {"rel": "root", "type": _JSON, "href": api},
        {"rel": "self", "type": _GEOJSON, "href": f"{parent}/items/{item}"},
    ]
    looks = _looks(collection) if "raster" in services else []
    raster = f"{_raster(collection, origin)}/items/{item}"
    for number, (_, title, query) in enumerate(looks):
        links += _tiles(raster, title, query)
        if number == 0:
            # an item may lack the renders that name layers; the query makes one that is called default
            links.append(_wmts(f"{raster}/WMTSCapabilities.xml?{query}", "TiTiler", "default", title))
            links.append({"rel": "preview", "type": _PNG, "href": f"{raster}/preview.png?{query}", "title": title})
    if "vector" in services:
        links += [_layer(origin, name, title) for name, title in _layers(collection)]
    if "explorer" in services:
        links.append(_map(origin, collection, f"&item={item}"))
    return links


def collection_links(
    collection: Mapping[str, Any], *, origin: str, services: Collection[Service] = SERVICES
) -> list[Link]:
    """The links of a collection that are neither stored nor made by stac-fastapi. Arguments as of `item_links`."""
    links: list[Link] = []
    looks = _looks(collection) if "raster" in services else []
    raster = _raster(collection, origin)
    for name, title, query in looks:
        links += _tiles(raster, title, query)
        links.append(_wmts(f"{raster}/WMTSCapabilities.xml", "TiTiler Mosaic", name, title))
    box = _box(collection)
    if looks and box:
        _, title, query = looks[0]
        href = f"{raster}/bbox/{box}.png?max_size=512&{query}"
        links.append({"rel": "preview", "type": _PNG, "href": href, "title": title})
    for name, title in _layers(collection) if "vector" in services else ():
        layer = _layer(origin, name, title)
        tiles = f"{layer['href']}/tiles/{_MATRIX_SET}"
        links.append({"rel": "tilejson", "type": _JSON, "href": f"{tiles}/tilejson.json", "title": title})
        links.append({"rel": "xyz", "type": _MVT, "href": f"{tiles}/{{z}}/{{x}}/{{y}}", "title": title})
        links.append(layer)
    if "explorer" in services:
        links.append(_map(origin, collection, ""))
    return links


def thumbnail(
    collection: Mapping[str, Any], *, origin: str, item_id: str, services: Collection[Service] = SERVICES
) -> dict[str, Any] | None:
    """The asset of an item that has no thumbnail, drawn by the raster service; None if it can draw none."""
    looks = _looks(collection) if "raster" in services else []
    if not looks:
        return None
    _, title, query = looks[0]
    href = f"{_raster(collection, origin)}/items/{encoded(item_id)}/preview.png?max_size=256&{query}"
    return {"href": href, "type": _PNG, "title": title, "roles": ["thumbnail"]}


def has_thumbnail(assets: Mapping[str, Any]) -> bool:
    """Whether an item has one of its own."""
    return "thumbnail" in assets or any(
        isinstance(asset, Mapping) and "thumbnail" in (asset.get("roles") or ()) for asset in assets.values()
    )


def is_made_here(link: Mapping[str, Any], *, origin: str) -> bool:
    """Whether a link of a document that a client sends back is one that is made anew at every reading."""
    relation, href = link.get("rel"), str(link.get("href"))
    return relation in _INFERRED_RELATIONS or (relation in _DERIVED_RELATIONS and leads_to_service(href, origin=origin))


def leads_to_service(href: str, *, origin: str) -> bool:
    """Whether an href is one of tiles, of a layer, or of the map."""
    return href.startswith((f"{origin}/raster/collections/", f"{origin}/vector/collections/", f"{origin}/#"))


def _looks(collection: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, title and tile parameters of each render that the raster service can draw."""
    renders = collection.get("renders")
    if not isinstance(renders, Mapping):
        return []
    return [
        (name, str(render.get("title") or name), urlencode(list(_parameters(render))))
        for name, render in renders.items()
        if isinstance(render, Mapping) and _is_drawable(render)
    ]


def _is_drawable(render: Mapping[str, Any]) -> bool:
    """Whether it is one of rasters: others draw features, or are written for another program."""
    return (
        bool(render.get("assets"))
        and _is_list(render["assets"], str)
        and isinstance(render.get("expression"), str | None)
        and _is_list(render.get("rescale", []), list, str)
        and _is_list(render.get("bidx", []), int)
        and _is_list(render.get("bands", []), list)
    )


def _is_list(value: Any, *kinds: type) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(member, kinds) for member in value))


def _parameters(render: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Parameters of TiTiler, which has the bands of an asset written behind its name."""
    bands = render.get("bands") or []
    indexes = ",".join(map(str, render.get("bidx") or []))
    for number, asset in enumerate(render["assets"]):
        if number < len(bands) and bands[number]:
            yield "assets", f"{asset}|bands={','.join(map(str, bands[number]))}"
        else:
            yield "assets", f"{asset}|bidx={indexes}" if indexes else asset
    for pair in render.get("rescale") or []:
        yield "rescale", pair if isinstance(pair, str) else ",".join(map(str, pair))
    for name in _PARAMETERS:
        value = render.get(name)
        if value is not None:
            yield name, value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _layers(collection: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and title of each table that is a layer of the vector service."""
    tables = collection.get("table:tables")
    named = [table for table in tables if isinstance(table, Mapping)] if isinstance(tables, list) else []
    return [
        (str(table["name"]), str(table.get("description") or table["name"]))
        for table in named
        if "." in str(table.get("name", ""))
    ]


def _box(collection: Mapping[str, Any]) -> str | None:
    """The first box of the extent, in degrees, as a path writes it; None if it says nothing or is none for a map."""
    extent = collection.get("extent") or {}
    boxes = (extent.get("spatial") or {}).get("bbox") or [_WORLD]
    west, south, east, north = boxes[0] if len(boxes[0]) == 4 else (*boxes[0][:2], *boxes[0][3:5])
    if [west, south, east, north] == _WORLD or west >= east or south >= north:
        return None
    return f"{west},{south},{east},{north}"


def _tiles(resource: str, title: str, query: str) -> list[Link]:
    tiles = f"{resource}/tiles/{_MATRIX_SET}/{{z}}/{{x}}/{{y}}.png?{query}"
    return [
        {"rel": "tilejson", "type": _JSON, "href": f"{resource}/{_MATRIX_SET}/tilejson.json?{query}", "title": title},
        {"rel": "xyz", "type": _PNG, "href": tiles, "title": title},
    ]


def _wmts(href: str, service: str, render: str, title: str) -> Link:
    layer = f"{service}_{_MATRIX_SET}_{render}"
    return {"rel": "wmts", "type": _PNG, "href": href, "title": title, "wmts:layer": layer, "wmts:encoding": "rest"}


def _layer(origin: str, name: str, title: str) -> Link:
    href = f"{origin}/vector/collections/{quote(name, safe='')}"
    return {"rel": "related", "type": _JSON, "href": href, "title": title}


def _map(origin: str, collection: Mapping[str, Any], item: str) -> Link:
    href = f"{origin}/#collection={quote(collection['id'], safe='')}{item}"
    return {"rel": "alternate", "type": _HTML, "href": href, "title": "Map"}


def _raster(collection: Mapping[str, Any], origin: str) -> str:
    return f"{origin}/raster/collections/{quote(collection['id'], safe='')}"
