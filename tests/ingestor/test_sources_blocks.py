"""Ready-made items from stac-geoparquet, from static catalogs, and in the events of a bucket."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote_plus

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rustac
from hypothesis import given
from hypothesis import strategies as st

from stacyard.ingestor.errors import Rejected, SourceError
from stacyard.ingestor.sources import catalogs, geoparquet
from stacyard.ingestor.sources.events import ObjectEvent, parse_message, supersedes
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.sources.places import BlockReaders, find_blocks
from stacyard.ingestor.sources.polite import Patience

from .conftest import DEMO
from .s3_server import s3_bucket

SWIFT = Patience(sleep=lambda _: None)


def naip(count: int) -> list[dict[str, Any]]:
    """Items of the demo, again and again under new ids."""
    with gzip.open(DEMO / "naip" / "naip_1000.ndjson.gz") as file:
        originals = [orjson.loads(line) for line in file]
    return [
        {**originals[number % 1000], "id": f"{originals[number % 1000]['id']}-{number}"}
        if number >= 1000
        else originals[number]
        for number in range(count)
    ]


def read_all(found: Sequence[Found]) -> list[dict[str, Any]]:
    with closing(BlockReaders()) as readers:
        # the ledger keeps a source as JSON
        sources = [orjson.loads(orjson.dumps(each.source)) for each in found]
        return [orjson.loads(line.data) for source in sources for line in readers.read(source)]


def without_version(item: dict[str, Any]) -> dict[str, Any]:
    # rustac writes items of STAC 1.1
    return {key: value for key, value in item.items() if key != "stac_version"}


def test_geoparquet_gives_the_items_that_were_written_block_by_block_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = naip(5300)
    one = {**items[0], "id": "range", "properties": {**items[0]["properties"], "datetime": None}}
    one["properties"] |= {"start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-02-01T00:00:00Z"}
    items.append(one)
    whole = tmp_path / "whole.parquet"
    rustac.write_sync(str(whole), items)
    # row groups of another size than blocks, and plain columns as other writers make them
    table = pq.read_table(whole)
    fields = [pa.field(column.name, column.type) for column in table.schema]
    path = tmp_path / "items.parquet"
    pq.write_table(table.cast(pa.schema(fields)), path, row_group_size=2500)
    found = list(find_blocks([str(path)], find_file=lambda _: None))
    assert [each.items for each in found] == [1000, 1000, 500, 1000, 1000, 500, 301]
    assert len({each.item_id for each in found}) == len(found)
    expected = {item["id"]: without_version(item) for item in items}
    got = {item["id"]: without_version(item) for item in read_all(found)}
    assert got == expected
    assert {item["id"] for item in read_all(found[::-2])} <= expected.keys()
    with s3_bucket(monkeypatch) as bucket:
        uri = bucket.put("in/items.parquet", path.read_bytes())
        remote = list(find_blocks([f"s3://{bucket.name}/in/"], find_file=lambda _: None))
        assert {item["id"]: without_version(item) for item in read_all(remote)} == expected
        bucket.put("in/items.parquet", whole.read_bytes())
        with pytest.raises(SourceError, match=f"{uri} has changed since it was listed; run again"):
            read_all(remote)


#: Reads the first blocks of a file in a process of its own, and says how many KB it needed at the most.
READ = """
import re, sys
from pathlib import Path
from stacyard.ingestor.sources import geoparquet
reader = geoparquet.Reader()
assert sum(len(list(reader.read(each.source))) for each in list(geoparquet.find(sys.argv[1]))[:5]) == 5000
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_geoparquet_with_row_groups_of_any_size_is_read_in_bounded_memory(tmp_path: Path) -> None:
    rustac.write_sync(str(tmp_path / "items.parquet"), naip(1000))
    table = pq.read_table(tmp_path / "items.parquet")
    needed, sizes = [], []
    for times in (10, 100):
        path = tmp_path / f"{times}.parquet"
        with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
            writer.write_table(pa.concat_tables([table] * times), row_group_size=times * 1000)
        reading = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, check=True)
        needed.append(int(reading.stdout) * 1024)
        sizes.append(path.stat().st_size)
    assert sizes[1] - sizes[0] > 150 * 2**20
    assert needed[1] - needed[0] < 70 * 2**20


def test_a_parquet_file_that_holds_no_items_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(SourceError, match="is no stac-geoparquet: it has no column 'geometry'"):
        list(geoparquet.find(str(path)))
    for geometry in (7, b"no WKB"):
        pq.write_table(pa.table({"id": ["a"], "geometry": [geometry], "assets": [7]}), path)
        with pytest.raises(SourceError, match=r"rows 1 to 1 of .* are no items"):
            read_all(list(geoparquet.find(str(path))))
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        list(geoparquet.find(str(path)))
    note = tmp_path / "note"
    note.write_text("")
    with pytest.raises(SourceError, match="note holds no items"):
        list(find_blocks([str(note)], find_file=lambda _: None))


def write(path: Path, kind: str, *, children: Sequence[str] = (), items: Sequence[str] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    links = [{"rel": "child", "href": href} for href in children] + [{"rel": "item", "href": href} for href in items]
    path.write_text(json.dumps({"type": kind, "id": path.parent.name, "links": links}))


def write_item(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    item = {"type": "Feature", "id": path.stem, "links": [{"rel": "via", "href": "../about.html"}]}
    path.write_text(
        json.dumps({**item, "assets": {"data": {"href": f"./{path.stem}.tif"}, "far": {"href": "s3://b/x"}}})
    )


def static_catalog(root: Path) -> Path:
    """A catalog with a circle, a catalog that is linked twice, and links that lead nowhere or elsewhere."""
    top = root / "catalog.json"
    write(top, "Catalog", children=["a/catalog.json", "./b/collection.json", "a/../b/collection.json#x"])
    write(root / "a/catalog.json", "Catalog", children=["../catalog.json", "deep/catalog.json", "../b/collection.json"])
    names = [f"item {number}.json" for number in range(2300)]
    write(root / "a/deep/catalog.json", "Catalog", items=names)
    for name in names:
        write_item(root / "a/deep" / name)
    elsewhere = ["https://elsewhere.example/item.json"]
    write(root / "b/collection.json", "Collection", items=["one/one.json", "missing.json", "broken.json", *elsewhere])
    write_item(root / "b/one/one.json")
    (root / "b/broken.json").write_text("{")
    return top


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A directory on the web; every fifth request is answered 503."""
    count = iter(range(10**9))

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def do_GET(self) -> None:
            if next(count) % 5 == 4:
                self.send_error(503)
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    class Web(ThreadingHTTPServer):
        # with the usual five, connections that come together wait a second
        request_queue_size = 64

    server = Web(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_static_catalog_is_walked_once_and_goes_on_anywhere(tmp_path: Path, web: str) -> None:
    root = static_catalog(tmp_path)
    for source in (str(root), f"{web}/catalog.json"):
        base = source.removesuffix("/catalog.json")
        found = list(catalogs.find(source, patience=SWIFT))
        assert [(each.items, each.problem is None) for each in found] == [
            (1000, True), (1000, True), (300, True), (1, False), (3, True),
        ]  # fmt: skip
        for at, each in enumerate(found):
            if each.cursor is not None:
                rest = list(catalogs.find(source, cursor=each.cursor, patience=SWIFT))
                keys = [other.key("c", "h") for other in rest]
                following = [other.key("c", "h") for other in found[at + 1 :]]
                assert keys[len(keys) - len(following) :] == following
                assert each.key("c", "h") not in keys
        lines = [line for each in found if not each.problem for line in catalogs.read(each.source, patience=SWIFT)]
        assert len({line.place for line in lines}) == 2303
        one = next(orjson.loads(line.data) for line in lines if line.place.endswith("one.json"))
        prefix = base if base.startswith("http") else f"file://{base}"
        assert one["assets"] == {"data": {"href": f"{prefix}/b/one/one.tif"}, "far": {"href": "s3://b/x"}}
        assert one["links"] == [{"rel": "via", "href": f"{prefix}/b/about.html"}]
        refused = {line.place: line.data for line in lines[-2:]}
        assert all(place in data.decode() for place, data in refused.items())
        assert "elsewhere.example" in str(found[3].problem)


def test_a_catalog_without_end_or_that_is_none_is_an_error(tmp_path: Path) -> None:
    for number in range(70):
        write(tmp_path / f"{number}" / "catalog.json", "Catalog", children=[f"../{number + 1}/catalog.json"])
    with pytest.raises(SourceError, match="nested more than 64 deep"):
        list(catalogs.find(str(tmp_path / "0/catalog.json")))
    (tmp_path / "catalog.json").write_text("[]")
    with pytest.raises(SourceError, match="is no STAC catalog"):
        list(catalogs.find(str(tmp_path / "catalog.json")))


KEY = "in/field 1+2=ü%20.tif"
RECORD = {
    "eventName": "ObjectCreated:Put",
    "s3": {
        "bucket": {"name": "b"},
        "object": {"key": quote_plus(KEY), "size": 7, "eTag": "e", "sequencer": "0A1B", "versionId": "v"},
    },
}
BRIDGED = {
    "source": "aws.s3",
    "detail-type": "Object Created",
    "detail": {
        "bucket": {"name": "b"},
        "object": {"key": KEY, "size": 7, "etag": "e", "sequencer": "0A1B", "version-id": "v"},
    },
}


@pytest.mark.parametrize("shape", [{"Records": [RECORD]}, BRIDGED])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_an_event_says_the_same_in_every_shape(shape: dict[str, Any], depth: int) -> None:
    for _ in range(depth):
        shape = {"Type": "Notification", "TopicArn": "t", "Message": json.dumps(shape)}
    [event] = parse_message(json.dumps(shape))
    assert event == ObjectEvent(kind="created", bucket="b", key=KEY, size=7, etag="e", version_id="v", sequencer="0A1B")
    assert event.uri == f"s3://b/{KEY}"


def test_events_of_other_kinds_are_told_apart() -> None:
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}
    assert parse_message(json.dumps(test)) == []
    assert parse_message(json.dumps({"Type": "Notification", "Message": json.dumps(test)})) == []
    names = ["ObjectRemoved:Delete", "LifecycleExpiration:Delete", "ObjectTagging:Put", "s3:ObjectCreated:Copy"]
    records = [{**RECORD, "eventName": name} for name in names]
    assert [event.kind for event in parse_message(json.dumps({"Records": records}))] == [
        "removed", "removed", "other", "created",
    ]  # fmt: skip
    deleted = {**BRIDGED, "detail-type": "Object Deleted", "detail": {**BRIDGED["detail"], "object": {"key": KEY}}}  # type: ignore[dict-item]
    [event] = parse_message(json.dumps(deleted).encode())
    assert (event.kind, event.size, event.sequencer) == ("removed", None, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def damaged(value: Any, path: Sequence[int], damage: Any) -> Any:
    """A message in which what a path leads to is something else."""
    if not path or not isinstance(value, dict | list) or not value:
        return damage
    if isinstance(value, list):
        return [damaged(value[0], path[1:], damage), *value[1:]]
    name = list(value)[path[0] % len(value)]
    return {**value, name: damaged(value[name], path[1:], damage)}


@given(st.sampled_from([{"Records": [RECORD]}, BRIDGED]), st.lists(st.integers(0, 7), max_size=6), json_values)
def test_any_other_message_is_refused_with_a_sentence(message: Any, path: list[int], damage: Any) -> None:
    with suppress(Rejected):
        for event in parse_message(json.dumps(damaged(message, path, damage))):
            assert event.bucket
            assert event.key
            assert isinstance(event.size, int | None)
    with pytest.raises(Rejected, match="is no JSON"):
        parse_message("{")


@given(st.integers(0, 2**80), st.integers(0, 2**80))
def test_of_two_events_at_most_one_is_the_later(one: int, other: int) -> None:
    first, second = (
        ObjectEvent(kind="created", bucket="b", key="k", sequencer=f"{number:X}") for number in (one, other)
    )
    assert not (supersedes(first, second) and supersedes(second, first))
    a, b = (ObjectEvent(kind="created", bucket="b", key="k", sequencer=text) for text in ("1", "00F"))
    assert supersedes(a, b), "compared from the left"
    longer = ObjectEvent(kind="created", bucket="b", key="k", sequencer=f"{first.sequencer}1")
    assert supersedes(longer, first)
    assert not supersedes(first, ObjectEvent(kind="created", bucket="b", key="k"))
