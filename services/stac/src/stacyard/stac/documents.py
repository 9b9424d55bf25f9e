"""Whole documents as clients read them, and the way back when they send one that they have read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from stacyard.stac.aggregation import publish_aggregation
from stacyard.stac.assets import AssetPublisher
from stacyard.stac.extent import publish_extent, withdraw_extent
from stacyard.stac.links import (
    SERVICES,
    WEB_MAP_LINKS,
    WEB_MAP_RELATIONS,
    Service,
    collection_links,
    has_thumbnail,
    is_made_here,
    item_links,
    leads_to_service,
    thumbnail,
)
from stacyard.stac.publishing import api_of, origin_of


@dataclass(frozen=True, kw_only=True)
class DocumentPublisher:
    """Publishes the documents of one answer. `origin` has no slash at its end, `api`, the catalog's URL, has one."""

    origin: str
    api: str
    assets: AssetPublisher
    services: Collection[Service] = SERVICES

    @classmethod
    def of(cls, request: Request) -> DocumentPublisher:
        """For the answer to a request."""
        state, api = request.app.state, api_of(request)
        return cls(origin=origin_of(api), api=api, assets=state.assets, services=state.stacyard.linked_services)

    def collection(self, document: dict[str, Any]) -> dict[str, Any]:
        """The collection, changed in place: hrefs of assets, its extent, and links behind those that it has."""
        # `fields` may have left out what links are made of
        if isinstance(document.get("id"), str):
            links = collection_links(document, origin=self.origin, services=self.services)
            document["links"] = [*(document.get("links") or ()), *links]
            _declare_web_map_links(document, links)
            publish_aggregation(document, api=self.api)
        return publish_extent(self.assets.publish(document, origin=self.origin))

    def item(self, document: dict[str, Any], collection: Mapping[str, Any]) -> dict[str, Any]:
        """The item, changed in place: hrefs of assets, links before those that it has, a thumbnail if it has none.

        Whatever makes items in another way, for speed, makes the same.
        """
        about = {"origin": self.origin, "item_id": document["id"], "services": self.services}
        links = item_links(collection, api=self.api, **about)
        own = [link for link in document.get("links") or () if not is_made_here(link, origin=self.origin)]
        document["links"] = [*links, *own]
        _declare_web_map_links(document, links)
        self.assets.publish(document, origin=self.origin)
        assets = document.get("assets")
        drawn = thumbnail(collection, **about) if isinstance(assets, dict) and not has_thumbnail(assets) else None
        if drawn:
            document["assets"] = {**document["assets"], "thumbnail": drawn}
        return document

    def withdraw(self, document: dict[str, Any]) -> dict[str, Any]:
        """An item or collection that a client sends back, changed in place: what was published is as it was stored."""
        links = document.get("links")
        if isinstance(links, list):
            document["links"] = [link for link in links if not is_made_here(link, origin=self.origin)]
            extensions = document.get("stac_extensions")
            if isinstance(extensions, list) and not _has_web_map_links(document["links"]):
                document["stac_extensions"] = [extension for extension in extensions if extension != WEB_MAP_LINKS]
        assets = document.get("assets")
        drawn = assets.get("thumbnail") if isinstance(assets, dict) else None
        if isinstance(drawn, dict) and leads_to_service(str(drawn.get("href")), origin=self.origin):
            del document["assets"]["thumbnail"]
        return withdraw_extent(self.assets.withdraw(document))


def _declare_web_map_links(document: dict[str, Any], links: list[dict[str, Any]]) -> None:
    extensions = document.get("stac_extensions")
    if isinstance(extensions, list) and WEB_MAP_LINKS not in extensions and _has_web_map_links(links):
        document["stac_extensions"] = [*extensions, WEB_MAP_LINKS]


def _has_web_map_links(links: list[dict[str, Any]]) -> bool:
    return any(link.get("rel") in WEB_MAP_RELATIONS for link in links)
