"""S3 as moto's server speaks it, since AWS is out of reach; it can be made to fail as AWS does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

#: Status and error code for a request, or None to let it through. Gets method, path and query.
Fault = Callable[[str, str, str], "tuple[int, str] | None"]


@dataclass
class Bucket:
    """An empty bucket that the environment leads to."""

    name: str
    client: Any
    fault: Fault | None = None

    def put(self, key: str, body: bytes = b"x") -> str:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)
        return f"s3://{self.name}/{key}"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        pass


def lead_to(monkeypatch: pytest.MonkeyPatch, host: str, port: int) -> None:
    """Have every client of S3 ask this server."""
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)


@contextmanager
def s3_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket of a server of its own."""
    moto = DomainDispatcherApplication(create_backend_app)
    bucket: Bucket | None = None

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"])
        fault = bucket.fault(*request) if bucket and bucket.fault else None
        if fault is None:
            return moto(environ, start_response)
        status, code = fault
        start_response(f"{status} {code}", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>planted</Message></Error>".encode()]

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    host, port = server.server_address[:2]
    lead_to(monkeypatch, host, port)
    client = boto3.client("s3")
    bucket = Bucket(f"yard-{uuid4().hex}", client)
    client.create_bucket(Bucket=bucket.name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    try:
        yield bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
