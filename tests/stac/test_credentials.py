"""Credentials: found as AWS's tools find them, renewed beside, and never waited for."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stacyard.stac.credentials import AmbientCredentials
from stacyard.stac.signing import Credentials


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither this machine's credentials nor those of its user."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@contextmanager
def agent(*, delay: float) -> Iterator[str]:
    """What hands out credentials in a pod, others each time, that expire so soon that they are always renewed."""
    numbers = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay)
            self.send_response(200)
            self.end_headers()
            expires = datetime.now(UTC) + timedelta(minutes=5)
            document = {
                "AccessKeyId": f"key-{next(numbers)}",
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": expires.isoformat(),
            }
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/credentials"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_they_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = AmbientCredentials()
    assert found() is None
    found.load()
    assert found() == Credentials(access_key_id="id", secret_access_key="secret")


def test_without_any_the_log_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    found = AmbientCredentials()
    with caplog.at_level(logging.WARNING):
        found.load()
    assert found() is None
    assert "STACYARD_STORAGE_PRESIGN_SECONDS=0" in caplog.text


def test_those_of_a_pod_are_renewed_beside_a_request_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with agent(delay=0.3) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        found = AmbientCredentials(check_seconds=0.1)
        found.load()
        time.sleep(0.2)
        slowest, deadline, first = 0.0, time.monotonic() + 5, found()
        while found() == first and time.monotonic() < deadline:
            time.sleep(0.02)
            started = time.monotonic()
            found()
            slowest = max(slowest, time.monotonic() - started)
        current = found()
    assert first is not None
    assert current is not None
    assert (current.access_key_id != first.access_key_id, current.session_token) == (True, "token")
    assert slowest < 0.2


def test_those_that_cannot_be_renewed_are_used_as_long_as_they_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with agent(delay=0) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        found = AmbientCredentials()
        found.load()
        current = found()
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    found.load()
    assert found() == current is not None
