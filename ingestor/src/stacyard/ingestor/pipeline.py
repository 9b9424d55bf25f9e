"""The stages in their order: what is done to one task, from its source to an item that is ready to be loaded."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from stacyard.core.errors import StorageError, Unavailable
from stacyard.core.storage import Storage
from stacyard.ingestor.errors import OutOfSpace, Rejected, RunStopped, SourceError
from stacyard.ingestor.load_features import replace_table
from stacyard.ingestor.measures import Measures, size_of
from stacyard.ingestor.queue import Task
from stacyard.ingestor.recipe import Layer as LayerRule
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.session import Session
from stacyard.ingestor.sources.fetch import fetch, with_uris
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.stages.anomalies import Observation
from stacyard.ingestor.stages.clouds import cloud_cover
from stacyard.ingestor.stages.convert import Converted, to_cog
from stacyard.ingestor.stages.describe import When, describe_image, describe_layer, when
from stacyard.ingestor.stages.inspect import RasterReport, accept, inspect, reading
from stacyard.ingestor.stages.publish import publish
from stacyard.ingestor.stages.quality import Judgement, judge, main_report, statistic_of
from stacyard.ingestor.stages.space import is_full, space_watched
from stacyard.ingestor.stages.vectors import Layer, read_layer, to_flatgeobuf
from stacyard.ingestor.surroundings import look_around
from stacyard.ingestor.verdicts import Verdict

# an item, and what its stages found, for the report
Made: TypeAlias = tuple[dict[str, Any], dict[str, Any]]

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
    """What became of a task: an item, or why there is none. `stop` says why no other task would fare better.

    `report` is kept on the ledger, also of what was rejected or failed: bytes and seconds as `Measures` has them, under
    "verdicts" what quality rules found, under "layer" what became of a layer's features.
    """

    task: Task
    item: dict[str, Any] | None = None
    report: dict[str, Any] = field(default_factory=dict)
    rejected: str | None = None
    failed: str | None = None
    retry: bool = False
    stop: str | None = None


def prepare(task: Task, workshop: Workshop) -> Prepared:
    """Take a task through the stages. Nothing stays in the work directory, and no exception leaves."""
    directory = workshop.directory / str(task.id)
    measures = Measures()
    if task.attempts > 1:
        time.sleep(min(2.0 ** (task.attempts - 2), _MOST_SECONDS_BETWEEN_ATTEMPTS))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        make = _image if workshop.recipe.kind == "imagery" else _layer
        item, found = make(task, workshop, directory, measures)
        return Prepared(task=task, item=item, report={**measures.document(), **found})
    except Rejected as error:
        return Prepared(
            task=task,
            rejected=with_uris(str(error), task.source["files"], directory),
            report={**measures.document(), **_found(error.verdicts)},
        )
    except (OutOfSpace, RunStopped) as error:
        return Prepared(task=task, stop=str(error))
    except SourceError as error:
        return Prepared(task=task, failed=str(error), report=measures.document())
    except _PASSING as error:
        # the storage may be on another disk than the work directory; its message names it
        return Prepared(
            task=task,
            failed=with_uris(str(error), task.source["files"], directory),
            report=measures.document(),
            retry=True,
            stop=str(error) if is_full(error, directory) else None,
        )
    except Exception as error:  # a task must not take the run with it; the ledger keeps what it was
        return Prepared(
            task=task,
            failed=with_uris(f"{type(error).__name__}: {error}", task.source["files"], directory),
            report=measures.document(),
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _here(task: Task, workshop: Workshop, directory: Path, measures: Measures) -> dict[str, Path]:
    """The task's files on this machine, with the content they were found with."""

    def is_same(versions: Mapping[str, str]) -> bool:
        found = Found(item_id=task.item_id, source=task.source, content=versions)
        return found.key(workshop.recipe.collection.id, workshop.recipe.hash) == task.key

    with measures.stage("fetch"):
        paths = fetch(task.source["files"], directory, is_same=is_same)
        measures.bytes_in = sum(map(size_of, paths.values()))
    return paths


def _image(task: Task, workshop: Workshop, directory: Path, measures: Measures) -> Made:
    recipe = workshop.recipe
    assert recipe.time is not None  # noqa: S101 - the recipe's own validation
    files = _here(task, workshop, directory, measures)
    for key, path in files.items():
        with measures.stage("check"), reading(key):
            accept(path, recipe.assets[key])
    converted, reports = {}, {}
    for key, path in files.items():
        target, asset = directory / f"{key}.tif", recipe.assets[key]
        with measures.stage("convert"), reading(key), space_watched(directory):
            converted[key] = to_cog(path, target, asset, recipe.conversion, threads=workshop.threads)
        with measures.stage("inspect"), reading(key), space_watched(directory):
            reports[key] = inspect(converted[key].path)
    time_of_item = when(recipe.time, task.source["fields"], _tags(reports))
    with measures.stage("quality"):
        judgement = _judged(task, workshop, converted, reports, time_of_item)
    storage = Storage([workshop.assets])
    with measures.stage("publish"):
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
    measures.bytes_out = sum(asset.size for asset in stored.values())
    with measures.stage("describe"):
        item = describe_image(
            item_id=task.item_id,
            recipe=recipe,
            time=time_of_item,
            reports=reports,
            stored=stored,
            judgement=judgement,
            sources=task.source["files"].values(),
        )
    return item, _found(judgement.verdicts)


def _judged(
    task: Task,
    workshop: Workshop,
    converted: Mapping[str, Converted],
    reports: Mapping[str, RasterReport],
    time_of_item: When,
) -> Judgement:
    recipe, rules = workshop.recipe, workshop.recipe.quality
    paths = {key: cog.path for key, cog in converted.items()}
    cover = cloud_cover(paths, rules.cloud) if rules.cloud else None
    footprint = main_report(reports, recipe.assets).footprint
    surroundings = None
    if footprint is not None and (rules.duplicate or rules.anomaly):
        with closing(Session(workshop.database_url, patience_seconds=workshop.patience_seconds)) as session:
            surroundings = look_around(
                session, recipe, item_id=task.item_id, time=time_of_item.start, footprint=footprint
            )
    value = statistic_of(reports, rules.anomaly) if rules.anomaly else None
    return judge(
        reports=reports,
        assets=recipe.assets,
        rules=rules,
        seen=None if value is None else Observation(time=time_of_item.start, value=value),
        cloud_cover=cover,
        surroundings=surroundings,
    )


def _layer(task: Task, workshop: Workshop, directory: Path, measures: Measures) -> Made:
    recipe = workshop.recipe
    assert recipe.time is not None  # noqa: S101 - the recipe's own validation
    rule = recipe.layers[task.source["layer"]]
    time_of_item = when(recipe.time, task.source["fields"], {})
    source, path = _here(task, workshop, directory, measures)["data"], directory / "data.fgb"
    with measures.stage("read"):
        layer = read_layer(source, rule, directory=directory)
    with measures.stage("convert"):
        to_flatgeobuf(layer, path, name=task.item_id)
    with measures.stage("publish"):
        stored = publish(
            path,
            storage=Storage([workshop.assets]),
            prefix=workshop.assets,
            collection=recipe.collection.id,
            item_id=task.item_id,
            name="data.fgb",
        )
    measures.bytes_out = stored.size
    with measures.stage("describe"):
        item = describe_layer(
            item_id=task.item_id,
            recipe=recipe,
            time=time_of_item,
            geometry=layer.footprint,
            columns=layer.table_columns,
            features=asdict(layer.report),
            title=rule.title,
            description=_layer_description(layer, rule),
            stored=stored,
            source=task.source["files"]["data"],
        )
    if rule.table is not None:
        session = Session(workshop.database_url, patience_seconds=workshop.patience_seconds)
        try:
            comment = rule.description or rule.title or recipe.collection.title
            with measures.stage("table"):
                replace_table(session, layer, table=rule.table, comment=comment, collection=recipe.collection.id)
        finally:
            session.close()
    return item, {"layer": asdict(layer.report)}


def _found(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {"verdicts": [asdict(verdict) for verdict in verdicts]} if verdicts else {}


def _layer_description(layer: Layer, rule: LayerRule) -> str | None:
    parts = [rule.description.rstrip(".") + "."] if rule.description else []
    if layer.report.repaired:
        parts.append(f"Invalid geometries that were repaired: {layer.report.repaired}.")
    if layer.report.dropped:
        parts.append(f"Features left out because they have no geometry: {layer.report.dropped}.")
    if layer.report.rejected:
        parts.append(f"Features left out because their geometry is invalid: {layer.report.rejected}.")
    return " ".join(parts) or None


def _tags(reports: Mapping[str, Any]) -> dict[str, str]:
    """Tags of all assets; of one that several have, the first asset's."""
    tags: dict[str, str] = {}
    for report in reports.values():
        tags = {**report.tags, **tags}
    return tags
