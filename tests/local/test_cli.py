"""The command says in one sentence what is wrong, and what to do about it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stacyard.local.cli", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_answers_at_once_without_loading_services() -> None:
    program = (
        "import sys, stacyard.local.cli; print([n for n in sys.modules if n in ('fastapi', 'psycopg', 'rasterio')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
    started = time.monotonic()
    assert run("--help").returncode == 0
    assert time.monotonic() - started < 2, "half a second on an idle machine"


def test_unknown_command_is_a_usage_error() -> None:
    done = run("fly")
    assert done.returncode == 2
    assert "No such command 'fly'" in done.stderr


def test_wrong_setting_is_named_without_a_traceback() -> None:
    done = run("status", STACYARD_PORT="eighty")
    assert done.returncode == 2
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr


def test_unusable_data_directory_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("up", "--port", "0", STACYARD_DATA_DIR=str(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert "STACYARD_DATA_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("up", "--port", "0", STACYARD_DATA_DIR=str(tmp_path / "file" / "data"), STACYARD_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_status_of_nothing_is_no_success(tmp_path: Path) -> None:
    done = run("status", STACYARD_DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "the platform is not up\n")


def test_external_database_without_owner_cannot_be_migrated() -> None:
    done = run("migrate", STACYARD_DATABASE_READER_URL="postgresql://reader@db.example/stacyard")
    assert done.returncode == 1
    assert "STACYARD_DATABASE_OWNER_URL" in done.stderr


def test_doctor_finds_a_taken_port_and_says_what_to_do(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        tmp_path.chmod(0o755)
        done = run("doctor", STACYARD_DATA_DIR=str(tmp_path), STACYARD_PORT=port)
    assert done.returncode == 1
    assert f"{port} is in use by" in done.stdout
    assert "STACYARD_PORT" in done.stdout
