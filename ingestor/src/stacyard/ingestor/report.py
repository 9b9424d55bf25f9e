"""What a person sees of a run: progress while it works, and a summary that adds up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stacyard.ingestor.ledger import Counts, Outcome, Run, State
from stacyard.ingestor.load.survey import Surveyed
from stacyard.ingestor.pace import Pace, bytes_in_words, in_words, rate_in_words
from stacyard.ingestor.reports.data import RunReport, run_document, without_secrets
from stacyard.ingestor.sweep import Swept
from stacyard.ingestor.times import utc

_LINE_SECONDS = 5.0
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How a run stands. `outcomes` are what was rejected or failed, with reasons."""

    run: Run
    counts: Counts
    outcomes: Sequence[Outcome] = field(default_factory=tuple)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 if all was loaded, 1 if something was rejected, failed or still waits, 130 after an interruption."""
        if self.interrupted:
            return 130
        return 0 if self.counts.loaded == self.counts.discovered else 1

    def to_json(self) -> dict[str, Any]:
        """The summary as a JSON object."""
        return {
            **run_document(self.run, self.counts),
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "exit_code": self.exit_code,
            "outcomes": [outcome_document(outcome) for outcome in self.outcomes],
        }


class Reporter:
    """Shows how a run gets on: a bar on a terminal, else a line every few seconds if something has changed.

    How much is left, and for how long, is shown once all there is was found.
    """

    def __init__(self, console: Console, title: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._console = console
        self._title = title
        self._line_at = -_LINE_SECONDS
        self._line = ""
        self._pace = Pace()
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task(title, total=None, detail="looking for data")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, counts: Counts) -> None:
        """Show these counts."""
        now = self._clock()
        self._pace.note(counts.done, now)
        line, pace = _detail(counts), _pace(counts, self._pace)
        # while more may be found nobody knows what share is done
        total = counts.discovered if counts.complete and counts.discovered else None
        self._progress.update(self._bar, total=total, completed=counts.done, detail=", ".join([line, *pace]))
        if not self._console.is_terminal and line != self._line and now - self._line_at >= _LINE_SECONDS:
            text = ", ".join([f"{self._title}: {line}", *pace])
            self._console.print(text, highlight=False, soft_wrap=True)
            self._line, self._line_at = line, now


def print_summary(summary: RunSummary, console: Console) -> None:
    """The closing table, and every reason why something was not loaded."""
    counts = summary.counts
    table = Table(title=f"Run {summary.run.id}: {summary.run.collection}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("loaded", str(counts.loaded))
    table.add_row("  of which unchanged", str(counts.unchanged), style="dim")
    if counts.pruned:
        table.add_row("  of which pruned", str(counts.pruned), style="dim")
    table.add_row("rejected", str(counts.rejected), style="yellow" if counts.rejected else None)
    table.add_row("failed", str(counts.failed), style="red" if counts.failed else None)
    table.add_row("waiting", str(counts.waiting), end_section=True)
    table.add_row("discovered", str(counts.discovered), style="bold")
    console.print(table)
    print_outcomes(summary.outcomes, console)
    if summary.interrupted:
        console.print("Interrupted: run the same command again to go on.", style="yellow")
    elif summary.seconds:
        console.print(
            f"Took {summary.seconds:.1f} s. `stacyard runs report {summary.run.id}` says more.", highlight=False
        )
    if not counts.add_up:
        console.print("The counts do not add up: please report this run.", style="bold red")


def print_outcomes(outcomes: Sequence[Outcome], console: Console) -> None:
    """What was not loaded and why; of many the first."""
    for outcome in outcomes[:_SHOWN]:
        line = Text(f"{outcome.state} ", style="yellow" if outcome.state == "rejected" else "red")
        line.append(f"{outcome.item_id}: ", style="bold").append(without_secrets(outcome.reason), style="default")
        console.print(line, soft_wrap=True)
    if len(outcomes) > _SHOWN:
        rest = len(outcomes) - _SHOWN
        console.print(
            f"… and {rest} more: `stacyard runs failed {outcomes[0].run_id} --json` lists all", highlight=False
        )


def print_runs(runs: Sequence[tuple[Run, Counts]], console: Console) -> None:
    """A table of runs, newest first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("run", "collection", "started (UTC)", "found"):
        table.add_column(name, no_wrap=name != "collection", justify="right" if name == "found" else "left")
    # in words, because ten columns of numbers do not fit into a terminal of eighty
    table.add_column("what became of it", overflow="fold")
    for run, counts in runs:
        started = f"{utc(run.started_at):%Y-%m-%d %H:%M}"
        table.add_row(str(run.id), run.collection, started, str(counts.discovered), _in_words(run, counts))
    console.print(table)


def print_swept(swept: Swept, console: Console) -> None:
    """What a sweep came to, in a sentence or two."""
    kept = {"kept for the grace period": swept.young, "waited for by tasks": swept.waiting}
    parts = [f"{swept.listed} assets ({_megabytes(swept.listed_bytes)})"]
    parts += [f"{swept.orphans} without item ({_megabytes(swept.orphan_bytes)})"]
    parts += [f"{number} more {why}" for why, number in kept.items() if number]
    text = f"{', '.join(parts)}; deleted {swept.deleted} ({_megabytes(swept.deleted_bytes)})."
    console.print(text, highlight=False, soft_wrap=True)


def print_surveyed(surveyed: Sequence[Surveyed], console: Console, *, dry_run: bool) -> None:
    """The properties that a look at items has found, and what it comes to."""
    table = Table("collection", "property", "type", "before", box=box.SIMPLE)
    for each in surveyed:
        for name, kind in sorted(each.news.items()):
            before = each.before.get(name, "")
            table.add_row(Text(each.collection), Text(name), Text(kind), Text(before))
    if table.row_count:
        console.print(table)
    items = sum(each.items for each in surveyed)
    new = sum(name not in each.before for each in surveyed for name in each.news)
    done = "not written (--dry-run)" if dry_run else "written"
    text = f"{items} items of {len(surveyed)} collections; {new} properties new, {table.row_count - new} wider: {done}."
    console.print(text, highlight=False, soft_wrap=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def print_report(report: RunReport, console: Console) -> None:
    """The figures of a run as tables, the most important of each."""
    speed, flow = report.items_per_second, report.bytes_in_per_second
    facts = {
        "became": _in_words(report.run, report.counts),
        "took": in_words(report.seconds) + (f", {rate_in_words(speed)}" if speed else ""),
        "read": bytes_in_words(report.bytes_in) + (f", {bytes_in_words(flow)}/s" if flow else ""),
        "stored": bytes_in_words(report.bytes_out),
    }
    facts |= {"features": ", ".join(f"{number} {name}" for name, number in report.features.items())}
    console.print(f"[bold]Run {report.run.id}: {escape(report.run.collection)}")
    for name, value in facts.items():
        if value:
            console.print(f"  {name:<9}{value}", highlight=False, soft_wrap=True)
    if report.stages:
        table = _table("stage", "tasks", "seconds", "share", "p95 s", "longest s")
        whole = sum(stage.seconds for stage in report.stages) or 1.0
        for stage in report.stages[:_SHOWN]:
            numbers = (
                f"{stage.seconds:.1f}",
                f"{stage.seconds / whole:.0%}",
                f"{stage.p95:.2f}",
                f"{stage.longest:.2f}",
            )
            table.add_row(escape(stage.name), str(stage.tasks), *numbers)
        console.print(table)
    if report.rules:
        table = _table("quality rule", "passed", "warned", "rejected")
        for rule in report.rules[:_SHOWN]:
            table.add_row(escape(rule.rule), str(rule.passed), str(rule.warned), str(rule.rejected))
        console.print(table)
    for reason in report.reasons[:_SHOWN]:
        line = Text(f"{reason.items} {reason.state} ", style="yellow" if reason.state == State.REJECTED else "red")
        console.print(line.append(reason.pattern, style="default"), soft_wrap=True)
    if report.reason_groups > _SHOWN:
        console.print(f"… and {report.reason_groups - _SHOWN} more reasons", highlight=False)
    if report.slowest:
        table = _table("slowest", "seconds", "most of it in")
        for task in report.slowest:
            longest = max(task.stages, key=lambda name: task.stages[name])
            table.add_row(escape(task.item), f"{task.seconds:.2f}", escape(longest))
        console.print(table)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _in_words(run: Run, counts: Counts) -> str:
    numbers = {
        f"loaded ({counts.unchanged} unchanged)" if counts.unchanged else "loaded": counts.loaded,
        "rejected": counts.rejected,
        "failed": counts.failed,
        "waiting": counts.waiting,
    }
    words = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    return words if run.finished_at else f"{words or 'nothing yet'}; unfinished"


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """A task that was not loaded as a JSON object."""
    return {
        "run": outcome.run_id,
        "item": outcome.item_id,
        "state": str(outcome.state),
        "reason": without_secrets(outcome.reason),
        "attempts": outcome.attempts,
        "source": outcome.source,
    }


def _detail(counts: Counts) -> str:
    """What has become of how much; of a total only when it is known."""
    found = f"of {counts.discovered} done" if counts.complete else f"of {counts.discovered} found so far done"
    parts = [f"{counts.done} {found}", f"{counts.loaded} loaded"]
    parts += [f"{counts.unchanged} unchanged"] if counts.unchanged else []
    parts += [f"{counts.running} in work"] if counts.running else []
    parts += [f"{counts.rejected} rejected"] if counts.rejected else []
    parts += [f"{counts.failed} failed"] if counts.failed else []
    return ", ".join(parts)


def _pace(counts: Counts, pace: Pace) -> list[str]:
    if counts.done >= counts.discovered or not (speed := pace.per_second):
        return []
    left = pace.seconds_left(counts.discovered - counts.done) if counts.complete else None
    return [rate_in_words(speed), *([f"{in_words(left)} left"] if left is not None else [])]
