"""Storage: the same behaviour in a directory and behind the S3 protocol, and no way out of either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from stacyard.core.errors import Forbidden, NotFound, StorageError
from stacyard.core.storage import Storage, is_below, join, local_path


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """A server of the S3 protocol on a free port (moto's, since AWS is out of reach)."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["directory", "s3"])
def prefix(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "directory":
        return tmp_path.as_uri()
    endpoint = request.getfixturevalue("s3_endpoint")
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=endpoint, region_name="eu-central-1")
    bucket = f"yard-{uuid4().hex}"
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return f"s3://{bucket}/assets"


def test_what_is_put_is_read_whole_and_in_parts_and_listed(prefix: str, tmp_path: Path) -> None:
    storage = Storage([prefix])
    source = tmp_path.parent / f"{tmp_path.name}.tif"
    source.write_bytes(bytes(range(256)) * 64)
    uri = join(prefix, "landsat", "scene 1 (é)", "B4.tif")
    stored = storage.put(uri, source)
    assert (stored.uri, stored.size) == (uri, 256 * 64)
    assert storage.read(uri) == source.read_bytes()
    assert storage.read(uri, start=250, length=10) == source.read_bytes()[250:260]
    assert storage.head(uri).size == 256 * 64
    assert [found.uri for found in storage.list(join(prefix, "landsat"))] == [uri]
    storage.delete(uri)
    storage.delete(uri)
    with pytest.raises(NotFound, match=r"B4\.tif"):
        storage.read(uri)


def test_putting_again_replaces_the_whole(prefix: str) -> None:
    storage = Storage([prefix])
    uri = join(prefix, "a")
    storage.put(uri, b"longer than the next")
    storage.put(uri, b"short")
    assert storage.read(uri) == b"short"


def test_outside_the_prefix_nothing_is_read_or_written(prefix: str) -> None:
    storage = Storage([prefix])
    for uri in (
        f"{prefix}-other/a",
        f"{prefix}/../a",
        f"{prefix}/x/%2e%2e/%2E%2E/a",
        "s3://elsewhere/a",
        "/etc/passwd",
    ):
        with pytest.raises(Forbidden):
            storage.read(uri)
        with pytest.raises(Forbidden):
            storage.put(uri, b"")


def test_a_prefix_that_does_not_answer_is_named(tmp_path: Path) -> None:
    directory = tmp_path / "mounted"
    storage = Storage([directory.as_uri()])
    storage.ping()
    directory.rmdir()
    with pytest.raises(StorageError, match="mounted"):
        storage.ping()


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4))
def test_joined_names_stay_below_their_prefix_or_are_refused(segments: list[str]) -> None:
    prefix = "file:///yard/assets"
    try:
        uri = join(prefix, *segments)
    except ValueError:
        return
    assert is_below(uri, prefix)
    path = local_path(uri)
    assert path is not None
    assert path.parts[:3] == ("/", "yard", "assets")
    assert path.name == segments[-1]


@given(st.text(max_size=30))
def test_nothing_with_a_parent_segment_is_below_a_prefix(text: str) -> None:
    assert not is_below(f"file:///yard/assets/{quote(text)}/../x", "file:///yard/assets")
