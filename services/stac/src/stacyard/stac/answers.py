"""Answers to searches: the feature collection, and the links to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from stacyard.core.pgstac_count import Count
from stacyard.core.pgstac_documents import Document
from stacyard.core.pgstac_pages import Page, Row
from stacyard.stac.items import ItemPublisher
from stacyard.stac.paging import token_of

GEOJSON = "application/geo+json"
_JSON = "application/json"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a page was asked for, so that its neighbours can be asked for alike.

    Args:
        api: base URL of the API, with a slash at its end.
        path: of the search below it.
        collection: the one that the path names.
        query: the query string of a GET, as it came.
        body: the JSON of a POST.
    """

    api: str
    path: str
    collection: str | None = None
    query: str = ""
    body: Mapping[str, Any] | None = None

    def links(self, page: Page) -> list[dict[str, Any]]:
        """The links of the answer that holds the page."""
        here = {"rel": "self", "type": GEOJSON, "href": f"{self.api}{self.path}"}
        root = {"rel": "root", "type": _JSON, "href": self.api}
        links = [root, here]
        if self.collection is not None:
            collection = f"{self.api}collections/{quote(self.collection)}"
            links = [
                {"rel": "collection", "type": _JSON, "href": collection},
                {"rel": "parent", "type": _JSON, "href": collection},
                *links,
            ]
        neighbours = [
            self._neighbour(relation, f"{way}:{token_of(position)}")
            for relation, way, position in (("next", "next", page.behind), ("previous", "prev", page.before))
            if position is not None
        ]
        return links + neighbours

    def onward(self, token: str) -> dict[str, str]:
        """Headers that say where an answer goes on which holds no links. A link cannot say what a POST is to hold."""
        link = {} if self.body is not None else {"Link": f'<{self._neighbour("next", token)["href"]}>; rel="next"'}
        return {"Next-Token": token} | link

    def _neighbour(self, relation: str, token: str) -> dict[str, Any]:
        url = f"{self.api}{self.path}"
        if self.body is not None:
            body = {**self.body, "token": token}
            return {"rel": relation, "type": GEOJSON, "method": "POST", "href": url, "body": body}
        others = [part for part in self.query.split("&") if part and not part.startswith("token=")]
        # brackets would end the link in a header
        query = "&".join([*others, f"token={token}"]).replace("<", "%3C").replace(">", "%3E")
        return {"rel": relation, "type": GEOJSON, "method": "GET", "href": f"{url}?{query}"}


def feature_collection(page: Page, publisher: ItemPublisher, asked: Asked, count: Count | None = None) -> bytes:
    """The page as GeoJSON."""
    document: dict[str, Any] = {
        "type": "FeatureCollection",
        "features": [publisher.publish(row, page.collections[row.collection]) for row in page.rows],
        "links": asked.links(page),
        "numberReturned": len(page.rows),
    }
    if count is not None:
        document["numberMatched"] = count.items
        if not count.exact:
            document["numberMatchedEstimated"] = True
    return _encode(document)


def feature(publisher: ItemPublisher, row: Row, collection: Document) -> bytes:
    """One item as GeoJSON."""
    return _encode(publisher.publish(row, collection))
