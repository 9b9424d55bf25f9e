"""What the command line calls: each function does one command and returns values; `report` prints them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from stacyard.ingestor.discovery import discover
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.identity import worker_name
from stacyard.ingestor.ledger import Counts, Ledger, Outcome, Run, State
from stacyard.ingestor.load.bulk import Mode
from stacyard.ingestor.load.survey import Surveyed, collections_of, survey
from stacyard.ingestor.queue import Queue, TableQueue
from stacyard.ingestor.recipe import load_recipe, parse_recipe
from stacyard.ingestor.report import Reporter, RunSummary, print_summary, print_surveyed, print_swept
from stacyard.ingestor.reports.data import RunReport
from stacyard.ingestor.reports.figures import read_report
from stacyard.ingestor.run import Interruption, Platform, Runner, first
from stacyard.ingestor.session import Session
from stacyard.ingestor.settings import StreamSettings
from stacyard.ingestor.sources.buckets import is_bucket
from stacyard.ingestor.sources.files import absolute
from stacyard.ingestor.sources.forms import is_web
from stacyard.ingestor.sources.manifest import is_manifest
from stacyard.ingestor.stream.ledger import STREAM
from stacyard.ingestor.sweep import Sweep, Swept

if TYPE_CHECKING:
    from stacyard.ingestor.stream.tally import Tally

Report = Callable[[Counts], None]


def ingest(
    sources: Sequence[str],
    recipe: Path,
    *,
    platform: Platform,
    console: Console,
    mode: Mode = Mode.UPSERT,
    on_kubernetes: bool = False,
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
    if on_kubernetes:
        from stacyard.ingestor.cluster.job import refuse_local

        refuse_local(places, assets=platform.storage.assets)
    with _open(platform) as (session, queue, ledger):
        collection, recipe_hash = parsed.collection.id, parsed.hash
        cursor = ledger.cursor(collection=collection, recipe_hash=recipe_hash, sources=places)
        # what is wrong with a source shows before there is a run of it
        found = first(discover(parsed, places, cursor=cursor))
        text = recipe.read_text(encoding="utf-8")
        run = ledger.open_run(collection=collection, recipe=text, recipe_hash=recipe_hash, sources=places, mode=mode)
        runner = Runner(run, parsed, session=session, queue=queue, ledger=ledger, platform=platform, mode=mode)

        def drive(report: Report) -> bool:
            if not on_kubernetes:
                return runner.drive(found, report=report)
            return runner.list_all(found, report=report) and _on_kubernetes(runner, run, ledger, report, console)

        return _summed_up(drive, run, ledger, console, title=parsed.collection.id)


def work(run: int, *, platform: Platform, console: Console) -> bool:
    """Take part in a run until nothing of it waits; False if a signal ended it before.

    Raises:
        RunNotFound: there is no such run.
        RecipeError: its recipe was written for another version.
        RunStopped: the database is away or a disk is full; it can go on later.
    """
    with _open(platform) as (session, queue, ledger):
        known = ledger.run(run)
        recipe = parse_recipe(known.recipe, f"recipe of run {run}")
        mode = Mode(known.mode)
        runner = Runner(run, recipe, session=session, queue=queue, ledger=ledger, platform=platform, mode=mode)
        with Reporter(console, recipe.collection.id) as report:
            return runner.drive(None, report=report)


def retry_run(run: int, *, platform: Platform, console: Console, reason: str | None = None) -> RunSummary:
    """Try what failed in a run once more, with the recipe as it was; with a `reason` only what failed for it.

    Raises:
        RunNotFound: there is no such run.
        NothingToRetry: nothing failed for that reason.
        RecipeError: its recipe was written for another version.
        SourceError: it has not found all its data yet, and a source is gone.
        RunStopped: as `ingest`; or another run of the same work is not finished.
    """
    with _open(platform) as (session, queue, ledger):
        before = ledger.run(run)
        recipe = parse_recipe(before.recipe, f"recipe of run {run}")
        # a run that was killed while it looked for data looks again; what a stream brings does not wait to be found
        known = before.discovery_finished_at is not None or before.sources == list(STREAM)
        found = None if known else first(discover(recipe, before.sources, cursor=before.cursor))
        ledger.retry(run, reason=reason)
        mode = Mode(before.mode)
        runner = Runner(run, recipe, session=session, queue=queue, ledger=ledger, platform=platform, mode=mode)
        return _summed_up(
            lambda report: runner.drive(found, report=report), run, ledger, console, title=recipe.collection.id
        )


def run_worker(recipes: Sequence[Path], *, platform: Platform, settings: StreamSettings, console: Console) -> Tally:
    """Consume the queue of file events for these recipes until a signal comes; then end what is in work.

    Raises:
        RecipeError: a recipe cannot be used.
        SourceError: no prefix may be read.
        RunStopped: the queue or the database is away, a disk is full, or the storage refuses the credentials.
    """
    from stacyard.ingestor.stream.serve import serve_stream

    parsed = [(load_recipe(path), path.read_text(encoding="utf-8")) for path in recipes]
    interruption = Interruption()
    with interruption.watched():
        return serve_stream(
            parsed,
            platform=platform,
            settings=settings,
            stop=lambda: interruption.wanted,
            # one line each, whatever a message has in it
            say=lambda text: console.print(" ".join(text.split()), highlight=False, markup=False, soft_wrap=True),
        )


def notify(files: Sequence[str], *, platform: Platform) -> int:
    """Put an event of each file or object on the queue that is a table of the database; returns how many.

    Raises:
        SourceError: one is neither a path, nor `file://…`, nor `s3://bucket/key`.
    """
    from stacyard.ingestor.stream.messages import TableMessages

    places = [absolute(file) for file in files]
    for place in places:
        if is_manifest(place) or is_web(place):
            raise SourceError(f"{place} is no single file: name files, or objects as s3://bucket/key")
    uris = [place if is_bucket(place) else Path(place).as_uri() for place in places]
    with _open(platform) as (session, _, _):
        TableMessages(session).send([{"uri": uri} for uri in uris])
    return len(uris)


def stop_on_kubernetes(run: int) -> None:
    """End the pods that work on a run.

    Raises:
        RunStopped: the cluster refuses or does not answer.
    """
    from stacyard.ingestor.cluster.api import connect
    from stacyard.ingestor.cluster.job import stop
    from stacyard.ingestor.cluster.settings import ClusterSettings

    stop(run, connect(ClusterSettings.model_validate({})))


def sweep(collection: str, *, platform: Platform, console: Console, grace: timedelta, dry_run: bool = False) -> Swept:
    """Delete the assets of a collection that no item names and no task will; print each, and what it comes to.

    Raises:
        SourceError: the catalog has no such collection.
        RunStopped: the database is away; or ready-made items wait that may name such assets.
        StorageError: the storage refuses.
    """
    with _open(platform) as (session, _, _):
        swept = Sweep(
            session,
            assets=platform.storage.assets,
            collection=collection,
            grace=grace,
            dry_run=dry_run,
            say=lambda asset: console.print(asset.uri, asset.size, highlight=False, soft_wrap=True, markup=False),
        ).run()
    print_swept(swept, console)
    return swept


def survey_properties(
    collections: Sequence[str], *, platform: Platform, console: Console, dry_run: bool = False
) -> list[Surveyed]:
    """Look at all items of these collections, or of all, and write down which properties they have; print what is new.

    Raises:
        SourceError: the catalog has no such collection.
        RunStopped: the database is away; what was looked at before is written down.
    """
    with _open(platform) as (session, _, _):
        there = collections_of(session)
        for collection in collections:
            if collection not in there:
                raise SourceError(f"the catalog has no collection {collection!r}")
        surveyed = []
        with console.status("looking for collections") as status:
            for collection in collections or there:

                def report(items: int, collection: str = collection) -> None:
                    status.update(f"{escape(collection)}: {items:,} items looked at")

                try:
                    surveyed.append(survey(session, collection, write=not dry_run, report=report))
                except LookupError:
                    # deleted meanwhile
                    continue
    print_surveyed(surveyed, console, dry_run=dry_run)
    return surveyed


def list_runs(
    *,
    platform: Platform,
    collection: str | None = None,
    finished: bool | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[tuple[Run, Counts]]:
    """The latest runs with their counts, newest first: of a collection, that have ended or not, begun since."""
    with _ledger(platform) as ledger:
        runs = ledger.runs(collection=collection, finished=finished, since=since, limit=limit)
        return [(run, ledger.counts(run.id)) for run in runs]


def show_run(run: int, *, platform: Platform) -> RunSummary:
    """One run, with what was rejected or failed in it.

    Raises:
        RunNotFound: there is no such run.
    """
    with _ledger(platform) as ledger:
        return RunSummary(run=ledger.run(run), counts=ledger.counts(run), outcomes=ledger.outcomes(run))


def report_run(run: int, *, platform: Platform) -> RunReport:
    """One run in figures.

    Raises:
        RunNotFound: there is no such run.
    """
    with _session(platform) as session:
        return read_report(session, Ledger(session, worker=worker_name()).run(run))


def failed_tasks(
    run: int | None = None,
    *,
    platform: Platform,
    states: Sequence[State] = (State.REJECTED, State.FAILED),
    reason: str | None = None,
    item: str | None = None,
    limit: int = 1000,
) -> list[Outcome]:
    """What failed, and what was rejected, in one run or in all, with reasons; those with these texts in them."""
    with _ledger(platform) as ledger:
        return ledger.outcomes(run, states=states, reason=reason, item=item, limit=limit)


def _on_kubernetes(runner: Runner, run: int, ledger: Ledger, report: Report, console: Console) -> bool:
    from stacyard.ingestor.cluster.api import connect
    from stacyard.ingestor.cluster.job import work_on_cluster
    from stacyard.ingestor.cluster.settings import ClusterSettings

    settings = ClusterSettings.model_validate({})
    interruption = Interruption()
    with interruption.watched():
        finished = work_on_cluster(
            ledger.run(run),
            connect(settings),
            tasks=ledger.waiting_tasks(run),
            ledger=ledger,
            settings=settings,
            report=report,
            say=lambda text: console.print(text, highlight=False, soft_wrap=True),
            interrupted=lambda: interruption.wanted,
        )
    if finished:
        runner.close()
    return finished


def _summed_up(
    drive: Callable[[Report], bool], run: int, ledger: Ledger, console: Console, *, title: str
) -> RunSummary:
    started = time.monotonic()
    with Reporter(console, title) as report:
        finished = drive(report)
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
def _ledger(platform: Platform) -> Iterator[Ledger]:
    with _session(platform) as session:
        yield Ledger(session, worker=worker_name())


@contextmanager
def _session(platform: Platform) -> Iterator[Session]:
    session = Session(platform.database.url("ingest"), patience_seconds=0)
    try:
        yield session
    finally:
        session.close()
