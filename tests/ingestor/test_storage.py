"""Assets in S3: every href is an s3:// URI, and what is behind it is what the item says."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer
from rasterio.io import MemoryFile
from rio_cogeo.cogeo import cog_validate

from stacyard.core.settings import DatabaseSettings, StorageSettings

from .conftest import DEMO, Yard, recipe_of
from .s3_server import lead_to


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket, which the environment leads to (moto's server, since AWS is out of reach)."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    lead_to(monkeypatch, host, port)
    name = f"yard-{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield name
    server.stop()


def test_an_ingest_into_s3_puts_every_asset_there_before_its_item(
    bucket: str, database_settings: DatabaseSettings, tmp_path: Path
) -> None:
    yard = Yard(database_settings, StorageSettings(assets=f"s3://{bucket}/assets"), tmp_path)
    collection = yard.collection_id("s3")
    source = tmp_path / "source"
    source.mkdir()
    for path in (DEMO / "sentinel2_ndvi").glob("*_20170725T100536.tif"):
        shutil.copy(path, source)
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    assert yard.ingest(recipe, source).exit_code == 0
    [item] = yard.items(collection).values()
    assert item["assets"].keys() == {"ndvi", "clouds"}
    for key, asset in item["assets"].items():
        name = f"assets/{collection}/S2_20170725T100536/{key}.tif"
        assert asset["href"] == f"s3://{bucket}/{name}"
        data = boto3.client("s3").get_object(Bucket=bucket, Key=name)["Body"].read()
        assert asset["file:size"] == len(data)
        assert asset["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
        with MemoryFile(data) as file:
            assert cog_validate(file.name, strict=True, quiet=True)[0]
    assert yard.ingest(recipe, source).counts.unchanged == 1

    absent = StorageSettings(assets=f"s3://{bucket}-absent/assets")
    lost = Yard(database_settings, absent, tmp_path)
    lost.settings = lost.settings.model_copy(update={"attempts": 1})
    other = lost.collection_id("s3")
    [outcome] = lost.ingest(recipe_of("sentinel2_ndvi", other, tmp_path / "other.yaml"), source).outcomes
    assert outcome.state == "failed"
    assert f"s3://{bucket}-absent/assets/{other}" in outcome.reason
    assert lost.items(other) == {}
