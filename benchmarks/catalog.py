"""A catalog to be searched: collections that are filled by our loader, and deleted again whatever happens."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from benchmarks.bulk import Place, check, empty_collection, start_ours
from benchmarks.items import SEARCHED, Spread, write_items
from stacyard.core.connection import connect

Say = Callable[[str], None]

#: Two years for all the collections of the large catalog, so that each has 24 partitions.
TWO_YEARS = Spread(north=SEARCHED.north, days=730, until=datetime.fromisoformat("2025-01-01T00:00:00Z"), satellite=True)


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        items: of the catalog.
        many: items of the large catalog, in 12 collections.
        rounds: that are measured, after one of warm-up.
        short, long: searches of a round at limit 10 and at limit 100.
        single: items by id of a round.
        crowd: searches of a round where many clients ask at the same time.
        agreed: searches whose ids are compared before.
        walked: items that the stock service is walked through.
        lasting: mixed requests over which memory is watched.
    """

    items: int = 100_000
    many: int = 1_000_000
    rounds: int = 5
    short: int = 600
    long: int = 160
    single: int = 1000
    crowd: int = 2000
    agreed: int = 200
    walked: int = 5000
    lasting: int = 100_000


#: To see that it works; no figures for the record.
SMALL = Size(
    items=3000,
    many=12_000,
    rounds=2,
    short=40,
    long=20,
    single=100,
    crowd=200,
    agreed=40,
    walked=1000,
    lasting=600,
)


@contextmanager
def filled(
    place: Place, count: int, say: Say, *, collections: int = 1, partition: str = "none", spread: Spread = SEARCHED
) -> Iterator[list[str]]:
    """So many items in so many collections, analysed, and read once so that no side finds the database cold."""
    with ExitStack() as stack:
        stack.enter_context(_forgotten_searches(place))
        names = [
            stack.enter_context(empty_collection(place, partition, name=f"searched-{number}"))
            for number in range(collections)
        ]
        each = count // collections
        path = place.directory / "searched.ndjson"
        for number, name in enumerate(names):
            say(f"loading {each:,} items into {name}, partition {partition}")
            write_items(path, each, spread=spread, first=number * each)
            process = start_ours(place, name, path, partition=partition)
            try:
                check(process.wait(), "stacyard-ingest")
            finally:
                _stop(process)
        path.unlink()
        _settle(place, say)
        yield names


def _stop(process: subprocess.Popen[bytes]) -> None:
    # a loader that goes on would fill a collection that is being deleted
    if process.poll() is None:
        process.terminate()
        process.wait(60)


@contextmanager
def _forgotten_searches(place: Place) -> Iterator[None]:
    """The stock service writes down every search; these go again, those that somebody registered stay."""
    known = [row[0] for row in place.execute("SELECT hash FROM pgstac.searches")]
    try:
        yield
    finally:
        place.execute("DELETE FROM pgstac.searches WHERE metadata = '{}' AND NOT hash = ANY(%s)", known)


def _settle(place: Place, say: Say) -> None:
    """What autovacuum would otherwise do at some moment of the measurement, and a reading of everything."""
    if place.database.owner_url is None:
        say("without STACYARD_DATABASE_OWNER_URL nothing is vacuumed; autovacuum may disturb the measurement")
    else:
        with connect(place.database.url("owner"), application_name="stacyard-bench") as connection:
            connection.execute("VACUUM (ANALYZE) pgstac.items")
    place.execute("SELECT sum(length(content::text)), sum(ST_NPoints(geometry)) FROM pgstac.items")
