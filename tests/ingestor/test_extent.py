"""What a collection says that it covers is the smallest box that holds its items, across the antimeridian too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pystac
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stacyard.ingestor.collection import describe_collection
from stacyard.ingestor.intake import Intake
from stacyard.ingestor.ledger import Ledger
from stacyard.ingestor.load import longitudes
from stacyard.ingestor.load.bulk import Mode
from stacyard.ingestor.load.catalog import Catalog
from stacyard.ingestor.load.longitudes import NARROWEST_GAP, across_antimeridian
from stacyard.ingestor.recipe import parse_recipe
from stacyard.ingestor.session import Session
from stacyard.stac.extent import publish_extent

from .conftest import Yard, recipe_of
from .test_load import item, load, new_collection

Interval = tuple[float, float]
# on a grid, so that intervals touch and gaps are of a degree
degrees = st.integers(-1440, 1440).map(lambda eighths: eighths / 8)
intervals = st.tuples(degrees, st.sampled_from([0.0, 0.125, 1.0, 2.5, 40.0, 170.0])).map(
    lambda drawn: (drawn[0], min(180.0, drawn[0] + drawn[1]))
)


@pytest.fixture
def session(yard: Yard) -> Iterator[Session]:
    session = Session(yard.database.url("ingest"), patience_seconds=1)
    yield session
    session.close()


def smallest(covered: Sequence[Interval]) -> float:
    """Degrees of the smallest interval on the circle that holds all; one begins where something covered does."""
    lengths = []
    for start, _ in covered:
        ends = [(west - start) % 360 + east - west for west, east in covered]
        # what runs over the start again needs the whole circle
        lengths.append(min(360.0, max(ends)))
    return min(lengths)


def check(covered: Sequence[Interval], across: Interval | None) -> None:
    """That `across` is right, or rightly none."""
    plain = max(east for _, east in covered) - min(west for west, _ in covered)
    if across is None:
        assert plain == min(plain, smallest(covered)) or 360 - smallest(covered) < NARROWEST_GAP
        return
    west, east = across
    assert west > east
    assert all(left >= west or right <= east for left, right in covered)
    assert east + 360 - west == smallest(covered) < plain


@settings(max_examples=500)
@given(st.lists(intervals, min_size=1, max_size=30))
def test_no_interval_of_longitudes_that_holds_all_is_smaller(covered: list[Interval]) -> None:
    check(covered, across_antimeridian(covered))


def square(west: float, east: float) -> list[list[list[float]]]:
    return [[[west, -20], [east, -20], [east, -10], [west, -10], [west, -20]]]


@st.composite
def geometries(draw: st.DrawFn) -> tuple[dict[str, Any], list[Interval]]:
    """A footprint, and the longitudes of its parts."""
    parts = draw(st.lists(intervals.filter(lambda each: each[0] < each[1]), min_size=1, max_size=3))
    parts = [part for number, part in enumerate(parts) if all(apart(part, other) for other in parts[:number])]
    match draw(st.sampled_from(["Point", "LineString", "Polygon", "MultiPolygon"])):
        case "Point":
            west = parts[0][0]
            return {"type": "Point", "coordinates": [west, -15]}, [(west, west)]
        case "LineString":
            return {"type": "LineString", "coordinates": [[longitude, -15] for longitude in parts[0]]}, parts[:1]
        case "Polygon":
            return {"type": "Polygon", "coordinates": square(*parts[0])}, parts[:1]
    return {"type": "MultiPolygon", "coordinates": [square(*part) for part in parts]}, parts


def apart(one: Interval, other: Interval) -> bool:
    return one[1] < other[0] or other[1] < one[0]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(geometries(), min_size=1, max_size=12))
def test_the_database_finds_the_same_and_plain_collections_keep_their_box(
    yard: Yard, session: Session, drawn: list[tuple[dict[str, Any], list[Interval]]]
) -> None:
    c = new_collection(yard, session, "extent")
    load(session, c, *({**item(c, f"i{n}"), "geometry": geometry} for n, (geometry, _) in enumerate(drawn)))
    covered = [part for _, parts in drawn for part in parts]
    extent = Catalog(session).extent(c)
    assert extent is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(longitudes, "_SAMPLE", 1)
        assert Catalog(session).extent(c) == extent
    [plain] = yard.query(
        "SELECT ST_XMin(box) AS west, ST_YMin(box) AS south, ST_XMax(box) AS east, ST_YMax(box) AS north"
        " FROM (SELECT ST_Extent(geometry) AS box FROM pgstac.items WHERE collection = %s) AS items",
        c,
    )
    assert extent.bbox == tuple(plain.values())
    check(covered, extent.across)


# Fiji, cut at the antimeridian as RFC 7946 wants it, and one of its islands on either side
FIJI = {"type": "MultiPolygon", "coordinates": [square(179, 180), square(-180, -179.5)]}
ISLANDS = [FIJI, {"type": "Polygon", "coordinates": square(177, 178)}, {"type": "Point", "coordinates": [-178.25, -17]}]


def test_a_collection_of_both_sides_of_the_antimeridian_is_valid_and_pgstac_finds_it_where_it_is(
    yard: Yard, session: Session, tmp_path: Any
) -> None:
    c = new_collection(yard, session, "fiji")
    load(session, c, *({**item(c, f"i{n}"), "geometry": each} for n, each in enumerate(ISLANDS)))
    recipe = parse_recipe(recipe_of("naip", c, tmp_path / "recipe.yaml").read_text(), "recipe.yaml")
    ledger = Ledger(session, worker="w")
    Intake(0, recipe, session=session, ledger=ledger, mode=Mode.UPSERT, chunk_items=1, flush_seconds=1).settle()
    stored = Catalog(session).collection(c)
    assert stored is not None
    assert stored == describe_collection(recipe, Catalog(session).extent(c))
    whole, *parts = stored["extent"]["spatial"]["bbox"]
    assert whole == [-180, -20, 180, -10]
    assert parts == [[177, -20, 180, -10], [-180, -20, -178.25, -10]]

    def finds(*box: float) -> bool:
        search = orjson.dumps({"bbox": box, "ids": [c]}).decode()
        [row] = yard.query("SELECT pgstac.collection_search(%s::jsonb) ->> 'numberMatched' AS number", search)
        return row["number"] == "1"

    assert finds(178, -15, 179, -14)
    assert finds(-179.9, -15, -179, -14)
    served = publish_extent(stored)
    assert served["extent"]["spatial"]["bbox"] == [[177, -20, -178.25, -10], *parts]
    pystac.Collection.from_dict({**served, "stac_extensions": []}, migrate=False).validate()
    # what would come of it if pgSTAC were given that one
    yard.query("SELECT pgstac.upsert_collection(%s::jsonb)", orjson.dumps(served).decode())
    assert not finds(178, -15, 179, -14), "pgSTAC has learned of boxes across the antimeridian: store them as they are"
