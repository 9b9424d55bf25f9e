"""Every link in every JSON answer starts with the public base URL, whatever stands in front of the platform."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

#: Relations of documents that are not ours to serve: a licence text, where an item was copied from.
FOREIGN = {"license", "about", "via", "describedby", "cite-as", "help", "related", "derived_from", "doc"}
MOST = 220

START = [
    "/",
    "/stac/",
    "/stac/collections",
    "/stac/search?limit=3",
    "/stac/collections/landsat8-paraguay/items?limit=1",
    "/stac/collections/sentinel2-ndvi/items?limit=1",
    "/stac/collections/parcels/items?limit=1",
    "/raster/",
    "/raster/collections/landsat8-paraguay/info",
    "/raster/collections/landsat8-paraguay/tiles",
    "/raster/collections/landsat8-paraguay/WebMercatorQuad/tilejson.json?assets=red",
    "/raster/searches/list",
    "/raster/tileMatrixSets",
    "/vector/",
    "/vector/collections",
    "/vector/collections/features.parcels/items?limit=1",
    "/vector/collections/features.parcels/tiles/WebMercatorQuad/tilejson.json",
    "/vector/collections/features.parcels/tiles/WebMercatorQuad/style.json",
]


def links(document: Any, collection: str | None = None) -> Iterator[tuple[str, str]]:
    """Every URL of a document with its relation: `href` of links, `tiles` of a TileJSON, `url` of a style's source."""
    if isinstance(document, list):
        for member in document:
            yield from links(member, collection)
    elif isinstance(document, dict):
        collection = document.get("collection", collection) if document.get("type") == "Feature" else collection
        for key, value in document.items():
            if key == "assets" and isinstance(value, dict) and collection == "naip":
                continue  # metadata only: its images are where they were found
            if key == "alternate":
                continue  # the storage URI, for readers beside the storage
            if key in ("href", "url", "data") and isinstance(value, str):
                yield str(document.get("rel", key)), value
            elif key == "tiles" and isinstance(value, list) and all(isinstance(tile, str) for tile in value):
                yield from (("tiles", tile) for tile in value)
            elif key == "providers":
                continue  # their home pages
            else:
                yield from links(value, collection)


def crawl(client: httpx.Client, base: str, inside: str) -> tuple[set[str], set[str]]:
    """Follow JSON links from the starting points; returns what was seen and what does not start with the base."""
    queue, seen, wrong = deque(f"{base}{path}" for path in START), set[str](), set[str]()
    while queue and len(seen) < MOST:
        address = queue.popleft()
        if address in seen or "{" in unquote(address):
            continue
        seen.add(address)
        answer = client.get(address.replace(base, inside, 1))
        assert answer.status_code < 500, (address, answer.text[:300])
        if "json" not in answer.headers.get("content-type", ""):
            continue
        assert answer.status_code == 200, (address, answer.text[:300])
        for relation, href in links(answer.json()):
            if relation in FOREIGN:
                continue
            if not href.startswith(f"{base}/"):
                wrong.add(f"{address}: {relation} {href}")
            elif "/assets/" not in href.removeprefix(base)[:8] and "/tileMatrixSets/" not in href:
                queue.append(href)
    return seen, wrong


@pytest.mark.parametrize("prefix", ["", "/fields", "/a/b"])
def test_links_start_with_the_public_base_url(platform: Any, prefix: str) -> None:
    """The same crawl without a proxy, and behind one that strips its prefix as a load balancer would."""
    if prefix:
        forwarded = {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "maps.example.org",
            "X-Forwarded-Prefix": prefix,
        }
        base = f"https://maps.example.org{prefix}"
    else:
        forwarded, base = {}, platform.url
    with platform.client(headers=forwarded | {"Accept": "application/json"}) as client:
        seen, wrong = crawl(client, base, platform.url)
    assert len(seen) > 60
    assert not wrong, "\n".join(sorted(wrong)[:20])


def test_links_of_answers_to_posts_start_with_it_too(platform: Any) -> None:
    base = "https://maps.example.org/fields"
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "maps.example.org", "X-Forwarded-Prefix": "/fields"}
    with platform.client(headers=forwarded) as client:
        answers = [
            client.post("/stac/search", json={"collections": ["landsat8-paraguay"], "limit": 1}),
            client.post("/raster/searches/register", json={"collections": ["landsat8-paraguay"]}),
        ]
        # the next page is asked for as its link says, through the same proxy
        (following,) = (link for link in answers[0].json()["links"] if link["rel"] == "next")
        answers.append(client.post(following["href"].replace(base, platform.url), json=following["body"]))
    assert len(answers[2].json()["features"]) == 1
    for answer in answers:
        assert answer.status_code == 200, answer.text
        found = [href for _, href in links(answer.json())]
        assert len(found) > 2
        assert not [href for href in found if not href.startswith(f"{base}/")]
