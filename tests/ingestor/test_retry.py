"""What failed is tried again with the recipe as it was, and the counts of the run still add up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stacyard.core.storage import local_path
from stacyard.ingestor.errors import RunStopped

from .conftest import Yard, recipe_of
from .test_pipeline import NDVI_DATES, ndvi


def in_the_way(yard: Yard, collection: str) -> Path:
    """A file where the storage needs a directory for the first date."""
    root = local_path(yard.storage.assets)
    assert root is not None
    path = root / collection / f"S2_{NDVI_DATES[0]}"
    path.parent.mkdir()
    path.touch()
    return path


def test_what_failed_for_a_mendable_reason_is_loaded_by_a_retry(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("mended")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    obstacle = in_the_way(yard, collection)
    yard.settings = yard.settings.model_copy(update={"attempts": 2})
    summary = yard.ingest(recipe, ndvi(tmp_path))
    assert (summary.exit_code, summary.counts.loaded, summary.counts.failed) == (1, 2, 1)
    [outcome] = summary.outcomes
    assert (outcome.item_id, outcome.state, outcome.attempts) == (obstacle.name, "failed", 2)
    assert f"{collection}/{obstacle.name}" in outcome.reason
    assert "could not be written" in outcome.reason

    # the run knows its recipe
    recipe.unlink()
    again = yard.retry(summary.run.id)
    assert (again.exit_code, again.counts.loaded, again.counts.failed) == (1, 2, 1)
    assert again.counts.add_up
    assert again.outcomes[0].attempts == 2, "a retry begins with fresh attempts"

    obstacle.unlink()
    mended = yard.retry(summary.run.id)
    assert (mended.run.id, mended.exit_code, mended.outcomes) == (summary.run.id, 0, [])
    assert mended.run.finished_at is not None
    assert (mended.counts.discovered, mended.counts.loaded, mended.counts.unchanged) == (3, 3, 0)
    assert mended.counts.add_up
    assert sorted(yard.items(collection)) == sorted(f"S2_{date}" for date in NDVI_DATES)
    assert yard.retry(summary.run.id).counts == mended.counts, "there is nothing left to retry"


def test_a_retry_beside_an_unfinished_run_of_the_same_work_is_refused_and_changes_nothing(
    yard: Yard, tmp_path: Path
) -> None:
    collection = yard.collection_id("beside")
    recipe, source = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml"), ndvi(tmp_path)
    obstacle = in_the_way(yard, collection)
    yard.settings = yard.settings.model_copy(update={"attempts": 1})
    first = yard.ingest(recipe, source)
    second = yard.ingest(recipe, source)
    assert second.run.id != first.run.id
    yard.query("UPDATE stacyard.ingest_run SET finished_at = NULL WHERE id = %s RETURNING id", second.run.id)
    with pytest.raises(RunStopped, match=f"run {second.run.id} does the same work and is not finished"):
        yard.retry(first.run.id)
    assert yard.retry(second.run.id).counts.failed == 1
    obstacle.unlink()
    shutil.move(source, tmp_path / "elsewhere")
    [outcome] = yard.retry(first.run.id).outcomes
    assert (outcome.state, "No such file" in outcome.reason) == ("failed", True), "the files may come back"
    shutil.move(tmp_path / "elsewhere", source)
    assert yard.retry(first.run.id).exit_code == 0
