"""Read what the catalog has near an item, for the rules that compare."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from stacyard.core.pgstac import same_scenes, series_of_place
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.session import Connection, Session
from stacyard.ingestor.stages.anomalies import Observation
from stacyard.ingestor.stages.quality import Surroundings

_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)


def look_around(session: Session, recipe: Recipe, *, item_id: str, time: datetime, footprint: Any) -> Surroundings:
    """What the catalog has at this moment; items that are on their way into it are not seen.

    Args:
        session: of a role that may read.
        recipe: its rules say what to look for.
        item_id: the item, which may be there from an earlier run and is left out.
        time: its datetime, in UTC.
        footprint: its geometry, GeoJSON in EPSG:4326.

    Raises:
        DatabaseAway: the database did not come back in time.
    """
    collection, rules = recipe.collection.id, recipe.quality
    geometry = orjson.dumps(footprint).decode()

    def read(connection: Connection) -> Surroundings:
        duplicates: list[str] = []
        series: list[tuple[datetime, float]] = []
        if rules.duplicate is not None:
            duplicates = same_scenes(
                connection,
                collection=collection,
                item=item_id,
                collections=[collection, *rules.duplicate.collections],
                geometry=geometry,
                time=time,
                tolerance=_within_the_calendar(time, timedelta(seconds=rules.duplicate.seconds)),
                platform=recipe.properties.get("platform"),
                constellation=recipe.properties.get("constellation"),
                min_overlap_percent=rules.duplicate.min_overlap_percent,
            )
        if rules.anomaly is not None:
            band = str(rules.anomaly.band - 1)
            series = series_of_place(
                connection,
                collection=collection,
                item=item_id,
                path=["assets", rules.anomaly.asset, "raster:bands", band, "statistics", rules.anomaly.statistic],
                geometry=geometry,
                time=time,
                history=_within_the_calendar(time, timedelta(days=rules.anomaly.history_days)),
                max_cloud_percent=rules.anomaly.max_cloud_percent,
                min_overlap_percent=rules.anomaly.min_overlap_percent,
            )
        observations = tuple(Observation(time=time.astimezone(UTC), value=value) for time, value in series)
        return Surroundings(duplicates=tuple(duplicates), series=observations)

    return session.run(read)


def _within_the_calendar(time: datetime, span: timedelta) -> timedelta:
    return min(span, time - _FIRST, _LAST - time)
