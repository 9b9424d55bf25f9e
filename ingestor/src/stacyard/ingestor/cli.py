"""The ingestor's commands, for whoever knows where the platform is: `stacyard` here, `stacyard-ingest` elsewhere.

Each imports what it needs only when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from stacyard.ingestor.run import Platform

Open = Callable[[], "AbstractContextManager[Platform]"]


class Mode(StrEnum):
    """What is done with items that the catalog has; the loader's own, which takes longer to import."""

    INSERT = "insert"
    UPSERT = "upsert"
    IGNORE = "ignore"
    REPLACE = "replace"
    MIRROR = "mirror"


class Where(StrEnum):
    """Who does the work of a run."""

    HERE = "here"
    KUBERNETES = "kubernetes"


class Ended(StrEnum):
    """Which runs are listed."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"


class NotLoaded(StrEnum):
    """How a task ends that was not loaded; the ledger's own, which takes longer to import."""

    REJECTED = "rejected"
    FAILED = "failed"


def _instant(text: str) -> datetime:
    from stacyard.ingestor.times import instant_of

    try:
        return instant_of(text)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no time: write it as 2026-05-01 or 2026-05-01T08:00Z") from error


_MODES = (
    "upsert: replace what has changed, keep what is newer. insert: refuse what is there with other content. "
    "ignore: leave what is there. replace: write all anew. mirror: as upsert, and delete what the sources have no more."
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int, typer.Option(help="At most so many.", min=1)]
Reason = Annotated[
    str | None, typer.Option(help="Only those with this text in their reason; … in it stands for anything.")
]
Run = Annotated[int, typer.Argument(help="Number of a run, as `runs list` shows it.")]


def add_commands(app: typer.Typer, open_platform: Open) -> None:
    """Give an application the ingestor's commands.

    Args:
        app: what gets them.
        open_platform: opens the database and storage that they work with, for as long as a command runs.
    """
    _add_ingest(app, open_platform)
    _add_sweep(app, open_platform)
    _add_queryables(app, open_platform)
    runs = typer.Typer(help="The ledger of the ingestor.", no_args_is_help=True)
    _add_runs(runs, open_platform)
    _add_retry_and_stop(runs, open_platform)
    app.add_typer(runs, name="runs")


def _add_ingest(app: typer.Typer, open_platform: Open) -> None:
    @app.command()
    def ingest(
        sources: Annotated[
            list[str],
            typer.Argument(
                metavar="SOURCE…",
                help="Files, directories, globs, s3://bucket/prefix/, @manifest.csv; for ready-made items also "
                "catalogs and APIs at https://…",
            ),
        ],
        recipe: Annotated[Path, typer.Option(help="The recipe of the product.", exists=True, dir_okay=False)],
        mode: Annotated[Mode, typer.Option(help=_MODES)] = Mode.UPSERT,
        on: Annotated[Where, typer.Option(help="Who does the work: this machine, or pods.")] = Where.HERE,
    ) -> None:
        """Bring data into the catalog, with a progress bar and a summary that adds up.

        The same command goes on where it was stopped, and does nothing for what is unchanged.
        """
        from stacyard.ingestor import process_pool

        if on is Where.HERE:
            # beside what this process imports now, which takes as long
            process_pool.get_ready()
        from stacyard.ingestor import commands
        from stacyard.ingestor.load import bulk

        with open_platform() as platform:
            summary = commands.ingest(
                sources,
                recipe,
                platform=platform,
                console=_console(),
                mode=bulk.Mode(mode),
                on_kubernetes=on is Where.KUBERNETES,
            )
        raise typer.Exit(summary.exit_code)

    @app.command()
    def worker(
        recipes: Annotated[
            list[Path],
            typer.Argument(metavar="RECIPE…", help="Recipes of the products to bring in.", exists=True, dir_okay=False),
        ],
    ) -> None:
        """Bring in what the events of a queue announce, until it is stopped; settings begin with STACYARD_STREAM_.

        SIGTERM ends what is in work and gives the rest back. Exit code 0: it was stopped; 3: it can go on later.
        """
        from stacyard.ingestor import commands
        from stacyard.ingestor.settings import StreamSettings

        with open_platform() as platform:
            commands.run_worker(
                recipes, platform=platform, settings=StreamSettings.model_validate({}), console=_console()
            )

    @app.command()
    def notify(
        files: Annotated[
            list[str], typer.Argument(metavar="FILE…", help="Files, or objects as s3://bucket/key, that have come.")
        ],
    ) -> None:
        """Tell the workers, by the queue that is a table of the database, that files have come or changed."""
        from stacyard.ingestor import commands

        with open_platform() as platform:
            count = commands.notify(files, platform=platform)
        typer.echo(f"{count} events are in the queue")

    @app.command()
    def work(run: Run) -> None:
        """Take part in a run that another command has begun, until nothing of it waits.

        Exit code 0: nothing waits, whatever became of it; `runs show` says that. 3: the run can go on later.
        """
        from stacyard.ingestor import commands

        with open_platform() as platform:
            finished = commands.work(run, platform=platform, console=_console())
        raise typer.Exit(0 if finished else 3)


def _add_sweep(app: typer.Typer, open_platform: Open) -> None:
    @app.command()
    def sweep(
        collection: Annotated[str, typer.Argument(help="Id of a collection.")],
        grace_hours: Annotated[float, typer.Option(help="What is younger stays.", min=0)] = 24.0,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Find them, and delete nothing.")] = False,
    ) -> None:
        """Delete stored assets of a collection that no item names, which a kill or a deleted item leaves behind.

        What a task of the ledger waits to write stays. Each asset is printed with its size in bytes.
        """
        from datetime import timedelta

        from stacyard.ingestor import commands

        with open_platform() as platform:
            grace = timedelta(hours=grace_hours)
            commands.sweep(collection, platform=platform, console=_console(), grace=grace, dry_run=dry_run)


def _add_queryables(app: typer.Typer, open_platform: Open) -> None:
    @app.command()
    def queryables(
        collection: Annotated[
            list[str] | None, typer.Option(metavar="ID", help="Only of this collection; may be given again.")
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing, and write nothing.")] = False,
    ) -> None:
        """Write down which properties items have that others loaded, so that they can be searched by with their type.

        What `ingest` loads is written down as it comes. All items are looked at; done again, it does no harm.
        """
        from stacyard.ingestor import commands

        with open_platform() as platform:
            commands.survey_properties(collection or [], platform=platform, console=_console(), dry_run=dry_run)


def _add_runs(runs: typer.Typer, open_platform: Open) -> None:
    @runs.command("list")
    def list_runs(
        collection: Annotated[str | None, typer.Option(help="Only those of this collection.")] = None,
        state: Annotated[Ended | None, typer.Option(help="Only those that have ended, or that have not.")] = None,
        since: Annotated[
            datetime | None,
            typer.Option(parser=_instant, metavar="TIME", help="Only those begun since, as 2026-05-01 or with a time."),
        ] = None,
        limit: Limit = 50,
        as_json: Json = False,
    ) -> None:
        """The latest runs and what became of what they found."""
        from stacyard.ingestor import commands, report
        from stacyard.ingestor.reports.data import run_document

        finished = None if state is None else state is Ended.FINISHED
        with open_platform() as platform:
            found = commands.list_runs(
                platform=platform, collection=collection, finished=finished, since=since, limit=limit
            )
        if as_json:
            _print_json([run_document(run, counts) for run, counts in found])
        else:
            report.print_runs(found, _console())

    @runs.command()
    def show(run: Run, as_json: Json = False) -> None:
        """One run: its counts, and why something was not loaded."""
        from stacyard.ingestor import commands, report

        with open_platform() as platform:
            summary = commands.show_run(run, platform=platform)
        if as_json:
            _print_json(summary.to_json())
        else:
            report.print_summary(summary, _console())

    @runs.command()
    def report(
        run: Run,
        html: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Write a page to read in a browser.", dir_okay=False)
        ] = None,
        as_json: Json = False,
    ) -> None:
        """One run in figures: its speed, bytes, stages, quality, reasons of what was not loaded, slowest tasks."""
        from stacyard.ingestor import commands
        from stacyard.ingestor.report import print_report
        from stacyard.ingestor.reports.page import write_page

        with open_platform() as platform:
            figures = commands.report_run(run, platform=platform)
        if html is not None:
            try:
                write_page(figures, html)
            except OSError as error:
                raise typer.BadParameter(f"{html} cannot be written: {error.strerror}", param_hint="--html") from error
        if as_json:
            _print_json(figures.to_json())
        elif html is None:
            print_report(figures, _console())

    @runs.command()
    def failed(
        run: Annotated[int | None, typer.Argument(help="Number of a run; none: all runs.")] = None,
        *,
        state: Annotated[NotLoaded | None, typer.Option(help="Only these.")] = None,
        reason: Reason = None,
        item: Annotated[str | None, typer.Option(help="Only those with this text in the item's id.")] = None,
        limit: Limit = 1000,
        as_json: Json = False,
    ) -> None:
        """What failed or was rejected, and why."""
        from stacyard.ingestor import commands, report
        from stacyard.ingestor.ledger import State

        states = [State(each) for each in ([state] if state else NotLoaded)]
        with open_platform() as platform:
            outcomes = commands.failed_tasks(
                run, platform=platform, states=states, reason=reason, item=item, limit=limit
            )
        if as_json:
            _print_json([report.outcome_document(outcome) for outcome in outcomes])
        else:
            report.print_outcomes(outcomes, _console())


def _add_retry_and_stop(runs: typer.Typer, open_platform: Open) -> None:
    @runs.command()
    def retry(run: Run, reason: Reason = None) -> None:
        """Try what failed in a run once more."""
        from stacyard.ingestor import commands

        with open_platform() as platform:
            summary = commands.retry_run(run, platform=platform, console=_console(), reason=reason)
        raise typer.Exit(summary.exit_code)

    @runs.command()
    def stop(run: Run) -> None:
        """End the pods that work on a run; what they had not done is kept for the next command."""
        from stacyard.ingestor import commands

        commands.stop_on_kubernetes(run)


@contextmanager
def _from_environment() -> Iterator[Platform]:
    from stacyard.core.settings import DatabaseSettings, StorageSettings
    from stacyard.ingestor.run import Platform
    from stacyard.ingestor.settings import IngestorSettings

    yield Platform(database=DatabaseSettings(), storage=StorageSettings(), settings=IngestorSettings())


def _console() -> Console:
    from rich.console import Console

    return Console()


def _print_json(document: object) -> None:
    import json

    typer.echo(json.dumps(document, indent=2))


def say_errors(run: Callable[[], object]) -> None:
    """Run a command line: errors of ours are one sentence; STACYARD_DEBUG=1 shows where they came from."""
    from pydantic import ValidationError

    from stacyard.core.errors import StacyardError

    try:
        run()
    except (StacyardError, ValidationError) as error:
        if os.environ.get("STACYARD_DEBUG") == "1":
            raise
        if isinstance(error, ValidationError):
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
            typer.echo(f"stacyard: a setting of {error.title} is wrong: {'; '.join(faults)}", err=True)
            sys.exit(2)
        typer.echo(f"stacyard: {error}", err=True)
        sys.exit(error.exit_code)


def main() -> None:
    """The console script `stacyard-ingest`: database and storage come from the environment."""
    app = typer.Typer(
        help="Brings imagery and vector layers into a stacyard.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    add_commands(app, _from_environment)
    say_errors(app)


if __name__ == "__main__":
    main()
