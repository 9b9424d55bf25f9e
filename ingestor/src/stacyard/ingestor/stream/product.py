"""What a streaming worker serves: recipes, each with its streaming run, and who does its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stacyard.ingestor.intake import Intake
from stacyard.ingestor.queue import Task
from stacyard.ingestor.stream.arrivals import Finder

if TYPE_CHECKING:
    from stacyard.ingestor.blocks import BlockDone
    from stacyard.ingestor.pipeline import Prepared


class Workers(Protocol):
    """Who does tasks: `BlockWorkers` and `ProcessWorkers` say what each of these is."""

    @property
    def room(self) -> int:
        """How many more tasks may be submitted now."""

    @property
    def holding(self) -> Sequence[int]:
        """Ids of submitted tasks that were not collected."""

    def submit(self, task: Task) -> None:
        """Do a task soon."""

    def collect(self, seconds: float) -> Sequence[Prepared | BlockDone]:
        """What has become of tasks; waits at most so long for the first."""

    def close(self) -> None:
        """End at once."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """A recipe that the worker serves: its collection, its streaming run, and who does what."""

    collection: str
    run: int
    finder: Finder
    intake: Intake
    workers: Workers
