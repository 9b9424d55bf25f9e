"""Everything that must hold before a change is good: style, types, the explorer, and the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from stacyard.core.errors import StacyardError
from stacyard.local import explorer

#: The repository, when we run from a checkout.
REPOSITORY = Path(__file__).resolve().parents[5]

_PACKAGES = [
    *(f"services/{name}/src" for name in ("core", "stac", "raster", "vector", "local")),
    "ingestor/src",
    "benchmarks",
]


def run_checks(pytest_arguments: Sequence[str], report: Callable[[str], None]) -> int:
    """Run all checks one after the other, or pytest alone if it is given arguments; returns the first bad exit code."""
    steps: list[tuple[str, Callable[[], int]]] = [("pytest", lambda: _run("pytest", *pytest_arguments))]
    if not pytest_arguments:
        steps = [
            ("ruff check", lambda: _run("ruff", "check")),
            ("ruff format", lambda: _run("ruff", "format", "--check")),
            ("mypy", lambda: _run("mypy", *_PACKAGES)),
            ("explorer build", lambda: _explorer(explorer.build)),
            ("explorer types", lambda: _explorer(lambda: explorer.npm("run", "check"))),
            ("explorer tests", lambda: _explorer(lambda: explorer.npm("test"))),
            *steps,
        ]
    for name, step in steps:
        report(f"--- {name}")
        started = time.monotonic()
        code = step()
        report(f"--- {name}: {'ok' if code == 0 else f'exit code {code}'}, {time.monotonic() - started:.1f} s")
        if code != 0:
            return code
    return 0


def _run(module: str, *arguments: str) -> int:
    # programs of the environment, such as `rio`, are found without activating it
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return subprocess.run(  # noqa: S603 - the arguments are the developer's own
        [sys.executable, "-m", module, *arguments], cwd=REPOSITORY, env={**os.environ, "PATH": programs}, check=False
    ).returncode


def _explorer(step: Callable[[], None]) -> int:
    try:
        step()
    except StacyardError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
