"""Bad requests: a 4xx with a sentence that says what to change, nothing of the inside, and no slower than good ones."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest

SCENE = "/raster/collections/landsat8-paraguay"
PARCELS = "/vector/collections/features.parcels"


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/stac/search?bbox=1,2,3", 400, "4 or 6"),
        ("/stac/search?bbox=a,b,c,d", 400, "a,b,c,d"),
        ("/stac/search?bbox=0,10,10,0", 400, "south first"),
        ("/stac/search?bbox=-200,0,10,10", 400, "-180 to 180"),
        ("/stac/search?bbox=nan,0,10,10", 400, "nan"),
        ("/stac/search?datetime=yesterday", 400, "datetime"),
        ("/stac/search?datetime=2020-13-01T00:00:00Z", 400, "month"),
        ("/stac/search?datetime=9999-12-31T23:59:59-14:00", 400, "no such time"),
        ("/stac/search?datetime=2021-01-01T00:00:00Z/2020-01-01T00:00:00Z", 400, ""),
        ("/stac/search?filter=((", 400, "filter"),
        ("/stac/search?filter=%7B%22op%22%3A%22nonsense%22%2C%22args%22%3A%5B%5D%7D&filter-lang=cql2-json", 400, ""),
        ("/stac/search?token=made-up", 400, "links"),
        ("/stac/search?token=next:naip:no-such-item", 400, "token"),
        ("/stac/search?limit=0", 400, "limit"),
        ("/stac/search?limit=many", 400, "limit"),
        ("/stac/search?intersects=%7B", 400, "intersects"),
        ("/stac/search?query=%7B", 400, "query"),
        ("/stac/collections/nowhere", 404, "nowhere"),
        ("/stac/collections/nowhere/items", 404, "nowhere"),
        ("/stac/collections/naip/items/nothing", 404, "nothing"),
        ("/stac/collections?bbox=1,2", 400, "4 or 6"),
        ("/stac/collections/n%00/items", 400, "NUL"),
        ("/stac/collections/naip/items/a%00b", 400, "NUL"),
        ("/stac/search?ids=a%00b", 400, "NUL"),
        ("/raster/collections/n%00/info", 400, "NUL"),
        (f"{PARCELS}/items/a%00", 400, "NUL"),
        (f"{PARCELS}/items?filter=class_name='a%00'", 400, "NUL"),
        ("/stac/search?token=next:00:61:5", 400, "0x00"),
        (f"{SCENE}/tiles/WebMercatorQuad/99/0/0?assets=red", 404, "zooms are 0 to 24"),
        (f"{SCENE}/tiles/WebMercatorQuad/3/9/9?assets=red", 404, "no tile 3/9/9"),
        (f"{SCENE}/tiles/NoSuchSet/3/1/1?assets=red", 400, "tileMatrixSetId"),
        (f"{SCENE}/tiles/WebMercatorQuad/3/1/1", 400, "assets"),
        (f"{SCENE}/tiles/WebMercatorQuad/3/1/1?assets=red&bbox=1,2", 400, "bbox"),
        (f"{SCENE}/tiles/WebMercatorQuad/3/1/1?assets=red&datetime=x", 400, "datetime"),
        (f"{SCENE}/tiles/WebMercatorQuad/3/1/1?assets=red&filter=((", 400, "filter"),
        (f"{SCENE}/tiles/WebMercatorQuad/3/1/1?assets=red&query=((", 400, "query"),
        (f"{SCENE}/tiles/WebMercatorQuad/3/1/1?assets=red&rescale=a,b", 400, "rescale"),
        (f"{SCENE}/tiles/WebMercatorQuad/3/1/1?assets=red&colormap_name=none", 400, "colormap"),
        ("/raster/collections/nowhere/info", 404, "nowhere"),
        ("/raster/searches/0000/info", 404, "0000"),
        (f"{SCENE}/items/nothing/info?assets=red", 404, "nothing"),
        (f"{SCENE}/items/LC08_224077_20200518/tiles/WebMercatorQuad/9/0/0?assets=red", 404, "outside bounds"),
        (f"{SCENE}/items/LC08_224077_20200518/preview?assets=nir", 404, "'nir'"),
        (f"{SCENE}/items/LC08_224077_20200518/preview?assets=red&expression=red%2B(", 400, "expression"),
        (f"{SCENE}/items/LC08_224077_20200518/assets/nir/info", 404, "red"),
        ("/raster/collections/naip/items/al_m_3008501_ne_16_030_20211103/info?assets=image", 403, "STORAGE_READABLE"),
        (f"{PARCELS}/items?bbox=1,2,3", 400, ""),
        (f"{PARCELS}/items?bbox=a,b,c,d", 400, ""),
        (f"{PARCELS}/items?filter=((", 400, ""),
        (f"{PARCELS}/items?limit=-1", 400, "limit"),
        (f"{PARCELS}/items/no-such-parcel", 404, ""),
        (f"{PARCELS}/tiles/WebMercatorQuad/99/0/0", 404, ""),
        (f"{PARCELS}/tiles/WebMercatorQuad/3/9/9", 404, ""),
        ("/vector/collections/features.nowhere", 404, "nowhere"),
        ("/vector/collections/nowhere", 404, ""),
        ("/assets/nothing.tif", 404, ""),
        ("/nowhere", 404, ""),
    ],
)
def test_a_bad_request_is_told_what_to_change(http: httpx.Client, path: str, status: int, says: str) -> None:
    answer = http.get(path)
    assert answer.status_code == status, answer.text[:500]
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert says in problem["detail"] + str(problem.get("parameter", "")), problem
    for inside in ("SELECT", "pgstac.", "/tmp", "Traceback", "site-packages"):
        assert inside not in answer.text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "body"),
        ('{"bbox": [1, 2]}', "bbox"),
        ('{"bbox": [0, 10, 10, 0]}', "bbox"),
        ('{"datetime": "yesterday"}', "datetime"),
        ('{"datetime": "9999-12-31T23:59:59-14:00"}', "out of range"),
        ('{"ids": ["a\\u0000"]}', "0x00"),
        ('{"limit": 0}', "limit"),
        ('{"token": "made-up"}', "token"),
        ('{"filter-lang": "cql2-json", "filter": {"op": "nonsense", "args": []}}', ""),
        ('{"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}}', ""),
        ('{"intersects": {"type": "Nonsense"}}', "intersects"),
        ('{"sortby": "datetime"}', "sortby"),
    ],
)
def test_a_bad_search_by_post_is_told_what_to_change(http: httpx.Client, body: str, says: str) -> None:
    answer = http.post("/stac/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text[:500]
    problem = answer.json()
    assert says in f"{problem['detail']} {problem.get('parameter', '')}", problem


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2fetc%2fpasswd",
        "/assets/landsat8-paraguay/../../data/secrets.json",
        "/assets//etc/passwd",
        "/assets/%00",
        "/static/../../../../etc/passwd",
    ],
)
def test_no_path_leads_out_of_the_assets(origin: str, path: str) -> None:
    """Sent as it is, over a socket: clients would tidy the path before they ask."""
    parts = urlsplit(origin)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.split(b" ")[1] in (b"400", b"404"), answer[:300]
    assert b"root:" not in answer


def test_a_client_cannot_choose_pgstacs_settings(http: httpx.Client) -> None:
    answer = http.post(
        "/stac/search", json={"limit": 1, "conf": {"base_url": "https://evil.example", "nohydrate": True}}
    )
    assert answer.status_code == 200
    found = answer.json()
    assert not [link["href"] for link in found["links"] if "evil" in link["href"]]
    assert found["features"][0]["assets"]


def test_a_limit_above_the_maximum_is_cut_and_no_error(http: httpx.Client) -> None:
    answer = http.get("/stac/search?collections=naip&limit=100000")
    assert answer.status_code == 200
    assert len(answer.json()["features"]) == 1000
