"""The demo checks itself with real requests, and a second time finds its data loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from stacyard.local.selfcheck import CheckFailed, Checks, run_checks


def run_demo(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stacyard.local.cli", "demo", "--once", "--port", "0"],
        env=os.environ | {"STACYARD_DATA_DIR": str(directory), "STACYARD_WORKERS": "2", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_demo_checks_itself_and_loads_nothing_twice() -> None:
    directory = Path(tempfile.mkdtemp(prefix="stacyard-test-"))
    directory.chmod(0o755)
    try:
        first = run_demo(directory / "data")
        assert first.returncode == 0, first.stdout + first.stderr
        started = time.monotonic()
        second = run_demo(directory / "data")
        assert second.returncode == 0, second.stdout + second.stderr
        assert time.monotonic() - started < 60
        unchanged = [line.split("│")[2] for line in second.stderr.splitlines() if "of which unchanged" in line]
        assert [int(number) for number in unchanged] == [2, 1000, 1, 1, 68]
    finally:
        shutil.rmtree(directory)


def test_demo_without_data_says_where_it_looked(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stacyard.local.cli", "demo", "--once", "--port", "0"],
        env=os.environ | {"STACYARD_DEMO_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 1
    assert f"no recipes in {tmp_path}: set STACYARD_DEMO_DIR" in done.stderr


def test_check_that_cannot_hold_is_reported_and_the_others_still_run(tmp_path: Path) -> None:
    results = run_checks("http://127.0.0.1:9", tmp_path)
    assert len(results) == 10
    assert not any(result.held for result in results)
    assert all("ConnectError" in result.seen for result in results)


def test_wrong_answer_is_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: Checks) -> str:
        raise CheckFailed("3 of 68 values differ from the files")

    monkeypatch.setattr(Checks, "time_series", fail)
    series = next(result for result in run_checks("http://127.0.0.1:9", tmp_path) if result.name == "NDVI through time")
    assert (series.held, series.seen) == (False, "3 of 68 values differ from the files")
