"""What no write takes: a 4xx that names the place, whatever is sent, and nothing written."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stacyard.stac.bodies import MAX_DEPTH, pointer
from stacyard.stac.patches import MAX_OPERATIONS

from .test_transactions import collection_document, item_document, within

GEOJSON = "application/geo+json"


@pytest.fixture(scope="module")
def collection(catalog_url: str) -> Iterator[str]:
    """A collection with one item, `there`."""
    name = f"r-{uuid.uuid4().hex[:8]}"
    with httpx.Client(base_url=catalog_url, timeout=30) as client:
        assert client.post("/collections", json=collection_document(name)).status_code == 201
        assert client.post(f"/collections/{name}/items", json=item_document("there")).status_code == 201
        yield name
        client.delete(f"/collections/{name}")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        ("", "application/json", 400, "not valid JSON"),
        ("{", "application/json", 400, "not valid JSON"),
        ("\xff", "application/json", 400, "not valid JSON"),
        ('{"type": NaN}', "application/json", 400, "not valid JSON"),
        ('{"type": 1e999}', "application/json", 400, "not valid JSON"),
        ('{"type": "\\ud800"}', "application/json", 400, "not valid JSON"),
        ("null", "application/json", 400, "a STAC item is a JSON object"),
        ("[]", GEOJSON, 400, "a STAC item is a JSON object"),
        ("{}", GEOJSON, 400, "/stac_version: 1.0.0 to 1.1.0 was expected"),
        (json.dumps(nested(MAX_DEPTH + 1)), GEOJSON, 400, "nested deeper"),
        ("[" * 100_000, GEOJSON, 400, "not valid JSON"),
        ('{"id": "a\\u0000b"}', GEOJSON, 400, "/id: there is a NUL"),
        ('{"a\\u0000b": 1}', GEOJSON, 400, "NUL"),
        (json.dumps(item_document()), "text/plain", 415, "text/plain"),
        (json.dumps(item_document()), "", 415, "application/geo+json"),
        (json.dumps(item_document()), "application/xml; charset=utf-8", 415, "application/xml"),
        (json.dumps(item_document(title="x" * 200_000)), GEOJSON, 413, "200000 bytes"),
    ],
)
def test_a_body_that_is_no_item_is_told_why(
    catalog: httpx.Client, collection: str, body: str, kind: str, status: int, says: str
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    content = body.encode("latin-1")
    answer = catalog.post(f"/collections/{collection}/items", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]

    def chunks() -> Iterator[bytes]:
        yield content

    # without a Content-Length
    assert catalog.post(f"/collections/{collection}/items", content=chunks(), headers=headers).status_code == status


def test_a_compressed_body_is_refused(catalog: httpx.Client, collection: str) -> None:
    headers = {"Content-Type": GEOJSON, "Content-Encoding": "gzip"}
    assert catalog.post(f"/collections/{collection}/items", content=b"x", headers=headers).status_code == 415


NOON = "2020-05-18T12:00:00Z"
CLOSED = [[0, 0], [1, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("path", "value", "place", "says"),
    [
        ("/type", "Nonsense", "/type", "Feature"),
        ("/type", ..., "/", '"type" is a required property'),
        ("/stac_version", "0.9.0", "/stac_version", "1.0.0"),
        ("/stac_version", 1, "/stac_version", "1.0.0"),
        ("/id", ..., "/", '"id" is a required property'),
        ("/id", 5, "/id", "string"),
        ("/id", "", "/id", ""),
        ("/id", "a/b", "/id", "/"),
        ("/id", "x" * 600, "/id", "512"),
        ("/collection", "other", "/collection", "path"),
        ("/geometry", ..., "/", '"geometry" is a required property'),
        ("/geometry", None, "/geometry", "null"),
        ("/geometry/type", "Circle", "/geometry/type", "expected Point or LineString or Polygon"),
        ("/geometry/coordinates", [[[0, 0], [1, 0], [1, "a"], [0, 0]]], "/geometry/coordinates/0/2/1", "number"),
        ("/geometry/coordinates", [[[0, 0], [1, 0], [1, 1], [0, 1]]], "/geometry/coordinates/0", "not closed"),
        ("/geometry", {"type": "MultiPolygon", "coordinates": [[CLOSED], [[*CLOSED[1:], [3, 3]]]]},
         "/geometry/coordinates/1/0", "not closed"),
        ("/bbox", [0, 0, 1], "/bbox", "items"),
        ("/bbox", ..., "/", '"bbox" is a required property'),
        ("/properties/datetime", ..., "/properties", "datetime"),
        ("/properties/datetime", None, "/properties/datetime", "not allowed"),
        ("/properties/datetime", 5, "/properties/datetime", "string"),
        ("/properties/datetime", "yesterday", "/properties/datetime", "date-time"),
        ("/properties/datetime", "2020-02-30T00:00:00Z", "/properties/datetime", "date-time"),
        ("/properties/datetime", "2020-01-01T00:00:00+02:00", "/properties/datetime", "Z"),
        ("/properties/datetime", "0000-01-01T00:00:00Z", "/properties/datetime", "year"),
        ("/properties", {"datetime": None, "start_datetime": NOON, "end_datetime": "2020-01-01T00:00:00Z"},
         "/properties/end_datetime", "before"),
        ("/properties/gsd", "fine", "/properties/gsd", "number"),
        ("/links", {}, "/links", "array"),
        ("/links/0/href", ..., "/links/0", "href"),
        ("/assets", [], "/assets", "object"),
        ("/assets/red/href", 5, "/assets/red/href", "string"),
        ("/assets/red/roles", "data", "/assets/red/roles", "array"),
        ("/stac_extensions", "x", "/stac_extensions", "array"),
    ],
)  # fmt: skip
def test_a_fault_of_an_item_is_named_by_its_place(
    catalog: httpx.Client, collection: str, path: str, value: Any, place: str, says: str
) -> None:
    answer = catalog.post(f"/collections/{collection}/items", json=within(item_document(), path, value))
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert problem["parameter"] == place
    assert says in problem["detail"]


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("/id", ..., "/"),
        ("/id", "a?b", "/id"),
        ("/license", 5, "/license"),
        ("/extent", ..., "/"),
        ("/extent/spatial/bbox", [], "/extent/spatial/bbox"),
        ("/extent/spatial/bbox/0/0", "w", "/extent/spatial/bbox/0/0"),
        ("/extent/temporal/interval/0/0", "once", "/extent/temporal/interval/0/0"),
        ("/links", None, "/links"),
        ("/providers", [{}], "/providers/0"),
        ("/item_assets", [], "/item_assets"),
    ],
)
def test_a_fault_of_a_collection_is_named_by_its_place(
    catalog: httpx.Client, path: str, value: Any, place: str
) -> None:
    answer = catalog.post("/collections", json=within(collection_document("never", providers=[]), path, value))
    assert (answer.status_code, answer.json()["parameter"]) == (400, place), answer.text
    assert catalog.get("/collections/never").status_code == 404


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        ({"id": "other"}, "application/merge-patch+json", 400, "/id"),
        ({"collection": "other"}, "application/merge-patch+json", 400, "/collection"),
        ({"geometry": None}, "application/merge-patch+json", 400, "geometry"),
        ({"properties": {"datetime": None}}, "application/json", 400, "/properties"),
        ([], "application/merge-patch+json", 400, "RFC 7396"),
        ({}, "application/json-patch+json", 400, "RFC 6902"),
        (5, "application/json", 400, "RFC 6902"),
        ([5], "application/json", 400, "/0"),
        ([{"op": "nonsense", "path": "/id"}], "application/json-patch+json", 400, "/0"),
        ([{"op": "add", "path": "id", "value": 1}], "application/json-patch+json", 400, "/0"),
        ([{"op": "copy", "from": 5, "path": "/a"}], "application/json-patch+json", 400, "/0"),
        ([{"op": "add", "path": "/a"}], "application/json-patch+json", 400, "value"),
        ([{"op": "test", "path": "/id", "value": "other"}], "application/json-patch+json", 409, "/0"),
        ([{"op": "remove", "path": "/nowhere"}], "application/json-patch+json", 409, "/0"),
        ([{"op": "add", "path": "/id/x/y", "value": 1}], "application/json-patch+json", 409, "/0"),
        ([{"op": "replace", "path": "", "value": 3}], "application/json-patch+json", 400, "JSON object"),
        ([{"op": "remove", "path": "/nowhere"}] * (MAX_OPERATIONS + 1), "application/json", 400, "at the most"),
        ([{"op": "copy", "from": "", "path": f"/x{n}"} for n in range(40)], "application/json", 400, "too large"),
        ([{"op": "add", "path": "/properties" + "/x" * depth, "value": {}} for depth in range(1, 200)],
         "application/json", 400, "nested deeper"),
        ({}, "text/plain", 415, "merge-patch"),
    ],
)  # fmt: skip
def test_a_patch_that_cannot_be_is_told_why(
    catalog: httpx.Client, collection: str, body: Any, kind: str, status: int, says: str
) -> None:
    place = f"/collections/{collection}/items/there"
    before = catalog.get(place).content
    answer = catalog.patch(place, content=json.dumps(body), headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    assert catalog.get(place).content == before


def test_more_items_than_one_write_may_bring_are_refused(catalog: httpx.Client, collection: str) -> None:
    features = [item_document(f"many-{number}") for number in range(51)]
    many = {"type": "FeatureCollection", "features": features}
    answer = catalog.post(f"/collections/{collection}/items", json=many)
    assert (answer.status_code, "50 at a time" in answer.text) == (400, True)
    bulk = {"items": {feature["id"]: feature for feature in features}}
    assert catalog.post(f"/collections/{collection}/bulk_items", json=bulk).status_code == 400
    assert catalog.get(f"/collections/{collection}/items/many-0").status_code == 404


@pytest.mark.parametrize("body", [5, {}, {"items": []}, {"items": {}, "method": "delete"}, {"items": {}, "method": []}])
def test_a_bulk_write_that_cannot_be_is_told_why(catalog: httpx.Client, collection: str, body: Any) -> None:
    answer = catalog.post(f"/collections/{collection}/bulk_items", json=body)
    assert (answer.status_code, answer.json()["parameter"][0]) == (400, "/"), answer.text


def test_writes_to_a_collection_that_is_not_there_say_so(catalog: httpx.Client) -> None:
    for path, body in {
        "items": item_document(),
        "items?": {"type": "FeatureCollection", "features": []},
        "bulk_items": {"items": {"one": item_document()}},
    }.items():
        answer = catalog.post(f"/collections/nowhere/{path}", json=body)
        assert (answer.status_code, "nowhere" in answer.json()["detail"]) == (404, True), answer.text


def test_an_item_comes_back_though_its_collection_says_otherwise_of_an_asset(
    catalog: httpx.Client, collection: str
) -> None:
    """pgSTAC stores an item without what its collection says of its assets: here a number, and there an object."""
    odd = collection_document(collection, item_assets={"red": {"title": "Red", "x:odd": 5}})
    assert catalog.put(f"/collections/{collection}", json=odd).status_code == 200
    item = within(item_document("odd"), "/assets/red/x:odd", {"a": 1})
    assert catalog.post(f"/collections/{collection}/items", json=item).status_code == 201
    assert catalog.get(f"/collections/{collection}/items/odd").json()["assets"] == item["assets"]


def places(value: Any, place: str = "") -> Iterator[str]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield pointer(place, name)
        yield from places(member, pointer(place, name))


SAMPLE = item_document("there", collection=None)
SAMPLE["properties"] |= {"start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-02-01T00:00:00Z"}
SAMPLE["assets"]["red"] |= {"alternate": {"storage": {"href": "file:///x"}}, "bands": [{"name": "red"}]}
COLLECTION_SAMPLE = collection_document("there", summaries={"gsd": [1]}, item_assets={"a": {"type": "b", "title": "c"}})
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
    | st.sampled_from(
        ["2020-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "0001-01-01T00:00:00.9999999Z", "Point", "Polygon"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_anywhere_in_a_document_is_no_fault_of_ours(
    catalog: httpx.Client, collection: str, data: st.DataObject
) -> None:
    """What is stored can be read and sent back; what is not is the client's to change."""
    whole, path = data.draw(
        st.sampled_from(
            [(SAMPLE, f"/collections/{collection}/items/there"), (COLLECTION_SAMPLE, f"/collections/{collection}")]
        )
    )
    document = deepcopy(whole) | {"id": path.rpartition("/")[2]}
    for place in data.draw(st.lists(st.sampled_from(list(places(document))), min_size=1, max_size=2, unique=True)):
        try:
            document = within(document, place, data.draw(anything | st.just(...)))
        except (LookupError, TypeError, ValueError):
            continue
    answer = catalog.put(path, content=json.dumps(document), headers={"Content-Type": GEOJSON})
    assert answer.status_code in (200, 400), (answer.text, document)
    if answer.status_code == 200:
        read = catalog.get(path)
        assert read.content == answer.content
        assert catalog.put(path, content=read.content, headers={"Content-Type": GEOJSON}).status_code == 200
