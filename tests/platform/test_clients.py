"""The platform as the field's own programs use it: pystac-client, GDAL, numpy."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import mapbox_vector_tile
import morecantile
import numpy as np
import pystac
import pystac_client
import pytest
import rasterio
from pystac.validation import validate_dict
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.warp import transform
from rio_tiler.colormap import cmap
from rio_tiler.io import Reader

DEMO = Path(__file__).parents[2] / "demo"
TILES = morecantile.tms.get("WebMercatorQuad")
NDVI_ITEM = "S2_20160506T100527"
NDVI_FILE = DEMO / "sentinel2_ndvi" / "S2_NDVI_20160506T100527.tif"


def gdal(*command: str) -> str:
    """What a GDAL program prints. What the packages' own GDAL reads from the environment is not for this one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GDAL_", "PROJ_"))}
    # GDAL keeps tiles of a WMTS in the directory that it runs in
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=directory, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pixels(image: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    """An encoded image as (bands, height, width). A tile knows its place by its name, so it carries none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with MemoryFile(image) as memory, memory.open() as dataset:
            array: np.ndarray[Any, np.dtype[Any]] = dataset.read()
            return array


@pytest.fixture
def tile(http: httpx.Client) -> morecantile.Tile:
    """A tile in the middle of a Landsat scene."""
    west, south, east, north = http.get("/stac/collections/landsat8-paraguay/items?limit=1").json()["features"][0][
        "bbox"
    ]
    return TILES.tile((west + east) / 2, (south + north) / 2, 12)


def test_pystac_client_searches_by_space_time_and_property_and_pages(origin: str) -> None:
    catalog = pystac_client.Client.open(f"{origin}/stac/")
    assert {collection.id for collection in catalog.get_collections()} == {
        "landsat8-paraguay",
        "naip",
        "nitrogen-prescription",
        "parcels",
        "sentinel2-ndvi",
    }
    everything = catalog.search(collections=["naip"], limit=300)
    ids = [item.id for item in everything.items()]
    assert (len(ids), len(set(ids))) == (1000, 1000)

    clear = catalog.search(
        collections=["sentinel2-ndvi"],
        datetime="2016-01-01/2016-12-31",
        filter="eo:cloud_cover < 10",
        sortby="+datetime",
        max_items=100,
    )
    found = list(clear.items())
    assert found
    assert all(item.properties["eo:cloud_cover"] < 10 for item in found)
    times = [item.datetime for item in found]
    assert times == sorted(times, key=lambda time: time or datetime.min.replace(tzinfo=UTC))

    inside = catalog.search(bbox=[-55.2, -26.5, -54.4, -25.0])
    assert {item.collection_id for item in inside.items()} == {"landsat8-paraguay"}


def test_items_are_valid_stac_with_what_a_tiler_wants(origin: str) -> None:
    catalog = pystac_client.Client.open(f"{origin}/stac/")
    for collection in ("landsat8-paraguay", "sentinel2-ndvi", "parcels"):
        item = next(catalog.search(collections=[collection], max_items=1).items())
        # the schemas of the extensions are on the web; the specification's own come with pystac
        validate_dict(item.to_dict(), extensions=[])
        for name, asset in item.assets.items():
            if name == "thumbnail":
                # none is stored; the raster service draws it
                assert httpx.get(asset.href).headers["content-type"] == "image/png"
                continue
            assert asset.href.startswith(f"{origin}/assets/")
            assert asset.extra_fields["file:size"] > 0
            head = httpx.get(asset.href, headers={"Range": "bytes=0-15"})
            assert head.status_code == 206
            assert head.headers["content-range"].endswith(f"/{asset.extra_fields['file:size']}")
    landsat = next(catalog.search(collections=["landsat8-paraguay"], max_items=1).items())
    red = landsat.assets["red"]
    assert red.media_type == pystac.MediaType.COG
    assert red.extra_fields["file:header_size"] > 0
    assert red.extra_fields["raster:bands"][0]["statistics"]["maximum"] > 0
    assert landsat.properties["proj:code"] == "EPSG:32621"


def test_gdal_opens_a_published_asset_by_ranges(origin: str, http: httpx.Client) -> None:
    item = http.get("/stac/collections/landsat8-paraguay/items?limit=1").json()["features"][0]
    info = json.loads(gdal("gdalinfo", "-json", f"/vsicurl/{item['assets']['red']['href']}"))
    assert info["bands"][0]["noDataValue"] == 0
    assert len(info["bands"][0]["overviews"]) >= 1
    assert info["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"


def test_gdal_reads_the_wmts_and_the_tile_that_it_advertises_decodes(
    origin: str, http: httpx.Client, tile: morecantile.Tile, tmp_path: Path
) -> None:
    url = f"{origin}/raster/collections/landsat8-paraguay/WMTSCapabilities.xml"
    capabilities = http.get(url).text
    root = ElementTree.fromstring(capabilities)
    space = {"w": "http://www.opengis.net/wmts/1.0", "o": "http://www.opengis.net/ows/1.1"}
    layers = {
        layer.findtext("o:Identifier", namespaces=space): layer for layer in root.iterfind("w:Contents/w:Layer", space)
    }
    name = next(identifier for identifier in layers if identifier and "WebMercatorQuad" in identifier)
    info = json.loads(gdal("gdalinfo", "-json", f"WMTS:{url},layer={name}"))
    assert info["driverShortName"] == "WMTS"
    left, bottom, right, top = (str(edge) for edge in TILES.xy_bounds(tile))
    picture = tmp_path / "wmts.png"
    window = ("-projwin", left, top, right, bottom, "-outsize", "256", "256")
    gdal("gdal_translate", "-q", "-of", "PNG", *window, f"WMTS:{url},layer={name}", str(picture))
    assert pixels(picture.read_bytes())[0].std() > 10, "GDAL draws the mosaic from it"

    resource = layers[name].find("w:ResourceURL", space)
    assert resource is not None
    template = resource.attrib["template"]
    assert template.startswith(origin)
    address = (
        template.replace("{TileMatrixSet}", "WebMercatorQuad")
        .replace("{TileMatrix}", str(tile.z))
        .replace("{TileCol}", str(tile.x))
        .replace("{TileRow}", str(tile.y))
    )
    image = http.get(address)
    assert image.status_code == 200
    assert pixels(image.content)[0].std() > 1


def test_gdal_reads_the_vector_service_as_ogc_api_features(origin: str) -> None:
    info = gdal("ogrinfo", "-so", f"OAPIF:{origin}/vector", "features.parcels")
    assert "Feature Count: 88" in info
    assert "class_name: String" in info


def test_a_true_colour_mosaic_shows_both_scenes_across_their_border(http: httpx.Client) -> None:
    items = http.get("/stac/collections/landsat8-paraguay/items").json()["features"]
    assert len(items) == 2
    boxes = [item["bbox"] for item in items]
    west, south = max(box[0] for box in boxes), max(box[1] for box in boxes)
    east, north = min(box[2] for box in boxes), min(box[3] for box in boxes)
    assert west < east
    assert south < north, "the scenes must overlap"
    outer = [min(box[1] for box in boxes), max(box[3] for box in boxes)]
    query = "assets=red&assets=green&assets=blue&rescale=5950,8950&width=64&height=64"
    area = f"{(west + east) / 2 - 0.02},{outer[0]},{(west + east) / 2 + 0.02},{outer[1]}"
    answer = http.get(f"/raster/collections/landsat8-paraguay/bbox/{area}.tif?{query}")
    assert answer.status_code == 200, answer.text
    with MemoryFile(answer.content) as memory, memory.open() as dataset:
        mask = dataset.dataset_mask()
    assert mask[20:44].all(), "no gap where the scenes meet"


def test_ndvi_pixels_equal_numpys_on_the_source(http: httpx.Client) -> None:
    """The tile is drawn by the service; numpy reads the source file and the colormap by themselves."""
    with rasterio.open(NDVI_FILE) as source:
        longitude, latitude = source.lnglat()
    tile = TILES.tile(longitude, latitude, 15)
    query = (
        "assets=ndvi&unscale=true&rescale=-0.2,0.9&colormap_name=rdylgn&nodata=-32768&tilesize=256&resampling=nearest"
    )
    path = f"/raster/collections/sentinel2-ndvi/items/{NDVI_ITEM}/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png"
    answer = http.get(f"{path}?{query}")
    assert answer.status_code == 200, answer.text
    drawn = pixels(answer.content)
    with Reader(str(NDVI_FILE)) as source:
        stored = source.tile(tile.x, tile.y, tile.z, tilesize=256, nodata=-32768, resampling_method="nearest")
    ndvi = stored.array[0].astype("float64") * 0.0001
    index = np.clip(np.floor((ndvi - -0.2) / 1.1 * 255), 0, 255).filled(0).astype(int)
    colours = np.array([cmap.get("rdylgn")[value] for value in range(256)])
    seen = ~np.ma.getmaskarray(ndvi)
    assert seen.sum() > 1000
    assert (drawn[3] > 0).tolist() == seen.tolist()
    # one display value is one step of the colormap
    low, high = colours[np.clip(index - 1, 0, 255)], colours[np.clip(index + 1, 0, 255)]
    shown = np.moveaxis(drawn[:3], 0, -1)
    lower, upper = np.minimum(low, high)[..., :3] - 1, np.maximum(low, high)[..., :3] + 1
    assert ((shown >= lower) & (shown <= upper))[seen].all()


def test_an_ndvi_series_through_the_service_equals_the_files(http: httpx.Client) -> None:
    with rasterio.open(NDVI_FILE) as source:
        longitude, latitude = source.lnglat()
    items = http.get("/stac/collections/sentinel2-ndvi/items?limit=100").json()["features"]
    assert len(items) == 68
    for item in items[::7]:
        file = DEMO / "sentinel2_ndvi" / f"S2_NDVI_{item['id'].removeprefix('S2_')}.tif"
        with rasterio.open(file) as source:
            xs, ys = transform("EPSG:4326", source.crs, [longitude], [latitude])
            (expected,) = next(iter(source.sample([(xs[0], ys[0])])))
        path = f"/raster/collections/sentinel2-ndvi/items/{item['id']}/point/{longitude},{latitude}"
        answer = http.get(path, params={"assets": "ndvi", "unscale": "true"})
        assert answer.status_code == 200, answer.text
        (value,) = answer.json()["values"]
        assert value == pytest.approx(expected * 0.0001, abs=1e-4)


def test_a_vector_tile_holds_the_parcels_that_the_feature_service_gives(http: httpx.Client) -> None:
    features = http.get("/vector/collections/features.parcels/items?limit=100").json()
    assert features["numberMatched"] == 88
    box = http.get("/vector/collections/features.parcels").json()["extent"]["spatial"]["bbox"][0]
    tile = TILES.tile((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 12)
    answer = http.get(f"/vector/collections/features.parcels/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}")
    assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    drawn = mapbox_vector_tile.decode(answer.content)["default"]["features"]
    known = {
        feature["properties"]["parcel_id"]: feature["properties"]["class_name"] for feature in features["features"]
    }
    assert drawn
    for feature in drawn:
        assert known[feature["properties"]["parcel_id"]] == feature["properties"]["class_name"]


def test_what_upstream_documents_is_reachable(http: httpx.Client) -> None:
    found = http.get("/stac/collections/landsat8-paraguay/items?limit=1").json()["features"][0]
    item, (west, south, east, north) = found["id"], found["bbox"]
    x, y = (west + east) / 2, (south + north) / 2
    area = f"{x - 0.05},{y - 0.05},{x + 0.05},{y + 0.05}"
    raster_item, raster = f"/raster/collections/landsat8-paraguay/items/{item}", "/raster/collections/landsat8-paraguay"
    polygon = {
        "type": "Feature",
        "properties": {},
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[x, y], [x + 0.05, y], [x + 0.05, y + 0.05], [x, y]]],
        },
    }
    for path in [
        "/stac/conformance",
        "/stac/queryables",
        "/stac/collections/naip/queryables",
        "/stac/collections?q=sentinel&sortby=-id&fields=id",
        "/stac/search?q=x&fields=id,properties.datetime&sortby=-datetime&limit=1",
        "/stac/search?filter=platform%20%3D%20%27landsat-8%27&filter-lang=cql2-text",
        "/stac/api",
        "/stac/api.html",
        "/raster/api",
        "/raster/api.html",
        "/raster/conformance",
        "/raster/algorithms",
        "/raster/colorMaps",
        "/raster/colorMaps/rdylgn?f=png",
        "/raster/tileMatrixSets/WebMercatorQuad",
        f"{raster}/info",
        f"{raster}/tiles",
        f"{raster}/WebMercatorQuad/tilejson.json?assets=red",
        f"{raster}/WebMercatorQuad/map.html?assets=red",
        f"{raster}/bbox/{area}.png?assets=red&rescale=5950,8950&width=32&height=32",
        f"{raster}/point/{x},{y}?assets=red",
        f"{raster_item}/info?assets=red",
        f"{raster_item}/statistics?assets=red",
        f"{raster_item}/preview.png?assets=red&rescale=5950,8950&max_size=64",
        f"{raster_item}/renders",
        f"{raster_item}/preview.png?assets=red&algorithm=hillshade&max_size=64",
        f"{raster_item}/WMTSCapabilities.xml?assets=red",
        f"{raster_item}/assets/red/info",
        "/vector/api",
        "/vector/conformance",
        "/vector/collections/features.parcels/queryables",
        "/vector/collections/features.parcels/items?f=csv",
        "/vector/collections/features.parcels/tiles/WebMercatorQuad/tilejson.json",
        "/vector/collections/features.parcels/tiles/WebMercatorQuad/style.json",
        "/vector/collections/features.parcels/items?filter=class_id%20%3E%200",
        "/vector/tileMatrixSets",
    ]:
        answer = http.get(path)
        assert answer.status_code == 200, (path, answer.text[:400])
        assert answer.content, path
    for path in (f"{raster_item}/statistics?assets=red", f"{raster}/statistics?assets=red&max_size=64"):
        answer = http.post(path, json=polygon)
        assert answer.status_code == 200, (path, answer.text[:400])
        assert answer.json()["properties"]["statistics"]


def test_a_registered_search_is_a_mosaic_of_its_own(http: httpx.Client, tile: morecantile.Tile) -> None:
    registered = http.post("/raster/searches/register", json={"collections": ["landsat8-paraguay"]})
    assert registered.status_code == 200, registered.text
    search = registered.json()["id"]
    path = (
        f"/raster/searches/{search}/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png?assets=red&rescale=5950,8950"
    )
    assert http.get(path).headers["content-type"] == "image/png"
    listed = http.get("/raster/searches/list?limit=100").json()["searches"]
    assert search in {entry["search"]["hash"] for entry in listed}
    info = http.get(f"/raster/searches/{search}/info").json()
    assert info["search"]["search"]["collections"] == ["landsat8-paraguay"]


def test_png_tiles_are_real_images_of_the_size_asked_for(http: httpx.Client, tile: morecantile.Tile) -> None:
    path = f"/raster/collections/landsat8-paraguay/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}"
    for tilesize in (256, 512):
        answer = http.get(f"{path}.png?assets=red&rescale=5950,8950&tilesize={tilesize}")
        assert pixels(answer.content).shape == (2, tilesize, tilesize)
