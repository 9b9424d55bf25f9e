"""What a person sees of a run: progress while it works, and a summary that adds up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stacyard.ingestor.ledger import Counts, Outcome, Run

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
    """Shows counts while a run works: a bar on a terminal, else a line now and then when something has changed."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._line_at = 0.0
        self._line = ""
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
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
        detail = _detail(counts)
        done = counts.loaded + counts.rejected + counts.failed
        self._progress.update(self._bar, total=counts.discovered or None, completed=done, detail=detail)
        now = time.monotonic()
        line = f"{self._title}: {done} of {counts.discovered} done, {detail}"
        if not self._console.is_terminal and line != self._line and now - self._line_at >= _LINE_SECONDS:
            self._console.print(line, highlight=False, soft_wrap=True)
            self._line, self._line_at = line, now


def print_summary(summary: RunSummary, console: Console) -> None:
    """The closing table, and every reason why something was not loaded."""
    counts = summary.counts
    table = Table(title=f"Run {summary.run.id}: {summary.run.collection}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("loaded", str(counts.loaded))
    table.add_row("  of which unchanged", str(counts.unchanged), style="dim")
    table.add_row("rejected", str(counts.rejected), style="yellow" if counts.rejected else None)
    table.add_row("failed", str(counts.failed), style="red" if counts.failed else None)
    table.add_row("waiting", str(counts.waiting), end_section=True)
    table.add_row("discovered", str(counts.discovered), style="bold")
    console.print(table)
    print_outcomes(summary.outcomes, console)
    if summary.interrupted:
        console.print("Interrupted: run the same command again to go on.", style="yellow")
    elif summary.seconds:
        console.print(f"Took {summary.seconds:.1f} s.", highlight=False)
    if not counts.add_up:
        console.print("The counts do not add up: please report this run.", style="bold red")


def print_outcomes(outcomes: Sequence[Outcome], console: Console) -> None:
    """What was not loaded and why; of many the first."""
    for outcome in outcomes[:_SHOWN]:
        line = Text(f"{outcome.state} ", style="yellow" if outcome.state == "rejected" else "red")
        line.append(f"{outcome.item_id}: ", style="bold").append(outcome.reason, style="default")
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
        started = f"{run.started_at:%Y-%m-%d %H:%M}"
        table.add_row(str(run.id), run.collection, started, str(counts.discovered), _in_words(run, counts))
    console.print(table)


def _in_words(run: Run, counts: Counts) -> str:
    numbers = {
        f"loaded ({counts.unchanged} unchanged)" if counts.unchanged else "loaded": counts.loaded,
        "rejected": counts.rejected,
        "failed": counts.failed,
        "waiting": counts.waiting,
    }
    words = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    return words if run.finished_at else f"{words or 'nothing yet'}; unfinished"


def run_document(run: Run, counts: Counts) -> dict[str, Any]:
    """A run as a JSON object."""
    return {
        "run": run.id,
        "collection": run.collection,
        "sources": run.sources,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "counts": asdict(counts),
    }


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """A task that was not loaded as a JSON object."""
    return {
        "run": outcome.run_id,
        "item": outcome.item_id,
        "state": str(outcome.state),
        "reason": outcome.reason,
        "attempts": outcome.attempts,
        "source": outcome.source,
    }


def _detail(counts: Counts) -> str:
    parts = [f"{counts.loaded} loaded"]
    parts += [f"{counts.unchanged} unchanged"] if counts.unchanged else []
    parts += [f"{counts.running} in work"] if counts.running else []
    parts += [f"{counts.rejected} rejected"] if counts.rejected else []
    parts += [f"{counts.failed} failed"] if counts.failed else []
    return ", ".join(parts)
