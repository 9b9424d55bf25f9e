"""Processes of a pool: what they know of the command that hired them, and where they can be hired."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from stacyard.ingestor.process_pool import WorkerPool, get_ready


@pytest.fixture
def far_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))


def test_a_process_has_the_environment_of_when_it_was_hired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACYARD_TEST_GONE", "yes")
    get_ready()
    monkeypatch.delenv("STACYARD_TEST_GONE")
    monkeypatch.setenv("STACYARD_TEST_NEW", "yes")
    with closing(WorkerPool(1)) as pool:
        assert pool.submit(os.getenv, "STACYARD_TEST_GONE").result(60) is None
        assert pool.submit(os.getenv, "STACYARD_TEST_NEW").result(60) == "yes"


@pytest.mark.usefixtures("far_away")
def test_a_long_temporary_directory_is_no_obstacle() -> None:
    get_ready()
    with closing(WorkerPool(1)) as pool:
        assert pool.submit(os.getppid).result(60) == os.getpid(), "it was spawned by this process itself"
