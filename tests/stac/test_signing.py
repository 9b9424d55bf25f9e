"""Presigned URLs: those of botocore, byte for byte, and what an S3 that checks them answers."""

from __future__ import annotations

import subprocess
import sys
import time
from calendar import timegm
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import numpy as np
import pytest
import rasterio
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin

from stacyard.core.settings import StorageSettings
from stacyard.core.storage import join
from stacyard.stac.assets import AssetPublisher
from stacyard.stac.signing import Credentials, Place, S3Signer

from ..ingestor.s3_server import Bucket, s3_bucket

WHO = Credentials(access_key_id="test", secret_access_key="test")
LOCAL = Place(region="eu-central-1", endpoint="http://127.0.0.1:9000")
names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="/"), min_size=1).filter(
    lambda name: name not in (".", "..")
)
tokens = st.none() | st.text("abcABC019+/=", min_size=1)


def signer(now: float, *, who: Credentials | None = WHO, place: Place = LOCAL, seconds: int = 3600) -> S3Signer:
    return S3Signer(place, lambda: who, seconds=seconds, clock=lambda: now)


def moment(text: str) -> int:
    return timegm(time.strptime(text, "%Y%m%dT%H%M%SZ"))


@given(st.lists(names, min_size=1, max_size=4), tokens, st.sampled_from([None, "http://127.0.0.1:9000/s3"]))
def test_a_signature_is_that_of_botocore(segments: list[str], token: str | None, endpoint: str | None) -> None:
    place = Place(region="eu-central-1", endpoint=endpoint)
    base = "".join(place.base("yard"))
    request = AWSRequest("GET", f"{base}/{quote('/'.join(segments), safe='/~')}")
    S3SigV4QueryAuth(BotocoreCredentials("test", "secret", token), "s3", "eu-central-1", 2).add_auth(request)
    now = moment(parse_qs(urlsplit(request.url).query)["X-Amz-Date"][0])
    who = Credentials(access_key_id="test", secret_access_key="secret", session_token=token)
    url = signer(now, who=who, place=place, seconds=2).sign(join("s3://yard", *segments))
    assert url is not None
    assert urlsplit(url)[:3] == urlsplit(request.url)[:3]
    assert parse_qs(urlsplit(url).query) == parse_qs(urlsplit(request.url).query)


@pytest.mark.parametrize(
    ("place", "bucket", "base"),
    [
        (Place(region="eu-west-1"), "yard", "https://yard.s3.eu-west-1.amazonaws.com/a"),
        # a certificate of *.s3.eu-west-1.amazonaws.com is not one of a.yard.s3.eu-west-1.amazonaws.com
        (Place(region="eu-west-1"), "a.yard", "https://s3.eu-west-1.amazonaws.com/a.yard/a"),
        (Place(region="eu-west-1", virtual_hosted=False), "yard", "https://s3.eu-west-1.amazonaws.com/yard/a"),
        (Place(region="any", endpoint="http://minio:9000/"), "yard", "http://minio:9000/yard/a"),
        (Place(region="any", endpoint="http://minio", virtual_hosted=True), "yard", "http://yard.minio/a"),
    ],
)
def test_a_bucket_is_addressed_as_s3_wants_it(place: Place, bucket: str, base: str) -> None:
    url = signer(0, place=place).sign(f"s3://{bucket}/a")
    assert url is not None
    assert url.partition("?")[0] == base


@given(st.integers(0, 2**32), st.integers(2, 604_800))
def test_a_url_is_the_same_for_a_while_and_holds_for_half_its_time_at_the_least(now: int, seconds: int) -> None:
    clock = [float(now)]
    signer = S3Signer(LOCAL, lambda: WHO, seconds=seconds, clock=lambda: clock[0])
    url, edition = signer.sign("s3://yard/a"), signer.edition
    (date,), (expires,) = (parse_qs(urlsplit(url).query)[name] for name in ("X-Amz-Date", "X-Amz-Expires"))
    left = moment(date) + int(expires) - now
    assert seconds / 2 <= left <= seconds == int(expires)
    end = moment(date) + seconds // 2
    clock[0] = end - 0.01
    # every process finds the same, whenever it began
    assert S3Signer(LOCAL, lambda: WHO, seconds=seconds, clock=lambda: clock[0]).sign("s3://yard/a") == url
    assert (signer.sign("s3://yard/a"), signer.edition) == (url, edition)
    clock[0] = end
    assert signer.sign("s3://yard/a") != url
    assert signer.edition != edition


def test_new_credentials_sign_at_once() -> None:
    who = [WHO]
    signer = S3Signer(LOCAL, lambda: who[0], seconds=3600, clock=lambda: 0.0)
    url, edition = signer.sign("s3://yard/a"), signer.edition
    who[0] = Credentials(access_key_id="next", secret_access_key="other", session_token="t")
    assert "next" in str(signer.sign("s3://yard/a"))
    assert (signer.sign("s3://yard/a"), signer.edition) != (url, edition)
    assert "next" not in signer.edition


@pytest.mark.parametrize("uri", ["s3://yard", "s3://yard/", "s3://yard//"])
def test_a_bucket_is_not_signed_which_would_be_its_list(uri: str) -> None:
    assert signer(0).sign(uri) is None


def test_without_credentials_nothing_is_signed() -> None:
    assert signer(0, who=None).sign("s3://yard/a") is None
    assert signer(0, who=None).edition == ""


def refuse(bucket: Bucket, now: float) -> None:
    """Have the server answer as AWS does to a GET that is not rightly signed, or too late."""

    def fault(method: str, path: str, query: str) -> tuple[int, str] | None:
        parameters = {name: values[0] for name, values in parse_qs(query).items()}
        if method in ("PUT", "POST"):
            return None
        signature, date = parameters.pop("X-Amz-Signature", None), parameters.get("X-Amz-Date", "")
        if signature is None or not moment(date) <= now < moment(date) + int(parameters["X-Amz-Expires"]):
            return 403, "AccessDenied"
        host = urlsplit(bucket.client.meta.endpoint_url).netloc
        # as it came over the wire
        asked = "&".join(pair for pair in query.split("&") if not pair.startswith("X-Amz-Signature"))
        request = AWSRequest(method, f"http://{host}{quote(path.encode('latin-1'), safe='/~')}?{asked}")
        request.context["timestamp"] = date
        check = S3SigV4QueryAuth(BotocoreCredentials("test", "test"), "s3", "eu-central-1")
        right = check.signature(check.string_to_sign(request, check.canonical_request(request)), request)
        return None if signature == right else (403, "SignatureDoesNotMatch")

    bucket.fault = fault


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket of a server that checks signatures."""
    with s3_bucket(monkeypatch) as bucket:
        yield bucket


def test_a_presigned_url_fetches_the_object_and_nothing_else(bucket: Bucket) -> None:
    body = bytes(range(256)) * 40
    key = "landsat 8/é%20+&=?#~/red.tif"
    bucket.put(key, body)
    bucket.put("secret.txt", b"secret")
    refuse(bucket, time.time())
    publisher = AssetPublisher.of(StorageSettings(assets=f"s3://{bucket.name}/landsat 8"))
    publisher.open()
    href = join(f"s3://{bucket.name}", *key.split("/"))
    url = publisher.published_href(href, origin="https://yard.example")
    assert url is not None
    assert httpx.get(url).content == body
    part = httpx.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, body[100:200])
    assert httpx.head(url).status_code == 403
    # what it was not signed for
    assert httpx.get(url.partition("?")[0]).status_code == 403
    altered = url.replace("red.tif", "blue.tif"), url.replace("X-Amz-Expires=3600", "X-Amz-Expires=604800")
    assert {httpx.get(other).text for other in altered} == {httpx.get(altered[0]).text}
    assert "SignatureDoesNotMatch" in httpx.get(altered[0]).text
    refuse(bucket, time.time() + 3601)
    assert "AccessDenied" in httpx.get(url).text


def test_gdal_reads_a_raster_by_its_presigned_url(bucket: Bucket) -> None:
    with rasterio.MemoryFile() as file:
        shape: dict[str, Any] = {"width": 64, "height": 64, "count": 1, "dtype": "uint8"}
        with file.open(driver="GTiff", transform=from_origin(14, 46, 0.1, 0.1), **shape) as raster:
            raster.write(np.full((1, 64, 64), 7, "uint8"))
        bucket.put("open/red.tif", file.read())
    refuse(bucket, time.time())
    publisher = AssetPublisher.of(StorageSettings(assets=f"s3://{bucket.name}/open"))
    publisher.open()
    url = publisher.published_href(f"s3://{bucket.name}/open/red.tif", origin="")
    # in a process of its own: rasterio keeps this one's lock while it waits for the server, which is in it too
    program = f"import rasterio; print(int(rasterio.open('/vsicurl/{url}').read().sum()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == str(7 * 64 * 64), done.stderr


@pytest.mark.parametrize(
    "name", ["secret.txt", "open/../secret.txt", "open/%2E%2e/secret.txt", "open/..%2Fsecret.txt", "open/a%2F..%2Fs"]
)
def test_nothing_outside_the_prefixes_is_signed(bucket: Bucket, name: str) -> None:
    publisher = AssetPublisher.of(StorageSettings(assets=f"s3://{bucket.name}/open"))
    publisher.open()
    assert publisher.published_href(f"s3://{bucket.name}/open/a", origin="") is not None
    assert publisher.published_href(f"s3://{bucket.name}/{name}", origin="") is None
    assert publisher.published_href(f"s3://{bucket.name}-other/open/a", origin="") is None
