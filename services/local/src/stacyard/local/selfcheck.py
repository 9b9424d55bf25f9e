"""Real requests to a platform that holds the demo's data, each with what a person would look for in the answer."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast
from warnings import catch_warnings, simplefilter

import httpx
import numpy as np
import rasterio
from rasterio.io import MemoryFile
from rasterio.warp import transform
from rich.console import Console
from rich.table import Table

_LANDSAT, _SENTINEL, _PARCELS = "landsat8-paraguay", "sentinel2-ndvi", "features.parcels"
_LANDSAT_ITEM = "LC08_224077_20200518"


Query: TypeAlias = list[tuple[str, str | int | float | bool | None]]


@dataclass(frozen=True)
class Result:
    """One check: what was seen, or what went wrong."""

    name: str
    seen: str
    milliseconds: float
    held: bool


class CheckFailed(Exception):
    """An answer is not what it must be; the message says what is wrong with it."""


def run_checks(url: str, data: Path) -> list[Result]:
    """Ask for everything once.

    Args:
        url: where the platform answers.
        data: the demo's folder, whose files the answers are compared with.
    """
    with httpx.Client(base_url=url, timeout=30, headers={"Accept": "application/json"}) as client:
        checks = Checks(client, data)
        named: list[tuple[str, Callable[[], str]]] = [
            ("landing page", checks.landing_page),
            ("search", checks.search),
            ("search, a page of 1,000", checks.large_page),
            ("item", checks.item),
            ("true colour tile", checks.true_colour_tile),
            ("NDVI tile", checks.ndvi_tile),
            ("vector tile", checks.vector_tile),
            ("NDVI through time", checks.time_series),
            ("asset by range", checks.asset),
            ("explorer", checks.explorer),
        ]
        return [_run(name, check) for name, check in named]


def print_results(results: Sequence[Result], console: Console) -> None:
    """A table of what was asked and seen."""
    table = Table(title="Self-check", title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("seen")
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("ok", no_wrap=True)
    for result in results:
        verdict = "[green]yes[/]" if result.held else "[bold red]NO[/]"
        table.add_row(result.name, result.seen, f"{result.milliseconds:.0f}", verdict)
    console.print(table)


class Checks:
    """The checks, one method each: what was seen is returned, a CheckFailed says what is wrong."""

    def __init__(self, client: httpx.Client, data: Path) -> None:
        self._client = client
        self._data = data

    def landing_page(self) -> str:
        """The catalog's links start with the address that was asked."""
        page = self._json("/stac/")
        strangers = [link["href"] for link in page["links"] if not self._is_ours(link["href"])]
        _expect(not strangers, f"links elsewhere: {strangers[:3]}")
        _expect({"search", "data", "conformance"} <= {link["rel"] for link in page["links"]}, "links are missing")
        return f"{page['type']} {page['id']!r}, {len(page['links'])} links"

    def search(self) -> str:
        """Space, time and collection together find both scenes, and nothing where there is nothing."""
        wanted = {"collections": [_LANDSAT], "bbox": [-60, -30, -50, -20], "datetime": "2020-05-01T00:00:00Z/.."}
        found = self._json("/stac/search", json=wanted)["features"]
        _expect(len(found) == 2, f"{len(found)} items, 2 are there")
        elsewhere = self._json("/stac/search", json=wanted | {"bbox": [10, 40, 12, 42]})["features"]
        _expect(not elsewhere, f"{len(elsewhere)} items where none are")
        return ", ".join(sorted(item["id"] for item in found))

    def large_page(self) -> str:
        """All items of the largest collection in one page."""
        found = self._json("/stac/search", json={"collections": ["naip"], "limit": 1000})["features"]
        ids = {item["id"] for item in found}
        _expect(len(ids) == len(found) == 1000, f"{len(ids)} different items, 1,000 are there")
        return f"{len(found)} items"

    def item(self) -> str:
        """One item, with assets that can be downloaded and a named look."""
        item = self._item()
        hrefs = [item["assets"][name]["href"] for name in ("red", "green", "blue")]
        _expect(all(self._is_ours(href) for href in hrefs), f"assets elsewhere: {hrefs}")
        _expect("true_color" in item["properties"]["renders"], "the render true_color is missing")
        return f"{item['id']} with {', '.join(item['assets'])}"

    def true_colour_tile(self) -> str:
        """A tile of the mosaic in the named look of its items has much to see."""
        item = self._item()
        box = item["bbox"]
        path = _tile(10, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        return self._picture(
            f"/raster/collections/{_LANDSAT}/tiles/WebMercatorQuad/{path}.png",
            _query(item["properties"]["renders"]["true_color"]),
        )

    def ndvi_tile(self) -> str:
        """A tile of the latest NDVI in its colours."""
        item = self._series()[-1]
        box = item["bbox"]
        path = _tile(15, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        return self._picture(
            f"/raster/collections/{_SENTINEL}/items/{item['id']}/tiles/WebMercatorQuad/{path}.png",
            _query(item["properties"]["renders"]["ndvi"]),
        )

    def vector_tile(self) -> str:
        """A tile of the parcels with their attributes."""
        west, south, east, north = self._json(f"/vector/collections/{_PARCELS}")["extent"]["spatial"]["bbox"][0]
        path = _tile(14, (west + east) / 2, (south + north) / 2)
        answer = self._get(f"/vector/collections/{_PARCELS}/tiles/WebMercatorQuad/{path}")
        kind = answer.headers["content-type"]
        _expect("mapbox-vector-tile" in kind or "protobuf" in kind, f"Content-Type is {kind}")
        _expect(b"class_name" in answer.content, "the attribute class_name is not in the tile")
        return f"{len(answer.content):,} bytes with class_name"

    def time_series(self) -> str:
        """The NDVI of one point on every date, each equal to the number in the file that was ingested."""
        items = self._series()
        box = items[0]["bbox"]
        # a little off the middle: the edge between two pixels belongs to either
        lon, lat = box[0] + (box[2] - box[0]) * 0.501, box[1] + (box[3] - box[1]) * 0.503
        ids = [item["id"] for item in items]
        with ThreadPoolExecutor(4) as threads:
            served = np.array(list(threads.map(lambda name: self._point(name, lon, lat), ids)))
        stored = np.array([_pixel(self._data / "sentinel2_ndvi" / _ndvi_file(name), lon, lat) for name in ids])
        different = int(np.count_nonzero(~np.isclose(served, stored, atol=1e-6, equal_nan=True)))
        _expect(not different, f"{different} of {len(ids)} values differ from the files")
        return f"{len(ids)} dates, {np.nanmin(served):.2f} to {np.nanmax(served):.2f}, all equal to the files"

    def asset(self) -> str:
        """The first bytes of an asset, by Range: a TIFF header."""
        href = self._item()["assets"]["red"]["href"]
        answer = self._client.get(href, headers={"Range": "bytes=0-3"})
        _expect(answer.status_code == 206, f"HTTP {answer.status_code} to a range request")
        _expect(answer.content in (b"II*\0", b"MM\0*", b"II+\0"), f"{answer.content!r} is no TIFF header")
        return f"{answer.headers['content-range']}, a TIFF"

    def explorer(self) -> str:
        """The map's page and the script that it names."""
        page = self._get("/", headers={"Accept": "text/html"}).text
        script = re.search(r'<script[^>]+src="([^"]+)"', page)
        _expect(script is not None, "the page has no script: the map is not built; `stacyard doctor` says why")
        assert script is not None  # noqa: S101 - expected above
        size = len(self._get("/" + script[1].removeprefix("./").lstrip("/")).content)
        return f"page and {size / 1000:,.0f} kB of script"

    def _item(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self._json(f"/stac/collections/{_LANDSAT}/items/{_LANDSAT_ITEM}"))

    def _series(self) -> list[dict[str, Any]]:
        found = self._json("/stac/search", json={"collections": [_SENTINEL], "limit": 200})["features"]
        _expect(len(found) == 68, f"{len(found)} dates, 68 are there")
        return sorted(found, key=lambda item: str(item["properties"]["datetime"]))

    def _point(self, item: str, lon: float, lat: float) -> float:
        path = f"/raster/collections/{_SENTINEL}/items/{item}/point/{lon},{lat}"
        value = self._json(path, params=[("assets", "ndvi"), ("unscale", "true")])["values"][0]
        return math.nan if value is None else float(value)

    def _picture(self, path: str, query: Query) -> str:
        answer = self._get(path, params=query)
        _expect(answer.headers["content-type"] == "image/png", f"Content-Type is {answer.headers['content-type']}")
        with catch_warnings():
            simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with MemoryFile(answer.content) as file, file.open() as picture:
                pixels, visible = picture.read(), picture.dataset_mask() > 0
        colours = len(np.unique(pixels[:3, visible], axis=1).T) if visible.any() else 0
        _expect(colours > 50, f"{colours} colours in {visible.mean():.0%} of the tile")
        return f"{len(answer.content):,} bytes, {visible.mean():.0%} covered, {colours:,} colours"

    def _json(self, path: str, *, json: Any = None, params: Query | None = None) -> Any:
        if json is None:
            return self._get(path, params=params).json()
        return _successful(self._client.post(path, json=json)).json()

    def _get(self, path: str, *, params: Query | None = None, headers: dict[str, str] | None = None) -> httpx.Response:
        return _successful(self._client.get(path, params=params, headers=headers))

    def _is_ours(self, href: str) -> bool:
        return href.startswith(str(self._client.base_url))


def _run(name: str, check: Callable[[], str]) -> Result:
    started = time.perf_counter()
    try:
        seen, held = check(), True
    except (CheckFailed, httpx.HTTPError, KeyError, IndexError, ValueError, OSError) as error:
        seen, held = str(error) if isinstance(error, CheckFailed) else f"{type(error).__name__}: {error}", False
    return Result(name, seen, (time.perf_counter() - started) * 1000, held)


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise CheckFailed(otherwise)


def _successful(answer: httpx.Response) -> httpx.Response:
    _expect(answer.is_success, f"HTTP {answer.status_code} from {answer.request.url.path}: {answer.text[:200]}")
    return answer


def _query(render: dict[str, Any]) -> Query:
    """A render of the STAC render extension as the tiler's parameters."""
    query: Query = [("assets", name) for name in render["assets"]]
    query += [("rescale", f"{least},{most}") for least, most in render.get("rescale", [])]
    for name in ("colormap_name", "nodata", "resampling", "unscale"):
        if name in render:
            query.append((name, str(render[name]).lower()))
    return query


def _tile(zoom: int, lon: float, lat: float) -> str:
    """`z/x/y` of the WebMercatorQuad tile with this point, by the formula of OGC 17-083r4, annex D."""
    size = 2**zoom
    x = int((lon + 180) / 360 * size)
    y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * size)
    return f"{zoom}/{x}/{y}"


def _ndvi_file(item: str) -> str:
    return f"{item.replace('S2_', 'S2_NDVI_')}.tif"


def _pixel(path: Path, lon: float, lat: float) -> float:
    """The NDVI at a point as the file has it, NaN where it has none."""
    with rasterio.open(path) as source:
        (x,), (y,) = transform("EPSG:4326", source.crs, [lon], [lat])
        value = source.read(1)[source.index(x, y)]
    return math.nan if value == -32768 else float(value) * 0.0001
