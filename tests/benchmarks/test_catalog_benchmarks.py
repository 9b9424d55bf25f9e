"""The instruments of the catalog's benchmarks: valid searches, an honest floor, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
import pytest

from benchmarks.bulk import Place
from benchmarks.catalog import filled
from benchmarks.load import Request, ask, run
from benchmarks.pages import deciles, walk
from benchmarks.queries import Known, Searches, known_items
from benchmarks.search import has_features, is_item
from benchmarks.services import Running, minimal, started, stock
from stacyard.core.settings import DatabaseSettings, StorageSettings

ROOT = Path(__file__).parents[2]
ITEMS = 1500
_LOADING = "SELECT 1 FROM stacyard.ingest_run WHERE collection LIKE 'bench-searched-%%' AND collection <> ALL (%s)"


@pytest.fixture(scope="module")
def collections(
    database_settings: DatabaseSettings, storage_settings: StorageSettings, public_directory: Path
) -> Iterator[list[str]]:
    place = Place(database_settings, storage_settings, public_directory)
    with filled(place, ITEMS, lambda _: None, collections=2) as names:
        yield names


@pytest.fixture(scope="module")
def items(collections: list[str], database_settings: DatabaseSettings) -> list[Known]:
    return known_items(database_settings, collections)


@pytest.fixture(scope="module")
def sides(collections: list[str], database_settings: DatabaseSettings) -> Iterator[Mapping[str, Running]]:
    with started(stock("stac", database_settings)) as upstream, started(minimal(database_settings)) as least:
        yield {"stock": upstream, "limit": least}


def ids(body: bytes) -> list[str]:
    return [feature["id"] for feature in orjson.loads(body)["features"]]


def test_every_search_is_valid_for_the_stock_service_finds_something_and_is_made_once(
    items: list[Known], collections: list[str], sides: Mapping[str, Running]
) -> None:
    searches = Searches(items, collections, 1)
    requests = searches.mixed(300, 10) + searches.rich(20, 100)
    assert run(sides["stock"].port, requests, has_features).failures == ()
    assert len({str(request) for request in requests}) == len(requests)
    text = "".join(map(str, requests))
    for kind in ("bbox", "datetime", "intersects", "ids", "query", "cql2-text", "cql2-json", "sortby", "collections"):
        assert kind in text
    assert 100 < sum(request.body is None for request in requests) < 260


def test_the_same_seed_makes_the_same_searches(items: list[Known], collections: list[str]) -> None:
    first, second, other = (Searches(items, collections, seed).mixed(20, 10) for seed in (1, 1, 2))
    assert first == second != other


def test_the_minimal_server_finds_what_the_stock_service_finds(
    items: list[Known], collections: list[str], sides: Mapping[str, Running]
) -> None:
    requests = Searches(items, collections, 3).plain(100, 10)
    answers = {name: ask(side.port, requests)[1] for name, side in sides.items()}
    for request, theirs, least in zip(requests, answers["stock"], answers["limit"], strict=True):
        assert ids(least.body) == ids(theirs.body), request


def test_the_minimal_server_answers_items_by_id_and_tells_one_that_is_not_there(
    items: list[Known], sides: Mapping[str, Running]
) -> None:
    known = items[:5]
    requests = [Request(f"/collections/{item.collection}/items/{item.id}") for item in known]
    _, answers = ask(sides["limit"].port, [*requests, Request(f"/collections/{known[0].collection}/items/none")])
    assert [answer.status for answer in answers] == [200] * 5 + [404]
    assert [orjson.loads(answer.body)["id"] for answer in answers[:5]] == [item.id for item in known]
    assert all(is_item(answer.status, answer.body) for answer in answers[:5])


def test_a_walk_meets_every_item_once(collections: list[str], sides: Mapping[str, Running]) -> None:
    found = walk(sides["stock"], collections[0], 100)
    assert len(found.ids) == len(set(found.ids)) == ITEMS // 2
    assert len(found.milliseconds) == 8
    assert len(walk(sides["stock"], collections[0], 100, most_items=150).ids) == 200


def test_deciles_are_of_all_pages_in_their_order() -> None:
    assert deciles([float(number) for number in range(100)]) == [4.5 + 10 * tenth for tenth in range(10)]
    assert deciles([3.0, 1.0]) == [3.0, 1.0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_removes_its_collections(
    number: signal.Signals,
    database_settings: DatabaseSettings,
    storage_settings: StorageSettings,
    public_directory: Path,
) -> None:
    place = Place(database_settings, storage_settings, public_directory)
    before = place.execute("SELECT id FROM pgstac.collections ORDER BY id")
    known = [row[0] for row in before]
    urls = {
        f"STACYARD_DATABASE_{role.upper()}_URL": database_settings.url(role) for role in ("reader", "writer", "ingest")
    }
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "search", "--small"],
        cwd=ROOT,
        env={**os.environ, **urls, "STACYARD_STORAGE_ASSETS": storage_settings.assets},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        # in the middle of the load, whose process must end as well
        while process.poll() is None and not place.execute(_LOADING, known):
            time.sleep(0.02)
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert place.execute("SELECT id FROM pgstac.collections ORDER BY id") == before
    assert not place.execute(_LOADING, known)
