"""The benchmarks of the repository on this machine's database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from stacyard.local.checks import REPOSITORY
from stacyard.local.platform import database, storage
from stacyard.local.processes import stopped_by_signals
from stacyard.local.settings import LocalSettings


def run_benchmarks(settings: LocalSettings, arguments: Sequence[str], report: Callable[[str], None]) -> int:
    """Run `benchmarks` with these arguments beside the database, which runs for as long; returns its exit code."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    if {"--help", "-h"} & set(arguments) or not arguments:
        return subprocess.run([*command, "--help"], cwd=REPOSITORY, check=False).returncode  # noqa: S603 - the operator's own arguments
    with stopped_by_signals(), database(settings, report) as connections:
        environment = {
            **os.environ,
            "STACYARD_STORAGE_ASSETS": storage(settings).assets,
            "STACYARD_DATABASE_READER_URL": connections.url("reader"),
            "STACYARD_DATABASE_WRITER_URL": connections.url("writer"),
            "STACYARD_DATABASE_INGEST_URL": connections.url("ingest"),
            **({"STACYARD_DATABASE_OWNER_URL": connections.url("owner")} if connections.owner_url else {}),
        }
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment)  # noqa: S603 - as above
        return _wait(process)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Its exit code. Told to stop, we tell it, and the database lasts until it has removed what it made."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        return process.wait()
