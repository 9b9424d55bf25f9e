"""Searches of 10,000 collections over HTTP, no two the same: by place, time, text, filter and order, at any page."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import orjson

from benchmarks.load import Request
from benchmarks.rounds import measure, result
from benchmarks.workloads import Requests, Workload
from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings, StorageSettings

COLLECTIONS = 10_000
SEARCHES = 24
_PREFIX = "stacyard-bench-"
_TOPICS = [
    *("elevation", "vegetation", "snow cover", "soil moisture", "surface reflectance", "land cover", "ocean colour"),
    *("sea ice", "fire", "precipitation", "night lights", "crop type", "canopy height", "surface temperature"),
    *("aerosol", "flood extent", "orthophoto", "backscatter", "evapotranspiration", "yield"),
]
_PLATFORMS = [
    "sentinel-1a",
    "sentinel-2b",
    "landsat-8",
    "landsat-9",
    "terra",
    "aqua",
    "naip",
    "suomi-npp",
    "gpm",
    "drone",
]
_LICENSES = ["CC-BY-4.0", "CC0-1.0", "other", "PDDL-1.0", "ODbL-1.0"]
_REGIONS = ["Africa", "Alpine", "Amazon", "Arctic", "Baltic", "Global", "Iberia", "Midwest", "Pacific", "Sahel"]
_SENTENCES = [
    "The product is derived from observations that were corrected for the atmosphere and resampled to a grid.",
    "Each file holds one band, with nodata outside the swath and a scale that is given in the metadata of the band.",
    "Users should consult the quality layer before they compare scenes of different dates or different sensors.",
    "Processing follows the guide of the provider; changes between versions are described in the release notes.",
    "Coverage begins with the first acquisition of the mission and is extended every week as new scenes arrive.",
    "Values are reliable over flat terrain and less so in steep valleys, over water, and under thin cloud.",
]
_BANDS = [
    *("coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "nir09", "swir16"),
    *("swir22", "aot", "wvp", "scl"),
]


def make_collection(number: int) -> dict[str, Any]:
    """A collection of the shape and size that public catalogs have: 15 bands, providers, summaries, a page of text."""
    chance = random.Random(number)
    topic, platform, region = chance.choice(_TOPICS), chance.choice(_PLATFORMS), chance.choice(_REGIONS)
    west, south = chance.uniform(-180, 150), chance.uniform(-80, 60)
    box = [west, south, west + chance.uniform(0.5, 30), south + chance.uniform(0.5, 20)]
    year = chance.randrange(1985, 2024)
    interval = [f"{year}-{chance.randrange(1, 13):02}-01T00:00:00Z",
                None if chance.random() < 0.4 else f"{year + chance.randrange(1, 5)}-06-30T23:59:59Z"]  # fmt: skip
    resolution = chance.choice([0.3, 10, 20, 30, 250, 500, 1000])
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "id": f"{_PREFIX}{number:05}",
        "title": f"{region} {topic} from {platform}, edition {number}",
        "description": " ".join([f"{topic.capitalize()} over {region}.", *chance.sample(_SENTENCES, 5)]),
        "keywords": [topic, platform, region, "EO"],
        "license": chance.choice(_LICENSES),
        "providers": [
            {"name": f"Agency {number % 40}", "roles": ["producer", "licensor"], "url": "https://agency.example.org/"},
            {"name": "Host", "roles": ["host", "processor"], "url": "https://host.example.org/"},
        ],
        "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [interval]}},
        "summaries": {"platform": [platform], "gsd": [resolution], "eo:cloud_cover": {"minimum": 0, "maximum": 100}},
        "gsd": resolution,
        "item_assets": {
            name: {
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "title": f"Band {order}: {name}",
                "roles": ["data", "reflectance"],
                "eo:bands": [{"name": name, "common_name": name, "center_wavelength": 0.4 + order / 10}],
                "gsd": resolution,
                "raster:bands": [{"data_type": "uint16", "nodata": 0, "scale": 0.0001, "offset": -0.1}],
            }
            for order, name in enumerate(_BANDS)
        },
        "assets": {
            "thumbnail": {"href": f"https://host.example.org/{number}.png", "type": "image/png", "roles": ["thumbnail"]}
        },
        "links": [
            {"rel": "license", "href": "https://host.example.org/license"},
            {"rel": "about", "href": f"https://host.example.org/about/{number}", "type": "text/html"},
        ],
    }


def run_collections(
    database: DatabaseSettings, storage: StorageSettings, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Pages of 10 and of 100, ours beside stock."""
    figures = []
    with _many_collections(database, say):
        for limit in (10, 100):
            say(f"searching, limit {limit}")
            workload = Workload("stac", _searches(limit), _has_collections, f"collections-{limit}")
            figures.append(result(f"collections-{limit}", measure(workload, database, storage)))
    return figures


@contextmanager
def _many_collections(database: DatabaseSettings, say: Callable[[str], None]) -> Iterator[None]:
    with connect(database.url("ingest"), application_name="stacyard-bench") as connection:

        def remove() -> None:
            connection.execute("DELETE FROM pgstac.collections WHERE id LIKE %s", [f"{_PREFIX}%"])

        say(f"making {COLLECTIONS:,} collections")
        # of a run that was killed
        remove()
        try:
            for first in range(0, COLLECTIONS, 500):
                made = orjson.dumps([make_collection(number) for number in range(first, first + 500)]).decode()
                connection.execute(
                    "INSERT INTO pgstac.collections (content) SELECT jsonb_array_elements(%s::jsonb)", [made]
                )
            yield
        finally:
            say("removing them")
            remove()


def _searches(limit: int) -> Callable[[DatabaseSettings, random.Random], Requests]:
    def requests(_: DatabaseSettings, chance: random.Random) -> Requests:
        parameters = ({"limit": limit, **_parameters(chance)} for _ in range(SEARCHES))
        return [Request(f"/collections?{urlencode(each)}") for each in parameters]

    return requests


def _parameters(chance: random.Random) -> dict[str, Any]:
    """One or two of the ways to ask, of which any two find something, at a page that may not be the first."""
    west, south, start = chance.uniform(-170, 90), chance.uniform(-70, 10), chance.randrange(1987, 2020)
    ways: list[dict[str, Any]] = [
        {"bbox": f"{west:.4f},{south:.4f},{west + 60:.4f},{south + 60:.4f}"},
        {"datetime": f"{start}-01-01T00:00:00Z/{start + 3}-0{chance.randrange(1, 10)}-01T00:00:00Z"},
        {"q": f"{chance.choice(_TOPICS)} OR {chance.choice(_REGIONS)}"},
        {"filter": f"gsd < {chance.uniform(30, 600):.3f} AND license <> '{chance.choice(_LICENSES)}'"},
        {"sortby": chance.choice(["title", "-gsd", "-id", "license,-title"])},
        {"fields": "id,title,extent"},
    ]
    one, other = chance.sample(ways, 2)
    return {"offset": chance.choice([0, chance.randrange(1, 20)]), **one, **(other if chance.random() < 0.5 else {})}


def _has_collections(status: int, body: bytes) -> bool:
    return status == 200 and len(orjson.loads(body)["collections"]) > 0
