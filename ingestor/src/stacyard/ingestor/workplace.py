"""Who does the work of a run on this machine, and where."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.block_workers import BlockWorkers
from stacyard.ingestor.blocks import BlockShop
from stacyard.ingestor.identity import is_known_dead, worker_name
from stacyard.ingestor.load.bulk import Mode
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.settings import IngestorSettings

if TYPE_CHECKING:
    from stacyard.ingestor.workers import ProcessWorkers


def make_workers(
    run: int,
    recipe: Recipe,
    *,
    mode: Mode,
    database: DatabaseSettings,
    storage: StorageSettings,
    settings: IngestorSettings,
    directory: Path,
    others_ask: Callable[[], bool],
    started: bool = False,
) -> BlockWorkers | ProcessWorkers:
    """Those who do what the recipe needs; to be closed.

    Args:
        others_ask: whether somebody else wants the database now, so that loaders step back.
        started: processes do not wait for the first task.
    """
    if recipe.kind == "items":
        shop = BlockShop(
            recipe=recipe,
            run=run,
            mode=mode,
            database_url=database.url("ingest"),
            patience_seconds=settings.database_patience_seconds,
        )
        return BlockWorkers(shop, processes=settings.processes, others_ask=others_ask)
    # a run of ready-made items does without GDAL, which takes a second to come up
    from stacyard.ingestor.pipeline import Workshop
    from stacyard.ingestor.workers import ProcessWorkers

    workshop = Workshop(
        recipe=recipe,
        assets=storage.assets,
        directory=directory,
        database_url=database.url("ingest"),
        patience_seconds=settings.database_patience_seconds,
        threads=settings.threads,
    )
    workers = ProcessWorkers(workshop, processes=settings.processes)
    if started:
        workers.start()
    return workers


@contextmanager
def work_directory(root: Path) -> Iterator[Path]:
    """A directory of this process, which is removed; those of processes that were killed are removed too."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.iterdir():
        if left.is_dir() and is_known_dead(left.name.replace("+", ":")):
            shutil.rmtree(left, ignore_errors=True)
    directory = root / worker_name().replace(":", "+")
    directory.mkdir(exist_ok=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
