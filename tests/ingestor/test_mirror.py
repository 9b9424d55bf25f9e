"""A mirror deletes what its sources no longer have, and only when it knows all that they have."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from rich.console import Console

from stacyard.ingestor import commands
from stacyard.ingestor.ledger import Ledger
from stacyard.ingestor.load.bulk import Mode
from stacyard.ingestor.recipe import load_recipe
from stacyard.ingestor.session import Session

from .conftest import Yard, recipe_of
from .test_blocks import items, lines


def mirror(yard: Yard, recipe: Path, source: Path) -> int:
    console = Console(file=yard.output)
    return commands.ingest([str(source)], recipe, platform=yard.platform, console=console, mode=Mode.MIRROR).exit_code


def test_whoever_helps_with_a_mirror_that_is_still_listing_deletes_nothing(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("listing")
    recipe, source = recipe_of("naip", collection, tmp_path / "recipe.yaml"), tmp_path / "items.ndjson"
    source.write_bytes(lines(items(5)))
    assert mirror(yard, recipe, source) == 0
    with closing(Session(yard.database.url("ingest"), patience_seconds=1)) as session:
        listing = Ledger(session, worker="elsewhere:1").open_run(
            collection=collection,
            recipe=recipe.read_text(),
            recipe_hash=load_recipe(recipe).hash,
            sources=["elsewhere"],
            mode=Mode.MIRROR,
        )
        assert commands.work(listing, platform=yard.platform, console=Console(file=yard.output))
        assert len(yard.items(collection)) == 5, "what was not listed yet was taken for gone"


def test_what_the_sources_no_longer_have_is_deleted_and_what_is_unchanged_stays(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("mirrored")
    recipe, source = recipe_of("naip", collection, tmp_path / "recipe.yaml"), tmp_path / "items.ndjson"
    source.write_bytes(lines(items(5)))
    assert mirror(yard, recipe, source) == 0
    source.write_bytes(lines(items(3)))
    assert mirror(yard, recipe, source) == 0
    assert sorted(yard.items(collection)) == ["i0", "i1", "i2"]
