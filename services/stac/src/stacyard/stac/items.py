"""Items as clients see them: hrefs of assets that they can use, and links to where they are in the API.

What is stored goes through as the JSON that it is; only hrefs of assets and links are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urljoin

import msgspec
import orjson
from stac_fastapi.pgstac.models.links import INFERRED_LINK_RELS
from stac_fastapi.pgstac.utils import clean_exclude_set, filter_fields

from stacyard.core.pgstac_hydration import Assets, Json
from stacyard.core.pgstac_pages import Row
from stacyard.stac.assets import ALTERNATE_ASSETS, AssetPublisher
from stacyard.stac.search import Fields

_GEOJSON, _JSON = "application/geo+json", "application/json"
# characters that an id may hold in a path as they are: RFC 3986, section 3.3
_IN_PATH = "!$&'()*+,;=:@~"
_PLAIN = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]*")
_ELSEWHERE = ("http://", "https://")
_PLACEHOLDER = "stacyard-item-id-8d1c0e"
_NO_LINKS = (None, b"[]")


class LinkTemplate:
    """The links of all items of a collection as JSON, in which the item's id is left out."""

    def __init__(self, links: Callable[[str], Sequence[Mapping[str, Any]]]) -> None:
        """Of a function that makes them of an id, which it puts into hrefs and nowhere else."""
        text = orjson.dumps(links(_PLACEHOLDER))[1:-1]
        self._pieces = text.split(_PLACEHOLDER.encode())

    def of(self, item_id: str) -> bytes:
        """The links of one item, without the brackets around them."""
        in_path = item_id if _PLAIN.fullmatch(item_id) else quote(item_id, safe=_IN_PATH)
        return in_path.encode().join(self._pieces)


def own_links(api: str, collection: str, item_id: str) -> list[dict[str, Any]]:
    """Where an item is in the API; the ids are in the form that a path has."""
    parent = f"{api}collections/{collection}"
    return [
        {"rel": "collection", "type": _JSON, "href": parent},
        {"rel": "parent", "type": _JSON, "href": parent},
        {"rel": "root", "type": _JSON, "href": api},
        {"rel": "self", "type": _GEOJSON, "href": f"{parent}/items/{item_id}"},
    ]


@dataclass(frozen=True, kw_only=True)
class ItemPublisher:
    """Publishes items. `api` is the base URL of the API, with a slash at its end; `origin` the whole platform's."""

    api: str
    origin: str
    assets: AssetPublisher
    fields: Fields | None = None
    _templates: dict[str, LinkTemplate] = field(default_factory=dict)

    def publish(self, row: Row) -> dict[str, Any]:
        """The item of a row, whose members are JSON already, or objects."""
        members, assets = row.stored.whole(row.base)
        item: dict[str, Any] = {
            "type": "Feature",
            **members,
            "id": row.item,
            "collection": row.collection,
            "geometry": Json(row.geometry.encode()),
            "links": self._links(row, members.get("links")),
            "assets": assets,
        }
        extensions = members.get("stac_extensions")
        if self._publish_assets(assets) and extensions is not None:
            item["stac_extensions"] = _with_alternates(extensions)
        return item if self.fields is None else _chosen(item, self.fields)

    def _links(self, row: Row, stored: Json | None) -> Json:
        template = self._templates.get(row.collection)
        if template is None:
            collection = quote(row.collection, safe=_IN_PATH)
            template = LinkTemplate(lambda item_id: own_links(self.api, collection, item_id))
            self._templates[row.collection] = template
        links = template.of(row.item)
        if stored is not None and bytes(stored) not in _NO_LINKS:
            more = [
                link if link["href"].startswith(_ELSEWHERE) else {**link, "href": urljoin(self.api, link["href"])}
                for link in msgspec.json.decode(stored)
                if link["rel"] not in INFERRED_LINK_RELS
            ]
            if more:
                links += b"," + orjson.dumps(more)[1:-1]
        return Json(b"[" + links + b"]")

    def _publish_assets(self, assets: Assets) -> bool:
        """Rewrite hrefs, in place; whether there was one to rewrite."""
        changed = False
        for asset in assets.values():
            href = asset.get("href") if isinstance(asset, dict) else None
            # what is on the web already is the most there is, and none of it is ours
            if href is None or not isinstance(asset, dict) or bytes(href).startswith(b'"http'):
                continue
            stored = msgspec.json.decode(href)
            published = self.assets.published_href(stored, origin=self.origin) if isinstance(stored, str) else None
            if published is not None:
                alternate = msgspec.json.decode(asset["alternate"]) if "alternate" in asset else {}
                asset["href"] = Json(orjson.dumps(published))
                asset["alternate"] = Json(orjson.dumps({**alternate, "storage": {"href": stored}}))
                changed = True
        return changed


def _with_alternates(extensions: Json) -> Json:
    known = msgspec.json.decode(extensions)
    return Json(orjson.dumps(known if ALTERNATE_ASSETS in known else [*known, ALTERNATE_ASSETS]))


def _chosen(item: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """What is asked for of an item, as stac-fastapi-pgstac chooses it; the fields that are included win."""
    whole = orjson.loads(msgspec.json.encode(item))
    # which item it is, is said always
    include, exclude = {*fields.include, "id", "collection"} if fields.include else set(), set(fields.exclude)
    chosen: dict[str, Any] = filter_fields(whole, include, clean_exclude_set(exclude, include) if include else exclude)
    # where it is comes with an item whatever is asked for, unless that is what is not
    if "links" not in exclude and "links" not in chosen:
        chosen["links"] = [link for link in whole["links"] if link["rel"] in INFERRED_LINK_RELS]
    return chosen
