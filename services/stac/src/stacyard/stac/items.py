"""Items as clients see them: hrefs of assets that they can use, links to where they are, to their tiles and to the map.

What is stored goes through as the JSON that it is; only links and hrefs of assets are looked at. The outcome is that of
`documents.DocumentPublisher.item`, at a tenth of its time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import msgspec
import orjson
from stac_fastapi.pgstac.models.links import INFERRED_LINK_RELS
from stac_fastapi.pgstac.utils import clean_exclude_set, filter_fields

from stacyard.core.pgstac_documents import Document
from stacyard.core.pgstac_hydration import Assets, Json
from stacyard.core.pgstac_pages import Row
from stacyard.stac.assets import ALTERNATE_ASSETS, STORAGE, AssetPublisher
from stacyard.stac.links import (
    WEB_MAP_LINKS,
    WEB_MAP_RELATIONS,
    Service,
    encoded,
    is_made_here,
    item_links,
    thumbnail,
)
from stacyard.stac.search import Fields

_ON_THE_WEB = ("http://", "https://")
_PLACEHOLDER = "stacyard-item-id-8d1c0e"
_KEPT_LOOKS = 5000


class Template:
    """JSON about any item, in which the item's id is left out."""

    def __init__(self, document: Any) -> None:
        """Of a document in which the id is the placeholder, in hrefs and nowhere else."""
        self._pieces = orjson.dumps(document).split(_PLACEHOLDER.encode())

    def of(self, in_path: bytes) -> bytes:
        """The JSON about the item of this id, which is in the form that a path has."""
        return in_path.join(self._pieces)


class Look:
    """What the items of one collection have in common besides what is stored, below one base URL."""

    def __init__(self, collection: Document, *, api: str, origin: str, services: Collection[Service]) -> None:
        self.collection = collection
        links = item_links(collection, origin=origin, api=api, item_id=_PLACEHOLDER, services=services)
        drawn = thumbnail(collection, origin=origin, item_id=_PLACEHOLDER, services=services)
        self.links = Template(links)
        self.thumbnail = Template(drawn) if drawn else None
        self.has_web_map_links = any(link["rel"] in WEB_MAP_RELATIONS for link in links)


class Looks:
    """Looks by collection and base URL, as long as the collection's document is the same."""

    def __init__(self, services: Collection[Service]) -> None:
        self._services = frozenset(services)
        self._known: dict[tuple[str, str], Look] = {}

    def of(self, collection: Document, *, api: str, origin: str) -> Look:
        """The look of a collection's items."""
        key = (api, collection["id"])
        look = self._known.get(key)
        if look is None or look.collection is not collection:
            if len(self._known) >= _KEPT_LOOKS:
                self._known.clear()
            look = self._known[key] = Look(collection, api=api, origin=origin, services=self._services)
        return look


@dataclass(frozen=True, kw_only=True)
class ItemPublisher:
    """Publishes items for one answer.

    Args:
        api: base URL of the API, with a slash at its end.
        origin: of the whole platform, without one.
        assets: who publishes hrefs.
        looks: what is known of collections.
        fields: members that are asked for; None: all.
    """

    api: str
    origin: str
    assets: AssetPublisher
    looks: Looks
    fields: Fields | None = None

    def publish(self, row: Row, collection: Document) -> dict[str, Any]:
        """The item of a row, whose members are JSON already, or objects; of a collection with this document."""
        members, assets = row.stored.whole(row.base)
        look = self.looks.of(collection, api=self.api, origin=self.origin)
        in_path = encoded(row.item).encode()
        item: dict[str, Any] = {
            "type": "Feature",
            **members,
            "id": row.item,
            "collection": row.collection,
            "geometry": Json(row.geometry.encode()),
            "links": self._links(look.links.of(in_path), members.get("links")),
            "assets": assets,
        }
        extensions = members.get("stac_extensions")
        more = [WEB_MAP_LINKS] if look.has_web_map_links else []
        if self._publish_assets(assets):
            more.append(ALTERNATE_ASSETS)
        if more and extensions is not None:
            item["stac_extensions"] = _with(extensions, more)
        if look.thumbnail is not None and not _has_thumbnail(assets):
            assets["thumbnail"] = Json(look.thumbnail.of(in_path))
        return item if self.fields is None else _chosen(item, self.fields)

    def _links(self, made: bytes, stored: Json | None) -> Json:
        if stored is None or bytes(stored) == b"[]":
            return Json(made)
        others = [
            link if link["href"].startswith(_ON_THE_WEB) else {**link, "href": urljoin(self.api, link["href"])}
            for link in msgspec.json.decode(stored)
            if not is_made_here(link, origin=self.origin)
        ]
        return Json(b"%b,%b" % (made[:-1], orjson.dumps(others)[1:]) if others else made)

    def _publish_assets(self, assets: Assets) -> bool:
        """Rewrite hrefs, in place; whether there was one to rewrite."""
        changed = False
        for asset in assets.values():
            href = asset.get("href") if isinstance(asset, dict) else None
            # what is on the web already is the most there is, and none of it is ours
            if href is None or not isinstance(asset, dict) or bytes(href).startswith(b'"http'):
                continue
            stored = msgspec.json.decode(href)
            alternate = msgspec.json.decode(asset["alternate"]) if "alternate" in asset else {}
            if not isinstance(stored, str) or not isinstance(alternate, dict) or STORAGE in alternate:
                continue
            published = self.assets.published_href(stored, origin=self.origin)
            if published is not None:
                asset["href"] = Json(orjson.dumps(published))
                asset["alternate"] = Json(orjson.dumps({**alternate, STORAGE: {"href": stored}}))
                changed = True
        return changed


def _has_thumbnail(assets: Assets) -> bool:
    return "thumbnail" in assets or any(
        b'"thumbnail"' in bytes(asset["roles"])
        for asset in assets.values()
        if isinstance(asset, dict) and "roles" in asset
    )


def _with(extensions: Json, more: list[str]) -> Json:
    known = msgspec.json.decode(extensions)
    if not isinstance(known, list):
        return extensions
    return Json(orjson.dumps(known + [each for each in more if each not in known]))


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
