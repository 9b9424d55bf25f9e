"""From nothing to a map: the platform with the bundled data in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from stacyard.core.errors import StacyardError
from stacyard.local.ingestion import ingest_into
from stacyard.local.platform import Platform, keep_up, up
from stacyard.local.selfcheck import print_results, run_checks
from stacyard.local.settings import LocalSettings

#: The folder of the repository, when we run from a checkout.
BUNDLED = Path(__file__).resolve().parents[5] / "demo"

Report = Callable[[str], None]


class DemoError(StacyardError):
    """The demo's data is not there or could not be brought in."""


def show(settings: LocalSettings, report: Report) -> None:
    """Bring the platform up with the data, say what to open, and keep it up until KeyboardInterrupt."""
    with _filled(settings, report) as platform:
        report(
            f"\nstacyard is up. Open {platform.here.url} in a browser;\n"
            f"programs start at {platform.here.url}/stac/ (STAC), /raster/ (tiles of imagery), /vector/ (features and "
            "tiles).\nCtrl-C stops it; the data stays for the next time."
        )
        keep_up(platform)


def check_once(settings: LocalSettings, report: Report) -> int:
    """Bring the platform up with the data, check it with real requests, stop it; returns 0 if all held, else 1."""
    with _filled(settings, report) as platform:
        results = run_checks(platform.here.url, _folder(settings))
    print_results(results, Console())
    return 0 if all(result.held for result in results) else 1


@contextmanager
def _filled(settings: LocalSettings, report: Report) -> Iterator[Platform]:
    recipes = sorted(_folder(settings).glob("*/recipe.yaml"))
    if not recipes:
        raise DemoError(f"there are no recipes in {_folder(settings)}: set STACYARD_DEMO_DIR to the demo's folder")
    console = Console(stderr=True)
    with up(settings, report) as platform:
        report(f"the platform answers at {platform.here.url}; bringing in the data")
        for recipe in recipes:
            summary = ingest_into(platform.connections, settings, [str(recipe.parent)], recipe, console)
            if summary.interrupted:
                raise KeyboardInterrupt
            if summary.exit_code != 0:
                raise DemoError(f"not all of {recipe.parent} was loaded; the reasons are above")
        yield platform


def _folder(settings: LocalSettings) -> Path:
    return settings.demo_dir or BUNDLED
