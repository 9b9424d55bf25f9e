"""The embedded cluster: made once, shared by whoever needs it, and there again after any kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import psycopg
import pytest

from stacyard.local.installation import DatabaseUnusable
from stacyard.local.postgres import EmbeddedCluster

USE_UNTIL_TOLD = """
import sys
from pathlib import Path
from stacyard.local.postgres import EmbeddedCluster
with EmbeddedCluster(Path(sys.argv[1])).used():
    print("using", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[EmbeddedCluster]:
    directory = Path(tempfile.mkdtemp(prefix="stacyard-test-"))
    directory.chmod(0o755)
    cluster = EmbeddedCluster(directory / "state of 'mine'")
    yield cluster
    cluster.stop()
    shutil.rmtree(directory)


def postmaster(cluster: EmbeddedCluster) -> int:
    return int((cluster.directory / "postmaster.pid").read_text().splitlines()[0])


def start_user(cluster: EmbeddedCluster) -> subprocess.Popen[str]:
    user = subprocess.Popen(
        [sys.executable, "-c", USE_UNTIL_TOLD, str(cluster.data_directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert user.stdout is not None
    assert user.stdout.readline() == "using\n"
    return user


def test_starts_answers_and_stops(own_cluster: EmbeddedCluster) -> None:
    with own_cluster.used() as settings:
        with psycopg.connect(settings.url("owner")) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            assert connection.execute("SHOW data_checksums").fetchone() == ("on",)
            assert connection.execute("SHOW jit").fetchone() == ("off",)
        assert own_cluster.status().port is not None
    assert own_cluster.status().port is None
    assert not (own_cluster.directory / "postmaster.pid").exists()


def test_passwords_are_for_us_alone_and_needed(own_cluster: EmbeddedCluster) -> None:
    secrets = own_cluster.data_directory / "database.json"
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in own_cluster.data_directory.iterdir()) == [
        "database.json",
        "database.lock",
        "database.users",
        "postgres",
    ]
    with own_cluster.used() as settings:
        right = settings.url("owner")
        password = right.split(":")[2].split("@")[0]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(right.replace(password, "wrong"))


def test_port_stays_and_is_picked_anew_only_when_taken(own_cluster: EmbeddedCluster) -> None:
    with own_cluster.used():
        first = own_cluster.status().port
    with own_cluster.used():
        assert own_cluster.status().port == first
    other = EmbeddedCluster(own_cluster.data_directory.parent / "other")
    other.data_directory.mkdir()
    text = (own_cluster.data_directory / "database.json").read_text()
    (other.data_directory / "database.json").write_text(text)
    with own_cluster.used(), other.used():
        assert own_cluster.status().port == first
        assert other.status().port not in (None, first)


def test_server_outlives_its_killed_user_and_the_next_one_adopts_it(own_cluster: EmbeddedCluster) -> None:
    user = start_user(own_cluster)
    server = postmaster(own_cluster)
    user.kill()
    user.communicate()
    with own_cluster.used():
        assert postmaster(own_cluster) == server
    assert own_cluster.status().port is None


def test_starts_again_after_the_server_was_killed(own_cluster: EmbeddedCluster) -> None:
    user = start_user(own_cluster)
    killed = postmaster(own_cluster)
    os.kill(killed, signal.SIGKILL)
    with own_cluster.used() as settings:
        assert postmaster(own_cluster) != killed
        with psycopg.connect(settings.url("owner")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert own_cluster.status().port is not None, "the first user is still there"
    user.communicate("leave\n")
    assert own_cluster.status().port is None


def test_last_user_to_leave_stops_the_server(own_cluster: EmbeddedCluster) -> None:
    users = [start_user(own_cluster) for _ in range(3)]
    server = postmaster(own_cluster)
    for user in users[:2]:
        user.communicate("leave\n")
        assert postmaster(own_cluster) == server
    users[2].communicate("leave\n")
    assert own_cluster.status().port is None


def test_cluster_of_another_version_is_refused_untouched(own_cluster: EmbeddedCluster) -> None:
    version = own_cluster.directory / "PG_VERSION"
    kept = version.read_text()
    version.write_text("12\n")
    before = {path: path.stat().st_mtime_ns for path in own_cluster.data_directory.rglob("*")}
    try:
        with pytest.raises(DatabaseUnusable, match=r"made by PostgreSQL 12.*pg_upgrade.*STACYARD_DATA_DIR"):
            own_cluster.start()
        assert {path: path.stat().st_mtime_ns for path in own_cluster.data_directory.rglob("*")} == before
    finally:
        version.write_text(kept)


def test_lost_passwords_are_reported_and_not_replaced(own_cluster: EmbeddedCluster) -> None:
    secrets = own_cluster.data_directory / "database.json"
    aside = secrets.rename(secrets.with_suffix(".aside"))
    try:
        with pytest.raises(DatabaseUnusable, match=r"database\.json.*is gone"):
            own_cluster.start()
        assert not secrets.exists()
    finally:
        aside.rename(secrets)


def test_a_directory_closed_to_the_servers_user_is_named_before_anything_is_made() -> None:
    """The server is another user's for root alone; whoever runs it as themselves may keep the directory closed."""
    closed = Path(tempfile.mkdtemp(prefix="stacyard-test-"))
    refused = (
        pytest.raises(DatabaseUnusable, match=f"may not enter {closed}: set STACYARD_DATA_DIR")
        if os.geteuid() == 0
        else nullcontext()
    )
    cluster = EmbeddedCluster(closed / "data")
    try:
        with refused, cluster.used():
            assert cluster.status().port is not None
        assert cluster.directory.exists() == (os.geteuid() != 0)
    finally:
        shutil.rmtree(closed)


def test_works_for_a_user_who_is_not_root() -> None:
    directory = Path(tempfile.mkdtemp(prefix="stacyard-test-"))
    if os.geteuid() == 0:
        shutil.chown(directory, "nobody", "nogroup")
    program = "\n".join(
        [
            "import os, sys, importlib",
            "import stacyard.local.postgres as local, stacyard.core.migrate",
            "from pathlib import Path",
            "from pwd import getpwnam",
            "import encodings.idna, psycopg, uuid",
            "if os.geteuid() == 0:",
            "    os.setgroups([]); os.setgid(getpwnam('nobody').pw_gid); os.setuid(getpwnam('nobody').pw_uid)",
            "assert os.geteuid() != 0",
            "with local.EmbeddedCluster(Path(sys.argv[1]) / 'data').used() as settings:",
            "    print(local.EmbeddedCluster(Path(sys.argv[1]) / 'data').status().version)",
        ]
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(directory)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) >= 15
    finally:
        shutil.rmtree(directory)
