"""Files in S3 (moto's server, since AWS is out of reach): found, fetched and turned into items, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from stacyard.ingestor.errors import OutOfSpace, RunStopped, SourceError
from stacyard.ingestor.sources.buckets import Buckets
from stacyard.ingestor.sources.fetch import fetch
from stacyard.ingestor.sources.files import open_file, walk

from .conftest import Yard
from .s3_server import Bucket, s3_bucket

RECIPE = r"""
collection: {id: ID, title: t, description: d, license: other}
kind: imagery
files: {pattern: '(?P<scene>\w+) (?P<band>B\d)\.tif', item: '{scene}'}
time: {datetime: 2024-01-01T00:00:00Z}
assets: {one: {match: {band: B1}}, two: {match: {band: B2}}}
"""
MEGABYTE = 2**20


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    # how long the client waits between attempts is its own affair
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    with s3_bucket(monkeypatch) as bucket:
        yield bucket


def raster(value: int, path: Path) -> bytes:
    profile = {"driver": "GTiff", "width": 32, "height": 32, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", **profile, transform=from_origin(500000, 5000000, 10, 10)) as file:
        file.write(np.full((1, 32, 32), value, dtype="uint16"))
    return path.read_bytes()


def test_a_prefix_becomes_items_and_what_changed_since_it_was_listed_is_not_mixed_up(
    bucket: Bucket, yard: Yard, tmp_path: Path
) -> None:
    collection = yard.collection_id("bucket")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("ID", collection))
    for number, scene in enumerate(["north", "south", "odd"]):
        folder = "in//./x+y%20=z" if scene == "odd" else f"in/{scene}"
        for band in ("B1", "B2"):
            bucket.put(f"{folder}/{scene} {band}.tif", raster(number + 1, tmp_path / "x.tif"))
    bucket.put("in/north/")
    bucket.put("in/read me.txt")
    bucket.put("inside/other B1.tif")
    # from listing to fetching, somebody replaces a file
    replacing = raster(9, tmp_path / "x.tif")

    def replace_south(method: str, path: str, _: str) -> None:
        if method == "HEAD" and "south B2" in path:
            bucket.fault = None
            bucket.put("in/south/south B2.tif", replacing)

    bucket.fault = replace_south
    summary = yard.ingest(recipe, f"s3://{bucket.name}/in")  # type: ignore[arg-type]
    assert (summary.counts.loaded, summary.counts.failed) == (2, 1), yard.output.getvalue()
    [outcome] = summary.outcomes
    assert "south B2.tif: the content has changed since it was listed" in outcome.reason
    assert set(yard.items(collection)) == {"north", "odd"}
    again = yard.ingest(recipe, f"s3://{bucket.name}/in")  # type: ignore[arg-type]
    assert (again.counts.loaded, again.counts.unchanged) == (3, 2)
    assert set(yard.items(collection)) == {"north", "south", "odd"}


def test_a_listing_goes_on_behind_any_key_and_through_faults(bucket: Bucket) -> None:
    keys = sorted([f"in/{number:04}.tif" for number in range(1050)] + ["in/ü b.tif", "in/a//b.tif", "in/z+%20.tif"])
    for key in keys:
        bucket.put(key)
    failures = iter([(503, "SlowDown"), (500, "InternalError"), (503, "SlowDown")])
    bucket.fault = lambda method, _, query: next(failures, None) if "list-type" in query else None
    source = f"s3://{bucket.name}/in/"
    files = list(walk([source]))
    assert [file.uri for file in files] == [f"s3://{bucket.name}/{key}" for key in keys]
    assert next(failures, None) is None, "the faults were met"
    for at in (0, 999, 1000, 1051, 1052):
        assert list(walk([source], cursor=files[at].cursor)) == files[at + 1 :]
    # the first page comes, the second never does
    bucket.fault = lambda method, _, query: (503, "SlowDown") if "continuation-token" in query else None
    listing = walk([source])
    found = [next(listing) for _ in range(1000)]
    with pytest.raises(SourceError, match=r"does not answer \(SlowDown\); run the same command again, which goes on"):
        next(listing)
    assert found == files[:1000]
    bucket.fault = None
    assert list(walk([source], cursor=found[-1].cursor)) == files[1000:]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ((400, "ExpiredToken"), "refuses the credentials .ExpiredToken.: renew them and run the same command again"),
        ((403, "AccessDenied"), "may not be read with these credentials"),
        ((404, "NoSuchBucket"), "there is no such bucket"),
    ],
)
def test_a_storage_that_says_no_is_explained_in_a_sentence(bucket: Bucket, fault: tuple[int, str], reason: str) -> None:
    bucket.fault = lambda *_: fault
    with pytest.raises(SourceError, match=reason):
        list(walk([f"s3://{bucket.name}/in/"]))
    bucket.fault = None
    with pytest.raises(SourceError, match=r"nothing is below s3://.*/in/: see that the prefix is spelled right"):
        list(walk([f"s3://{bucket.name}/in"]))


def test_a_file_is_fetched_as_a_whole_in_bounded_memory_or_the_reason_is_told(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = np.random.default_rng(1).integers(0, 256, 24 * MEGABYTE, dtype=np.uint8).tobytes()
    uri = bucket.put("in/large.bin", content)

    def fetched(name: str, *, same: bool = True) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        return fetch({"data": uri}, directory, is_same=lambda _: same)["data"]

    assert fetched("whole").read_bytes() == content
    with pytest.raises(SourceError, match="the content has changed since it was listed"):
        fetched("other", same=False)
    bucket.fault = lambda method, path, _: (400, "ExpiredToken") if method == "GET" else None
    with pytest.raises(RunStopped, match="renew them"):
        fetched("expired")
    bucket.fault = None
    # a stream that breaks is taken up where it broke
    pieces = Buckets._pieces
    starts: list[int] = []

    def breaking(self: Buckets, uri: str, etag: str, *, start: int) -> Iterator[bytes]:
        starts.append(start)
        for number, piece in enumerate(pieces(self, uri, etag, start=start)):
            if len(starts) == 1 and number == 2:
                return
            yield piece

    monkeypatch.setattr(Buckets, "_pieces", breaking)
    assert fetched("broken").read_bytes() == content
    assert starts == [0, 8 * MEGABYTE]
    full = tmp_path / "full"
    (full / "source-0").mkdir(parents=True)
    (full / "source-0" / "large.bin").symlink_to("/dev/full")
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    with pytest.raises(OutOfSpace, match="no space left in"):
        fetch({"data": uri}, full, is_same=lambda _: True)


def test_an_object_reads_like_a_file(bucket: Bucket) -> None:
    content = bytes(range(256)) * 200
    uri = bucket.put("in/file", content)
    with open_file(uri) as file:
        assert file.read(10) == content[:10]
        file.seek(-20, 2)
        assert (file.tell(), file.read()) == (len(content) - 20, content[-20:])
        file.seek(300)
        assert file.readline() == content[300 : content.index(b"\n", 300) + 1]
    bucket.put("in/file", b"other")
    with open_file(uri) as file:
        assert file.read() == b"other"


def test_a_manifest_in_a_bucket_asks_for_files_at_once_and_names_what_is_missing(
    bucket: Bucket, yard: Yard, tmp_path: Path
) -> None:
    collection = yard.collection_id("manifest")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("ID", collection))
    here = tmp_path / "here B1.tif"
    raster(1, here)
    bucket.put("in/here B2.tif", raster(2, tmp_path / "x.tif"))
    bucket.put("in/gone B1.tif", raster(2, tmp_path / "x.tif"))
    bucket.put("in/empty B1.tif", b"")
    bucket.put("in/empty B2.tif", b"")
    lines = ["gone B1.tif", "gone B2.tif", str(here), "here B2.tif", "empty B1.tif", "empty B2.tif"]
    bucket.put("in/list.csv", "\n".join(["uri", *lines]).encode())
    summary = yard.ingest(recipe, f"@s3://{bucket.name}/in/list.csv")  # type: ignore[arg-type]
    assert (summary.counts.loaded, summary.counts.rejected) == (1, 2), yard.output.getvalue()
    reasons = {outcome.item_id: outcome.reason for outcome in summary.outcomes}
    assert reasons["gone"].startswith(f"s3://{bucket.name}/in/gone B2.tif is not there")
    assert f"s3://{bucket.name}/in/empty B1.tif is empty" in reasons["empty"]
    assert set(yard.items(collection)) == {"here"}
