"""The command: verbs and nouns, thin, each importing what it needs only when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from stacyard.local.settings import LocalSettings

app = typer.Typer(
    help="A farm's imagery on one machine: a STAC catalog with raster and vector tiles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
runs = typer.Typer(help="The ledger of the ingestor.", no_args_is_help=True)
app.add_typer(runs, name="runs")

Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int, typer.Option(help="At most so many.", min=1)]
Run = Annotated[int, typer.Argument(help="Number of a run, as `runs list` shows it.")]
Workers = Annotated[int | None, typer.Option(help="Server processes.", min=1, max=64)]


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Check with real requests, stop, and say if all held.")] = False,
    port: Port = None,
) -> None:
    """From nothing to a map: the platform with the bundled data; Ctrl-C stops it."""
    from stacyard.local import demo as demonstration
    from stacyard.local.processes import stopped_by_signals

    settings = _settings(port=port)
    with stopped_by_signals():
        try:
            _build_explorer()
            if once:
                raise typer.Exit(demonstration.check_once(settings, _say))
            demonstration.show(settings, _say)
        except KeyboardInterrupt:
            _say("stopped")
            raise typer.Exit(130 if once else 0) from None


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is up; `down` stops it.")] = False,
) -> None:
    """Bring the platform up; Ctrl-C stops it."""
    from stacyard.local import platform
    from stacyard.local.processes import stopped_by_signals

    settings = _settings(host=host, port=port, workers=workers)
    if detach:
        _say(f"stacyard is up at {platform.detach(settings).url}; `stacyard down` stops it")
        return
    with stopped_by_signals():
        try:
            _build_explorer()
            with platform.up(settings, _say) as running:
                _say(f"stacyard is up at {running.here.url}; Ctrl-C stops it")
                platform.keep_up(running)
        except KeyboardInterrupt:
            _say("stopped")


@app.command()
def down() -> None:
    """Stop the platform that is up."""
    from stacyard.local import platform

    found = platform.down(_settings())
    _say(f"stopped {found.url}" if found else "the platform is not up")


@app.command()
def status() -> None:
    """Say whether the platform is up; the exit code is 0 if it is, and ready."""
    from stacyard.local import platform

    found = platform.status(_settings())
    if found is None:
        typer.echo("the platform is not up")
        raise typer.Exit(1)
    ready = platform.is_ready(found.url)
    typer.echo(f"{found.url} {'ready' if ready else 'not ready'} (process {found.pid})")
    raise typer.Exit(0 if ready else 1)


@app.command()
def ingest(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Files, directories, buckets, item files.")],
    recipe: Annotated[Path, typer.Option(help="The recipe of the product.", exists=True, dir_okay=False)],
) -> None:
    """Bring data into the catalog, with a progress bar and a summary that adds up."""
    from stacyard.local import ingestion
    from stacyard.local.processes import stopped_by_signals

    with stopped_by_signals():
        raise typer.Exit(ingestion.ingest(_settings(), sources, recipe, _console()).exit_code)


@runs.command("list")
def list_runs(limit: Limit = 50, as_json: Json = False) -> None:
    """The latest runs and what became of what they found."""
    from stacyard.ingestor import commands, report
    from stacyard.local.platform import database

    with database(_settings()) as connections:
        found = commands.list_runs(database=connections, limit=limit)
    if as_json:
        _print_json([report.run_document(run, counts) for run, counts in found])
    else:
        report.print_runs(found, _console())


@runs.command()
def show(run: Run, as_json: Json = False) -> None:
    """One run: its counts, and why something was not loaded."""
    from stacyard.ingestor import commands, report
    from stacyard.local.platform import database

    with database(_settings()) as connections:
        summary = commands.show_run(run, database=connections)
    if as_json:
        _print_json(summary.to_json())
    else:
        report.print_summary(summary, _console())


@runs.command()
def retry(run: Run) -> None:
    """Try what failed in a run once more."""
    from stacyard.local import ingestion
    from stacyard.local.processes import stopped_by_signals

    with stopped_by_signals():
        raise typer.Exit(ingestion.retry(_settings(), run, _console()).exit_code)


@runs.command()
def failed(
    run: Annotated[int | None, typer.Argument(help="Number of a run; none: all runs.")] = None,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """What failed or was rejected, and why."""
    from stacyard.ingestor import commands, report
    from stacyard.local.platform import database

    with database(_settings()) as connections:
        outcomes = commands.failed_tasks(run, database=connections, limit=limit)
    if as_json:
        _print_json([report.outcome_document(outcome) for outcome in outcomes])
    else:
        report.print_outcomes(outcomes, _console())


@app.command()
def migrate() -> None:
    """Create or upgrade the database."""
    from stacyard.local import platform

    done = platform.migrate_database(_settings(), _say)
    _say(f"{len(done)} steps done" if done else "the database is what this version needs")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(context: typer.Context) -> None:
    """Measure against the stock services, side by side in one run: NAME [--json FILE]; `all` for every workload."""
    from stacyard.local.bench import run_benchmarks

    raise typer.Exit(run_benchmarks(_settings(), context.args, _say))


@app.command()
def doctor() -> None:
    """Say what is missing or wrong on this machine, and how to mend it."""
    from stacyard.local.doctor import examine

    findings = list(examine(_settings()))
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "ok  " if finding.remedy is None else "FAIL" if finding.needed else "note"
        typer.echo(f"{mark}  {finding.name:<{width}}  {finding.seen}")
        if finding.remedy is not None:
            typer.echo(f"      {'':<{width}}  {finding.remedy}")
    raise typer.Exit(1 if any(finding.needed and finding.remedy for finding in findings) else 0)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def test(context: typer.Context) -> None:
    """Run all checks, or pytest alone with the arguments given."""
    from stacyard.local.checks import run_checks

    raise typer.Exit(run_checks(context.args, _say))


def _settings(**given: str | int | None) -> LocalSettings:
    from stacyard.local.settings import LocalSettings

    return LocalSettings.model_validate({name: value for name, value in given.items() if value is not None})


def _console() -> Console:
    from rich.console import Console

    return Console()


def _print_json(document: object) -> None:
    import json

    typer.echo(json.dumps(document, indent=2))


def _build_explorer() -> None:
    from stacyard.local import explorer

    try:
        explorer.build(report=_say)
    except explorer.ExplorerError as error:
        _say(f"the map will be missing, everything else works: {error}")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def main() -> None:
    """The console script: errors of ours are one sentence; STACYARD_DEBUG=1 shows where they came from."""
    from pydantic import ValidationError

    from stacyard.core.errors import StacyardError

    try:
        app()
    except (StacyardError, ValidationError) as error:
        if os.environ.get("STACYARD_DEBUG") == "1":
            raise
        if isinstance(error, ValidationError):
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
            _say(f"stacyard: a setting of {error.title} is wrong: {'; '.join(faults)}")
            sys.exit(2)
        _say(f"stacyard: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
