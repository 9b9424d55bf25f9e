"""The platform comes up, goes down, and leaves no process behind, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson
import pytest

from stacyard.local.platform import PlatformError, Running, detach, down, status
from stacyard.local.ports import listen
from stacyard.local.postgres import EmbeddedCluster
from stacyard.local.settings import LocalSettings


@contextmanager
def own_directory() -> Iterator[LocalSettings]:
    directory = Path(tempfile.mkdtemp(prefix="stacyard-test-"))
    directory.chmod(0o755)
    settings = LocalSettings.model_validate({"data_dir": directory / "data", "port": 0, "workers": 2})
    try:
        yield settings
    finally:
        down(settings)
        EmbeddedCluster(settings.data_dir).stop()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def settings() -> Iterator[LocalSettings]:
    """For tests that bring a platform up and end it in their own way."""
    with own_directory() as settings:
        yield settings


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalSettings]:
    """The settings of a platform that stays up."""
    with own_directory() as settings:
        detach(settings)
        yield settings


@pytest.fixture
def platform(shared: LocalSettings) -> Running:
    found = status(shared)
    assert found is not None
    return found


def processes_of(settings: LocalSettings) -> dict[int, str]:
    """Everything that is ours: it has our data directory in its environment or arguments."""
    mark = os.fsencode(settings.data_dir)
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if mark in text and int(process.name) != os.getpid():
            found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def wait_until_nothing_is_left(settings: LocalSettings) -> None:
    deadline = time.monotonic() + 30
    while (left := processes_of(settings)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == {}


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urlopen(Request(url, headers=headers), timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def test_up_answers_and_down_leaves_no_process(settings: LocalSettings) -> None:
    platform = detach(settings)
    assert status(settings) == platform
    assert len(processes_of(settings)) > settings.workers
    assert get(f"{platform.url}/readyz")[0] == 200
    assert down(settings) == platform
    wait_until_nothing_is_left(settings)
    assert status(settings) is None
    assert down(settings) is None


def test_one_origin_serves_everything(platform: Running) -> None:
    for path in ("/stac/", "/stac/collections", "/raster/", "/vector/collections", "/healthz", "/metrics"):
        assert get(platform.url + path)[0] == 200, path
    index = orjson.loads(get(f"{platform.url}/")[2])
    assert [link["href"] for link in index["links"] if link["rel"] == "service"] == [
        f"{platform.url}/{name}/" for name in ("stac", "raster", "vector")
    ]
    _, headers, page = get(f"{platform.url}/", Accept="text/html")
    assert headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert b"<html" in page or b"<!doctype" in page


def test_assets_are_served_by_range_and_nothing_beside_them(platform: Running, shared: LocalSettings) -> None:
    content = bytes(range(256)) * 100
    (shared.data_dir / "assets" / "one.tif").write_bytes(content)
    code, headers, part = get(f"{platform.url}/assets/one.tif", Range="bytes=300-309")
    assert (code, part) == (206, content[300:310])
    assert headers["content-range"] == f"bytes 300-309/{len(content)}"
    assert get(f"{platform.url}/assets/one.tif", **{"If-None-Match": headers["etag"]})[0] == 304
    for path in ("../database.json", "%2e%2e/database.json", "..%2fdatabase.json", "//etc/passwd"):
        assert get(f"{platform.url}/assets/{path}")[0] == 404, path


def test_second_platform_of_the_same_directory_is_refused(platform: Running, shared: LocalSettings) -> None:
    with pytest.raises(PlatformError, match=f"up already, at {platform.url}"):
        detach(shared)


def test_port_in_use_is_named_with_its_owner_and_the_remedy(settings: LocalSettings) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "stacyard.local.cli", "up", "--port", str(port)],
            env=os.environ | {"STACYARD_DATA_DIR": str(settings.data_dir)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use by" in done.stderr
    assert f"(process {os.getpid()})" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_everything(settings: LocalSettings, name: signal.Signals) -> None:
    platform = detach(settings)
    os.kill(platform.pid, name)
    wait_until_nothing_is_left(settings)


def test_nothing_serves_on_after_the_platform_was_killed(settings: LocalSettings) -> None:
    platform = detach(settings)
    os.kill(platform.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any("python" in command for command in processes_of(settings).values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = processes_of(settings)
    assert not any("python" in command for command in left.values()), left
    assert status(settings) is None
    # its database is adopted by the next one, and stops with it
    again = detach(settings)
    assert get(f"{again.url}/readyz")[0] == 200
    down(settings)
    wait_until_nothing_is_left(settings)


def test_killed_worker_is_replaced(platform: Running, shared: LocalSettings) -> None:
    worker = next(pid for pid, command in processes_of(shared).items() if "spawn_main" in command)
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        workers = [pid for pid, command in processes_of(shared).items() if "spawn_main" in command]
        if worker not in workers and len(workers) == shared.workers:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"worker {worker} was not replaced: {processes_of(shared)}")
    assert get(f"{platform.url}/readyz")[0] == 200


def test_killed_server_ends_the_platform_cleanly(settings: LocalSettings) -> None:
    detach(settings)
    server = next(pid for pid, command in processes_of(settings).items() if "stacyard.local.server" in command)
    os.kill(server, signal.SIGKILL)
    wait_until_nothing_is_left(settings)
    assert "the server ended" in (settings.data_dir / "platform.log").read_text()


def test_ingest_beside_the_platform_does_not_stop_its_database(platform: Running, shared: LocalSettings) -> None:
    with EmbeddedCluster(shared.data_dir).used():
        pass
    assert get(f"{platform.url}/readyz")[0] == 200
