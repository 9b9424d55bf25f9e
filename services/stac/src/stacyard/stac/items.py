"""Items as clients see them: hrefs of assets that they can use, and links to where they are in the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from fastapi import Request
from stac_fastapi.pgstac.models.links import INFERRED_LINK_RELS
from stac_fastapi.types.requests import get_base_url
from stac_pydantic.shared import MimeTypes

from stacyard.stac.assets import AssetPublisher

_STORED_ELSEWHERE = ("http://", "https://")


@dataclass(frozen=True, kw_only=True)
class ItemPublisher:
    """Publishes items of one answer. `base_url` is the API's, with a slash at its end; `origin` the platform's."""

    base_url: str
    origin: str
    assets: AssetPublisher

    @classmethod
    def of(cls, request: Request) -> ItemPublisher:
        """For the answer to a request."""
        assets, origin = publisher_of(request)
        return cls(base_url=get_base_url(request), origin=origin, assets=assets)

    def publish(self, item: dict[str, Any]) -> dict[str, Any]:
        """The item, changed in place. Its links are upstream's, whose way to them takes a tenth of a millisecond."""
        collection = f"{self.base_url}collections/{item['collection']}"
        plain, geojson = MimeTypes.json.value, MimeTypes.geojson.value
        links = [
            {"rel": "collection", "type": plain, "href": collection},
            {"rel": "parent", "type": plain, "href": collection},
            {"rel": "root", "type": plain, "href": self.base_url},
            {"rel": "self", "type": geojson, "href": f"{collection}/items/{item['id']}"},
        ]
        for link in item.get("links") or ():
            if link["rel"] not in INFERRED_LINK_RELS:
                href = link["href"]
                links.append({**link, "href": href if _is_whole(href) else urljoin(self.base_url, href)})
        item["links"] = links
        return self.assets.publish(item, origin=self.origin)


def publisher_of(request: Request) -> tuple[AssetPublisher, str]:
    """Who publishes hrefs of assets, and the public base URL of the whole platform, without a slash at its end."""
    storage = request.app.state.stacyard.storage
    publisher = AssetPublisher(prefix=storage.assets, public_path=storage.public_path)
    # the base URL of this service without its own path at the end
    return publisher, str(request.base_url).rstrip("/").removesuffix("/stac")


def _is_whole(href: str) -> bool:
    return href.startswith(_STORED_ELSEWHERE)
