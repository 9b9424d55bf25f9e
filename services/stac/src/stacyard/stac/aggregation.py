"""Aggregations: which there are, how they are asked for, and the document that answers.

https://github.com/stac-api-extensions/aggregation (0.3). What it leaves open, names, parameters and keys of buckets, is
here as in stac-server, which its clients know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_aggregations import (
    Aggregates,
    Grouping,
    by_collection,
    by_geohash,
    by_interval,
    by_number,
    by_range,
    by_text,
    by_tile,
)

INTERVALS = ("hour", "day", "week", "month", "quarter", "year")
INTERVAL = "datetime_frequency_interval"
#: The ranges of cloud cover, in percent, begin and end here.
CLOUD_EDGES = (5, 15, 40)
#: Those of angles, in degrees, wherever one counts them from.
ANGLE_EDGES = range(-180, 365, 5)
_DISTRIBUTION = "frequency_distribution"

Bucket = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Frequency:
    """An aggregation with buckets.

    Args:
        data_type: of what the buckets are of.
        grouping: of a precision, if it has one, and of the interval of times.
        precision: the least, which is the one unless another is asked for, and the greatest.
        buckets: makes those of the answer of those that were found, the most first.
    """

    data_type: str
    grouping: Callable[[int, str], Grouping]
    precision: tuple[int, int] | None = None
    buckets: Callable[[Sequence[tuple[Any, int]]], list[Bucket]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked for: names of aggregations, each once, and how those with buckets group."""

    names: Sequence[str]
    groupings: Mapping[str, Grouping]


def _terms(found: Sequence[tuple[Any, int]]) -> list[Bucket]:
    return [{"key": key, "data_type": "string", "frequency": frequency} for key, frequency in found]


def _numbers(found: Sequence[tuple[Decimal, int]]) -> list[Bucket]:
    return [
        {"key": f"{key.normalize():f}", "data_type": "numeric", "frequency": frequency}
        for key, frequency in sorted(found)
    ]


def _times(found: Sequence[tuple[datetime, int]]) -> list[Bucket]:
    return [
        {"key": _timestamp(key.replace(tzinfo=UTC)), "data_type": "datetime", "frequency": frequency}
        for key, frequency in sorted(found)
    ]


def _ranges(edges: Sequence[int], *, empty: bool) -> Callable[[Sequence[tuple[int, int]]], list[Bucket]]:
    """Buckets between edges, open at both ends; `empty`: also those that nothing is in."""

    def buckets(found: Sequence[tuple[int, int]]) -> list[Bucket]:
        frequencies = dict(found)
        places = range(len(edges) + 1) if empty else sorted(frequencies)
        return [_range(edges, place, frequencies.get(place, 0)) for place in places]

    return buckets


def _range(edges: Sequence[int], place: int, frequency: int) -> Bucket:
    first = edges[place - 1] if place > 0 else None
    last = edges[place] if place < len(edges) else None
    key = "-".join("*" if edge is None else f"{edge:.1f}" for edge in (first, last))
    bucket: Bucket = {"key": key, "data_type": "numeric", "frequency": frequency}
    return bucket | {name: edge for name, edge in (("from", first), ("to", last)) if edge is not None}


def _of_property(name: str) -> Frequency:
    return Frequency(data_type="string", grouping=lambda *_: by_text(name), buckets=_terms)


def _of_angle(name: str) -> Frequency:
    return Frequency(
        data_type="numeric",
        grouping=lambda *_: by_range(name, ANGLE_EDGES),
        buckets=_ranges(ANGLE_EDGES, empty=False),
    )


_GEOHASHES = Frequency(
    data_type="string", grouping=lambda precision, _: by_geohash(precision), precision=(1, 12), buckets=_terms
)
_TILES = Frequency(
    data_type="string", grouping=lambda precision, _: by_tile(precision), precision=(0, 29), buckets=_terms
)
#: Aggregations of one value, and its type.
VALUES = {"total_count": "integer", "datetime_min": "datetime", "datetime_max": "datetime"}
#: Those with buckets.
FREQUENCIES: Mapping[str, Frequency] = {
    "datetime_frequency": Frequency(
        data_type="datetime", grouping=lambda _, interval: by_interval(interval), buckets=_times
    ),
    "collection_frequency": Frequency(data_type="string", grouping=lambda *_: by_collection, buckets=_terms),
    "platform_frequency": _of_property("platform"),
    "grid_code_frequency": _of_property("grid:code"),
    "gsd_frequency": Frequency(data_type="numeric", grouping=lambda *_: by_number("gsd"), buckets=_numbers),
    "cloud_cover_frequency": Frequency(
        data_type="numeric",
        grouping=lambda *_: by_range("eo:cloud_cover", CLOUD_EDGES),
        buckets=_ranges(CLOUD_EDGES, empty=True),
    ),
    "sun_elevation_frequency": _of_angle("view:sun_elevation"),
    "sun_azimuth_frequency": _of_angle("view:sun_azimuth"),
    "off_nadir_frequency": _of_angle("view:off_nadir"),
    "centroid_geohash_grid_frequency": _GEOHASHES,
    "centroid_geotile_grid_frequency": _TILES,
    # stac-server's older names for the same
    "grid_geohash_frequency": _GEOHASHES,
    "grid_geotile_frequency": _TILES,
}


def asked_of(parameters: Mapping[str, Any]) -> Asked:
    """What a request asks to be told; without `aggregations`, nothing.

    Args:
        parameters: a JSON body, or a query string in its form.

    Raises:
        InvalidRequest: there is no such aggregation, interval or precision; the message says which there are.
    """
    parameters = {name: value for name, value in parameters.items() if value is not None}
    names = _names(parameters.get("aggregations", []))
    interval = parameters.get(INTERVAL, "month")
    if interval not in INTERVALS:
        raise InvalidRequest(f"{INTERVAL} is one of {', '.join(INTERVALS)}, not {interval!r}", parameter=INTERVAL)
    groupings = {
        name: frequency.grouping(_precision(parameters, name, frequency), interval)
        for name, frequency in FREQUENCIES.items()
        if name in names
    }
    return Asked(names=names, groupings=groupings)


def available() -> list[dict[str, Any]]:
    """The aggregations that may be asked for, of every collection."""
    return [
        *({"name": name, "data_type": data_type} for name, data_type in VALUES.items()),
        *(
            {"name": name, "data_type": _DISTRIBUTION, "frequency_distribution_data_type": frequency.data_type}
            for name, frequency in FREQUENCIES.items()
        ),
    ]


def answer_of(names: Sequence[str], aggregates: Aggregates) -> list[dict[str, Any]]:
    """The aggregations of these names, in their order."""
    ends = {"datetime_min": aggregates.first, "datetime_max": aggregates.last}
    values = {"total_count": aggregates.count} | {
        name: _timestamp(time) if time is not None else None for name, time in ends.items()
    }
    return [
        {"name": name, "data_type": VALUES[name], "value": values[name]}
        if name in VALUES
        else _distribution(name, aggregates)
        for name in names
    ]


def document_of(aggregations: list[dict[str, Any]], *, api: str, path: str, collection: str | None) -> dict[str, Any]:
    """The answer that holds them.

    Args:
        aggregations: what there are, or what they say.
        api: base URL of the API, with a slash at its end.
        path: what was asked, below it.
        collection: path of the collection that was asked about.
    """
    links = [_link("root", api), _link("self", f"{api}{path}")]
    if collection is not None:
        links += [_link("collection", f"{api}{collection}"), _link("parent", f"{api}{collection}")]
    return {"type": "AggregationCollection", "aggregations": aggregations, "links": links}


def publish_aggregation(document: dict[str, Any], *, api: str) -> dict[str, Any]:
    """The collection, changed in place: its links lead to its aggregations, whatever was stored of them."""
    links = document.get("links")
    if isinstance(links, list) and "id" in document:
        stored = [link for link in links if link.get("rel") not in ("aggregate", "aggregations")]
        href = f"{api}collections/{quote(document['id'])}"
        document["links"] = [*stored, *(_link(name, f"{href}/{name}") for name in ("aggregate", "aggregations"))]
    return document


def _distribution(name: str, aggregates: Aggregates) -> dict[str, Any]:
    buckets = FREQUENCIES[name].buckets(aggregates.buckets[name])
    overflow = aggregates.count - sum(bucket["frequency"] for bucket in buckets)
    return {"name": name, "data_type": _DISTRIBUTION, "overflow": overflow, "buckets": buckets}


def _names(wanted: Any) -> list[str]:
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise InvalidRequest("aggregations is a list of names", parameter="aggregations")
    known = {*VALUES, *FREQUENCIES}
    unknown = sorted({name for name in wanted if name not in known})
    if unknown:
        raise InvalidRequest(
            f"there is no aggregation {', '.join(unknown)[:200]!r}; there are {', '.join([*VALUES, *FREQUENCIES])}",
            parameter="aggregations",
        )
    return list(dict.fromkeys(wanted))


def _precision(parameters: Mapping[str, Any], name: str, frequency: Frequency) -> int:
    if frequency.precision is None:
        return 0
    least, most = frequency.precision
    parameter = f"{name}_precision"
    value = parameters.get(parameter, least)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,2}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidRequest(
            f"{parameter} is a whole number from {least} to {most}, not {value!r}", parameter=parameter
        )
    return value


def _timestamp(time: datetime) -> str:
    """RFC 3339, in UTC, to the millisecond as stac-server writes it, and to the microsecond where there are some."""
    digits = "microseconds" if time.microsecond % 1000 else "milliseconds"
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=digits)}Z"


def _link(relation: str, href: str) -> dict[str, str]:
    return {"rel": relation, "type": "application/json", "href": href}
