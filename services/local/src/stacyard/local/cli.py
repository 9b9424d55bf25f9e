"""The command: verbs and nouns, thin, each importing what it needs only when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from stacyard.ingestor.cli import add_commands, say_errors

if TYPE_CHECKING:
    from stacyard.ingestor.run import Platform
    from stacyard.local.settings import LocalSettings

app = typer.Typer(
    help="A farm's imagery on one machine: a STAC catalog with raster and vector tiles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
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


def _build_explorer() -> None:
    from stacyard.local import explorer

    try:
        explorer.build(report=_say)
    except explorer.ExplorerError as error:
        _say(f"the map will be missing, everything else works: {error}")


def _say(text: str) -> None:
    typer.echo(text, err=True)


@contextmanager
def _platform() -> Iterator[Platform]:
    from stacyard.local.ingestion import opened

    with opened(_settings()) as platform:
        yield platform


add_commands(app, _platform)


def main() -> None:
    """The console script."""
    say_errors(app)


if __name__ == "__main__":
    main()
