"""Find PostgreSQL's programs on this machine and run them as a user whom they accept."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stacyard.core.errors import StacyardError

OLDEST_SUPPORTED = 15

_BIN_DIRECTORIES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")


class DatabaseUnusable(StacyardError):
    """The embedded database cannot be made or started; the message says what to do."""


@dataclass(frozen=True)
class Installation:
    """One installed PostgreSQL server."""

    bin: Path
    major: int
    has_postgis: bool

    def program(self, name: str) -> str:
        """The path of one of its programs."""
        return str(self.bin / name)


@dataclass(frozen=True)
class Account:
    """The user that the server runs as; None for both ids is whoever we are."""

    uid: int | None = None
    gid: int | None = None

    def run(self, *command: str | Path, timeout_seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, with nothing of ours in its way; its output is returned, also when it fails."""
        return subprocess.run(  # noqa: S603 - the commands are ours
            command,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
        )

    def give(self, path: Path, mode: int) -> None:
        """Make the path this user's own."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)
        path.chmod(mode)

    def refuse_closed_parents(self, path: Path) -> None:
        """See that this user can get to a path.

        Raises:
            DatabaseUnusable: a directory on the way is closed to it; the message names it.
        """
        if self.uid is None:
            return
        for parent in reversed(path.parents):
            if self.run("test", "-x", parent).returncode != 0:
                raise DatabaseUnusable(
                    f"the database server runs as user {pwd.getpwuid(self.uid).pw_name!r}, who may not enter {parent}: "
                    "set STACYARD_DATA_DIR to a directory it can reach, or open that one with chmod o+x"
                )


def server_account() -> Account:
    """The user to run PostgreSQL as: ourselves, or for root, whom PostgreSQL refuses, the package's own user.

    Raises:
        DatabaseUnusable: we are root and there is no such user.
    """
    if os.geteuid() != 0:
        return Account()
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError as error:
        raise DatabaseUnusable(
            "PostgreSQL does not run as root, and this machine has no user 'postgres' to run it as: install the "
            "postgresql package, or run stacyard as another user"
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def installations() -> list[Installation]:
    """Every PostgreSQL server of a supported version, the newest first."""
    configs = [path for pattern in _BIN_DIRECTORIES for path in Path("/").glob(f"{pattern}/pg_config")]
    in_path = shutil.which("pg_config")
    if in_path:
        configs.append(Path(in_path))
    found = {installation.bin: installation for config in configs if (installation := _ask(config))}
    supported = [installation for installation in found.values() if installation.major >= OLDEST_SUPPORTED]
    return sorted(supported, key=lambda installation: installation.major, reverse=True)


def choose_installation(cluster_major: int | None) -> Installation:
    """The newest installation with PostGIS, or the one that fits a cluster which is already there.

    Raises:
        DatabaseUnusable: there is none; the message says what to install.
    """
    usable = [installation for installation in installations() if installation.has_postgis]
    if cluster_major is None:
        if not usable:
            raise DatabaseUnusable(
                f"no PostgreSQL {OLDEST_SUPPORTED} or newer with PostGIS was found: install it, on Debian with "
                "`apt-get install postgresql postgresql-postgis`, or put its pg_config into PATH"
            )
        return usable[0]
    for installation in usable:
        if installation.major == cluster_major:
            return installation
    present = ", ".join(str(installation.major) for installation in usable) or "none"
    raise DatabaseUnusable(
        f"the database was made by PostgreSQL {cluster_major}, and this machine has with PostGIS: {present}. Install "
        f"PostgreSQL {cluster_major} with PostGIS, or upgrade the database with pg_upgrade, or start afresh by setting "
        "STACYARD_DATA_DIR to another directory; nothing was changed"
    )


def _ask(pg_config: Path) -> Installation | None:
    answer = Account().run(pg_config, "--bindir", "--sharedir", "--version", timeout_seconds=10)
    lines = answer.stdout.splitlines()
    if answer.returncode != 0 or len(lines) != 3:
        return None
    directory, share = Path(lines[0]), Path(lines[1])
    major = lines[2].removeprefix("PostgreSQL").strip().split(".")[0]
    if not major.isdigit() or not all((directory / name).exists() for name in ("postgres", "initdb", "pg_ctl")):
        return None
    return Installation(directory, int(major), (share / "extension" / "postgis.control").exists())
