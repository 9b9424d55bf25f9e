"""What the command line calls: each function does one command and returns values; `report` prints them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.identity import worker_name
from stacyard.ingestor.ledger import Counts, Ledger, Outcome, Run
from stacyard.ingestor.queue import Queue, TableQueue
from stacyard.ingestor.recipe import load_recipe, parse_recipe
from stacyard.ingestor.report import Reporter, RunSummary, print_summary
from stacyard.ingestor.run import Platform, Runner, discover, first
from stacyard.ingestor.session import Session
from stacyard.ingestor.settings import IngestorSettings
from stacyard.ingestor.sources.files import absolute
from stacyard.ingestor.sources.found import Found


def ingest(
    sources: Sequence[str],
    recipe: Path,
    *,
    database: DatabaseSettings,
    storage: StorageSettings,
    settings: IngestorSettings,
    console: Console,
) -> RunSummary:
    """Bring the sources into the catalog as the recipe says, or go on with the run of the same work.

    Prints progress and a closing summary to `console`.

    Raises:
        RecipeError: the recipe cannot be used.
        SourceError: a source is not there or has nothing for the recipe.
        RunStopped: the database is away or a disk is full; the same command goes on later.
    """
    parsed = load_recipe(recipe)
    places = [absolute(source) for source in sources]
    found = first(discover(parsed, places))
    platform = Platform(database=database, storage=storage, settings=settings)
    with _open(platform) as (session, queue, ledger):
        run = ledger.open_run(
            collection=parsed.collection.id,
            recipe=recipe.read_text(encoding="utf-8"),
            recipe_hash=parsed.hash,
            sources=places,
        )
        runner = Runner(run, parsed, session=session, queue=queue, ledger=ledger, platform=platform)
        return _drive(runner, run, found, ledger, console, title=parsed.collection.id)


def retry_run(
    run: int, *, database: DatabaseSettings, storage: StorageSettings, settings: IngestorSettings, console: Console
) -> RunSummary:
    """Try what failed in a run once more, with the recipe as it was.

    Raises:
        RunNotFound: there is no such run.
        RecipeError: its recipe was written for another version.
        SourceError: it has not found all its data yet, and a source is gone.
        RunStopped: as `ingest`; or another run of the same work is not finished.
    """
    platform = Platform(database=database, storage=storage, settings=settings)
    with _open(platform) as (session, queue, ledger):
        before = ledger.run(run)
        recipe = parse_recipe(before.recipe, f"recipe of run {run}")
        # a run that was killed while it looked for data looks again
        found = None if before.discovery_finished_at else first(discover(recipe, before.sources))
        ledger.retry(run)
        runner = Runner(run, recipe, session=session, queue=queue, ledger=ledger, platform=platform)
        return _drive(runner, run, found, ledger, console, title=recipe.collection.id)


def list_runs(*, database: DatabaseSettings, limit: int = 50) -> list[tuple[Run, Counts]]:
    """The latest runs with their counts, newest first."""
    with _ledger(database) as ledger:
        return [(run, ledger.counts(run.id)) for run in ledger.runs(limit=limit)]


def show_run(run: int, *, database: DatabaseSettings) -> RunSummary:
    """One run, with what was rejected or failed in it.

    Raises:
        RunNotFound: there is no such run.
    """
    with _ledger(database) as ledger:
        return RunSummary(run=ledger.run(run), counts=ledger.counts(run), outcomes=ledger.outcomes(run))


def failed_tasks(run: int | None = None, *, database: DatabaseSettings, limit: int = 1000) -> list[Outcome]:
    """What failed, and what was rejected, in one run or in all, with reasons."""
    with _ledger(database) as ledger:
        return ledger.outcomes(run, limit=limit)


def _drive(
    runner: Runner, run: int, found: Iterator[Found] | None, ledger: Ledger, console: Console, *, title: str
) -> RunSummary:
    started = time.monotonic()
    with Reporter(console, title) as report:
        finished = runner.drive(found, report=report)
    summary = RunSummary(
        run=ledger.run(run),
        counts=ledger.counts(run),
        outcomes=ledger.outcomes(run),
        seconds=time.monotonic() - started,
        interrupted=not finished,
    )
    print_summary(summary, console)
    return summary


@contextmanager
def _open(platform: Platform) -> Iterator[tuple[Session, Queue, Ledger]]:
    settings, worker = platform.settings, worker_name()
    session = Session(platform.database.url("ingest"), patience_seconds=settings.database_patience_seconds)
    try:
        queue = TableQueue(session, worker=worker, attempts=settings.attempts)
        yield session, queue, Ledger(session, worker=worker, attempts=settings.attempts)
    finally:
        session.close()


@contextmanager
def _ledger(database: DatabaseSettings) -> Iterator[Ledger]:
    session = Session(database.url("ingest"), patience_seconds=0)
    try:
        yield Ledger(session, worker=worker_name())
    finally:
        session.close()
