"""The stages in their order: what is done to one task, from its source to an item that is ready to be loaded."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from stacyard.core.errors import StorageError, Unavailable
from stacyard.core.storage import Storage
from stacyard.ingestor.errors import OutOfSpace, Rejected, RunStopped
from stacyard.ingestor.load_features import replace_table
from stacyard.ingestor.queue import Task
from stacyard.ingestor.recipe import Layer as LayerRule
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.session import Session
from stacyard.ingestor.sources.itemfiles import ItemReader
from stacyard.ingestor.stages.convert import to_cog
from stacyard.ingestor.stages.describe import describe_image, describe_layer, when
from stacyard.ingestor.stages.items import adopt
from stacyard.ingestor.stages.publish import publish
from stacyard.ingestor.stages.quality import accept, inspect, judge
from stacyard.ingestor.stages.space import is_full, space_watched
from stacyard.ingestor.stages.vectors import Layer, read_layer, to_flatgeobuf

# a retry can mend these; every other error would only come again
_PASSING = (StorageError, Unavailable, psycopg.OperationalError, OSError)
_MOST_SECONDS_BETWEEN_ATTEMPTS = 5.0


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every task of a run shares. `assets` is a storage URI, `directory` is this run's own."""

    recipe: Recipe
    assets: str
    directory: Path
    database_url: str
    patience_seconds: float
    threads: int


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What became of a task: an item, or why there is none. `stop` says why no other task would fare better."""

    task: Task
    item: dict[str, Any] | None = None
    rejected: str | None = None
    failed: str | None = None
    retry: bool = False
    stop: str | None = None


def prepare(task: Task, workshop: Workshop) -> Prepared:
    """Take a task through the stages. Nothing stays in the work directory, and no exception leaves."""
    directory = workshop.directory / str(task.id)
    if task.attempts > 1:
        time.sleep(min(2.0 ** (task.attempts - 2), _MOST_SECONDS_BETWEEN_ATTEMPTS))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        make = _image if workshop.recipe.kind == "imagery" else _layer
        return Prepared(task=task, item=make(task, workshop, directory))
    except Rejected as error:
        return Prepared(task=task, rejected=str(error))
    except (OutOfSpace, RunStopped) as error:
        return Prepared(task=task, stop=str(error))
    except _PASSING as error:
        # the storage may be on another disk than the work directory; its message names it
        return Prepared(
            task=task, failed=str(error), retry=True, stop=str(error) if is_full(error, directory) else None
        )
    except Exception as error:  # a task must not take the run with it; the ledger keeps what it was
        return Prepared(task=task, failed=f"{type(error).__name__}: {error}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def prepare_item(task: Task, recipe: Recipe, reader: ItemReader) -> Prepared:
    """Read a ready-made item and make it this catalog's. No exception leaves."""
    try:
        item = adopt(reader.read(task.source), recipe)
    except Rejected as error:
        return Prepared(task=task, rejected=str(error))
    except OSError as error:
        return Prepared(task=task, failed=f"{task.source['path']} cannot be read: {error}", retry=True)
    except (ValueError, IndexError) as error:
        return Prepared(task=task, failed=f"{task.source['path']} has changed since it was listed ({error}); run again")
    if item["id"] != task.item_id:
        return Prepared(task=task, failed=f"{task.source['path']} has changed since it was listed; run again")
    return Prepared(task=task, item=item)


def _image(task: Task, workshop: Workshop, directory: Path) -> dict[str, Any]:
    recipe = workshop.recipe
    assert recipe.time is not None  # noqa: S101 - the recipe's own validation
    files = {key: Path(path) for key, path in task.source["files"].items()}
    for key, path in files.items():
        accept(path, recipe.assets[key])
    converted, reports = {}, {}
    cloud = recipe.quality.cloud
    for key, path in files.items():
        cog = to_cog(path, directory / f"{key}.tif", recipe.assets[key], recipe.conversion, threads=workshop.threads)
        values = cloud.values if cloud is not None and cloud.asset == key else ()
        with space_watched(directory):
            converted[key], reports[key] = cog, inspect(cog.path, count_values=values)
    cloud_cover = judge(reports, recipe.assets, recipe.quality)
    tags = _tags(reports)
    time_of_item = when(recipe.time, task.source["fields"], tags)
    storage = Storage([workshop.assets])
    stored = {
        key: publish(
            cog.path,
            storage=storage,
            prefix=workshop.assets,
            collection=recipe.collection.id,
            item_id=task.item_id,
            name=f"{key}.tif",
            header_size=cog.header_size,
        )
        for key, cog in converted.items()
    }
    return describe_image(
        item_id=task.item_id,
        recipe=recipe,
        time=time_of_item,
        reports=reports,
        stored=stored,
        cloud_cover=cloud_cover,
    )


def _layer(task: Task, workshop: Workshop, directory: Path) -> dict[str, Any]:
    recipe = workshop.recipe
    assert recipe.time is not None  # noqa: S101 - the recipe's own validation
    rule = recipe.layers[task.source["layer"]]
    time_of_item = when(recipe.time, task.source["fields"], {})
    layer = read_layer(Path(task.source["files"]["data"]), rule)
    path = directory / "data.fgb"
    to_flatgeobuf(layer, path, name=task.item_id)
    stored = publish(
        path,
        storage=Storage([workshop.assets]),
        prefix=workshop.assets,
        collection=recipe.collection.id,
        item_id=task.item_id,
        name="data.fgb",
    )
    item = describe_layer(
        item_id=task.item_id,
        recipe=recipe,
        time=time_of_item,
        geometry=layer.footprint,
        columns={**{column.name: column.kind for column in layer.columns}, "geometry": "geometry"},
        count=len(layer.geometries),
        title=rule.title,
        description=_layer_description(layer, rule),
        stored=stored,
    )
    if rule.table is not None:
        session = Session(workshop.database_url, patience_seconds=workshop.patience_seconds)
        try:
            comment = rule.description or rule.title or recipe.collection.title
            replace_table(session, layer, table=rule.table, comment=comment, collection=recipe.collection.id)
        finally:
            session.close()
    return item


def _layer_description(layer: Layer, rule: LayerRule) -> str | None:
    parts = [rule.description.rstrip(".") + "."] if rule.description else []
    if layer.repaired:
        parts.append(f"Invalid geometries that were repaired: {layer.repaired}.")
    if layer.dropped:
        parts.append(f"Features left out because they have no geometry: {layer.dropped}.")
    return " ".join(parts) or None


def _tags(reports: Mapping[str, Any]) -> dict[str, str]:
    """Tags of all assets; of one that several have, the first asset's."""
    tags: dict[str, str] = {}
    for report in reports.values():
        tags = {**report.tags, **tags}
    return tags
