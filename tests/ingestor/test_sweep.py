"""What a sweep takes and what it leaves: it takes what is old, named by nothing and waited for by nobody."""

from __future__ import annotations

import io
import threading
import time
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.core.storage import Storage, join, local_path
from stacyard.ingestor import commands, sweep
from stacyard.ingestor.errors import DatabaseAway, RunStopped, SourceError
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.sweep import Swept

from .conftest import Hire, Yard, found, recipe_of
from .test_items import ITEM
from .test_storage import bucket  # noqa: F401

# one of each is made of every kind below
ODD = ["plain", "with blank", "a%20b", "a#1", "ü?", "a+b&c=d", "[1]", "a.b~c"]


def swept(yard: Yard, collection: str, *, grace: float = 0, dry_run: bool = False) -> tuple[Swept, set[str]]:
    """What was counted, and the URIs that were said."""
    output = io.StringIO()
    counts = commands.sweep(
        collection,
        platform=yard.platform,
        console=Console(file=output, width=300),
        grace=timedelta(seconds=grace),
        dry_run=dry_run,
    )
    *lines, last = output.getvalue().splitlines()
    assert last.startswith(f"{counts.listed} assets")
    assert f"deleted {counts.deleted} " in last
    return counts, {line.rpartition(" ")[0] for line in lines}


def put(yard: Yard, collection: str, item_id: str, name: str = "data.tif") -> str:
    uri = join(yard.storage.assets, collection, item_id, name)
    Storage([yard.storage.assets]).put(uri, b"tile")
    return uri


def put_items(yard: Yard, collection: str, hrefs: dict[str, str]) -> None:
    """Load items, each of which names one asset."""
    path = yard.directory / f"{collection}.json"
    path.write_bytes(
        orjson.dumps([{**ITEM, "id": name, "assets": {"data": {"href": href}}} for name, href in hrefs.items()])
    )
    assert yard.ingest(recipe_of("naip", collection, path.with_suffix(".yaml")), path).exit_code == 0


def stored(yard: Yard) -> set[str]:
    return {stored.uri for stored in Storage([yard.storage.assets]).list(yard.storage.assets)}


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_sweep_takes_what_no_item_names_and_no_task_will_and_nothing_else(
    where: str, yard: Yard, hire: Hire, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_LOOKED_AT", 7)
    monkeypatch.setattr(sweep, "_ORPHANS", 5)
    monkeypatch.setattr(sweep, "_DELETED_AT_ONCE", 3)
    if where == "s3":
        yard.storage = StorageSettings(assets=f"s3://{request.getfixturevalue('bucket')}/assets")
    collection, other = yard.collection_id("swept"), yard.collection_id("other")
    own = {name: put(yard, collection, name) for name in ODD}
    put_items(yard, collection, own)
    # a copy of the catalog names assets by their public URL, and another item of the collection by a signed one
    lent = {f"lent {name}": put(yard, collection, f"lent {name}") for name in ODD}
    public = [uri.replace(yard.storage.assets, "https://yard.example/assets") + "?token=x/y" for uri in lent.values()]
    put_items(yard, other, dict(zip(lent, public, strict=True)))
    waited = {name: put(yard, collection, name) for name in ("waits", "in work")}
    hire("w").open_run(collection, *found("waits", "in work"))
    keep = {*own.values(), *lent.values(), *waited.values()}
    # of the neighbour whose id begins like this one's, of nobody, and beside what the publisher writes
    keep |= {put(yard, f"{collection}-2", "orphan"), put(yard, other, "orphan"), put(yard, "nobody", "orphan")}
    nested = f"{yard.storage.assets}/{collection}/plain/deep/down.tif"
    Storage([yard.storage.assets]).put(nested, b"tile")
    keep |= {nested}
    orphans = {put(yard, collection, f"orphan {name}") for name in ODD}
    orphans |= {put(yard, collection, "plain", "old.tif")}
    assert stored(yard) == keep | orphans

    counts, said = swept(yard, collection, dry_run=True)
    assert said == orphans
    assert (counts.orphans, counts.deleted, counts.waiting) == (len(orphans), 0, len(waited))
    counts, said = swept(yard, collection, grace=3600)
    assert (counts.orphans, counts.young, said) == (0, len(orphans) + len(lent), set())
    assert stored(yard) == keep | orphans
    counts, said = swept(yard, collection)
    assert said == orphans
    assert (counts.orphans, counts.deleted, counts.deleted_bytes) == (len(orphans), len(orphans), 4 * len(orphans))
    assert stored(yard) == keep
    assert swept(yard, collection)[0].deleted == 0
    if (root := local_path(yard.storage.assets)) is not None:
        assert not [path for path in root.rglob("*") if path.is_dir() and not any(path.iterdir())]


def test_what_a_kill_has_left_half_written_goes_too(yard: Yard) -> None:
    collection = yard.collection_id("half")
    uri = put(yard, collection, "a#7")
    put_items(yard, collection, {"a#7": uri})
    path = local_path(uri)
    assert path is not None
    half = path.with_name("data.tif#1")
    half.write_bytes(b"ti")
    assert swept(yard, collection)[0].deleted_bytes == 2
    assert list(path.parent.iterdir()) == [path]


def test_a_task_that_begins_while_an_asset_is_about_to_go_keeps_it(
    yard: Yard, hire: Hire, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = yard.collection_id("race")
    put_items(yard, collection, {"other": "https://example.com/o.tif"})
    orphan = put(yard, collection, "late")
    run = hire("w").open_run(collection, *found("x"))
    results: list[Swept] = []
    with yard.connect() as other, other.transaction():
        # written and not committed: who does not wait for it cannot see it
        other.execute(
            "INSERT INTO stacyard.ingest_task (run_id, key, collection, item_id, source)"
            " VALUES (%s, 'k', %s, %s, '{}')",
            [run, collection, "late"],
        )
        thread = threading.Thread(target=lambda: results.append(swept(yard, collection)[0]))
        thread.start()
        time.sleep(1)
        assert orphan in stored(yard)
    thread.join(30)
    assert [(each.orphans, each.deleted) for each in results] == [(1, 0)]
    assert orphan in stored(yard)


def test_a_sweep_refuses_what_it_cannot_judge(yard: Yard, hire: Hire) -> None:
    collection = yard.collection_id("refused")
    orphan = put(yard, collection, "orphan")
    with pytest.raises(SourceError, match=f"the catalog has no collection '{collection}'"):
        swept(yard, collection)
    put_items(yard, collection, {"a": "https://example.com/a.tif"})
    block = Found(item_id="items.json from feature 0", source={"reader": "document", "path": "items.json"})
    run = hire("w").open_run(collection, block)
    with pytest.raises(RunStopped, match=f"run {run} has ready-made items of {collection} to load"):
        swept(yard, collection)
    away = yard.database.url("ingest").rpartition(":")[0] + ":1/none"
    yard.database = DatabaseSettings.model_validate({"ingest_url": away})
    yard.settings = yard.settings.model_copy(update={"database_patience_seconds": 0.2})
    with pytest.raises(DatabaseAway):
        swept(yard, collection)
    assert stored(yard) == {orphan}


def test_a_link_does_not_lead_a_sweep_out_of_the_collection(yard: Yard, tmp_path: Path) -> None:
    collection, other = yard.collection_id("linked"), yard.collection_id("kept")
    uri = put(yard, other, "a")
    put_items(yard, collection, {"a": "https://example.com/a.tif"})
    root = local_path(join(yard.storage.assets, collection))
    assert root is not None
    root.mkdir()
    (root / "b").symlink_to(tmp_path / "assets" / other / "a", target_is_directory=True)
    counts, _ = swept(yard, collection)
    assert (counts.orphans, counts.deleted) == (1, 0)
    assert uri in stored(yard)
