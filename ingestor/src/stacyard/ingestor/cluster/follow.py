"""Watching a run that pods work on: the ledger for what is done, the Job for what keeps it from being done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kubernetes.client import V1Job

from stacyard.ingestor.cluster.api import ApiAway, JobApi
from stacyard.ingestor.cluster.manifest import job_name
from stacyard.ingestor.cluster.settings import ClusterSettings
from stacyard.ingestor.cluster.status import (
    Trouble,
    condition,
    creation_trouble,
    failure,
    has_ended,
    pods_trouble,
    ready,
)
from stacyard.ingestor.errors import RunStopped
from stacyard.ingestor.ledger import Counts, Ledger

_POLL_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time as we see it: monotonic seconds, and how they are spent."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the API says of a Job: the Job itself unless it is gone, what is wrong with its pods, why it has failed."""

    job: V1Job | None = None
    trouble: Trouble | None = None
    failure: str | None = None


class Follower:
    """Watches a run and its Job until the ledger has nothing more to do."""

    def __init__(
        self,
        run: int,
        api: JobApi,
        *,
        ledger: Ledger,
        settings: ClusterSettings,
        report: Callable[[Counts], None],
        say: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._run = run
        self._name = job_name(run)
        self._api = api
        self._ledger = ledger
        self._patience = settings.patience_seconds
        self._report = report
        self._say = say
        self._clock = clock or Clock()
        self._pause = _POLL_SECONDS
        self._ask_at = 0.0
        self._said: set[str] = set()
        self._failed_pods = 0
        self._away_since: float | None = None
        self._away_pause = _POLL_SECONDS
        self._stuck_since: float | None = None

    def follow(self, interrupted: Callable[[], bool]) -> bool:
        """Watch until nothing waits; False if it was interrupted before, which leaves the Job to its work.

        `report` gets the counts of the ledger, `say` a sentence once for each thing that is wrong.

        Raises:
            RunStopped: the Job has failed, was deleted or gets no pod to start; or the API is away for too long.
        """
        while not interrupted():
            if self._look():
                return True
            self._wait(interrupted)
        self._say(
            f"Job {self._name} goes on without us: run the same command to follow it again, "
            f"or `stacyard runs stop {self._run}` to end it"
        )
        return False

    def _look(self) -> bool:
        """Compare Job and ledger once; True if the run has ended."""
        seen = self._ask() if self._clock.now() >= self._ask_at else None
        # the ledger is read after the Job: what a Job that has ended did is written down
        started = self._clock.now()
        self._report(self._ledger.counts(self._run))
        # counting a long run takes longer; it must not become the work
        self._pause = max(_POLL_SECONDS, 20 * (self._clock.now() - started))
        if self._ledger.finish(self._run) or self._ledger.run(self._run).finished_at:
            return True
        if seen:
            self._judge(seen)
        return False

    def _ask(self) -> _Seen | None:
        """How the Job stands; None if the API does not answer."""
        try:
            job = self._api.read(self._name)
            seen = self._inspect(job) if job else _Seen()
        except ApiAway as error:
            self._miss(error)
            return None
        self._away_since, self._away_pause = None, _POLL_SECONDS
        return seen

    def _inspect(self, job: V1Job) -> _Seen:
        failed = (job.status.failed or 0) if job.status else 0
        # while pods work, the others are looked at only after another has failed
        well = ready(job) and failed <= self._failed_pods and not has_ended(job)
        if well or condition(job, "Suspended"):
            return _Seen(job=job)
        self._failed_pods = failed
        pods = self._api.pods(self._name)
        trouble = pods_trouble(pods) if pods else creation_trouble(self._api.warnings(self._name))
        return _Seen(job=job, trouble=trouble, failure=failure(job, pods))

    def _judge(self, seen: _Seen) -> None:
        job, trouble = seen.job, seen.trouble
        if job is None:
            raise RunStopped(f"Job {self._name} was deleted before the run ended: run the same command again to go on")
        if seen.failure:
            raise RunStopped(f"Job {self._name} has failed, {seen.failure}; then run the same command again to go on")
        if condition(job, "Complete"):
            raise RunStopped(
                f"Job {self._name} has ended, but something still waits: run the same command again to go on"
            )
        if trouble and trouble.kind not in self._said:
            self._said.add(trouble.kind)
            self._say(f"{trouble.sentence}.")
        if trouble is None or trouble.starts or ready(job):
            self._stuck_since = None
            return
        now = self._clock.now()
        self._stuck_since = now if self._stuck_since is None else self._stuck_since
        if now - self._stuck_since > self._patience:
            self._api.delete(self._name, uid=job.metadata.uid if job.metadata else None)
            raise RunStopped(
                f"Job {self._name} was removed, since none of its pods started within {self._patience:g} s: "
                f"{trouble.sentence}; then run the same command again to go on"
            )

    def _miss(self, error: ApiAway) -> None:
        now = self._clock.now()
        self._away_since = now if self._away_since is None else self._away_since
        if now - self._away_since > self._patience:
            raise RunStopped(
                f"{error}. It has not for {self._patience:g} s; Job {self._name} goes on without us: "
                "run the same command to follow it again"
            ) from error
        if "away" not in self._said:
            self._said.add("away")
            self._say(f"{error}. The Job goes on; we ask again.")
        self._ask_at = now + self._away_pause
        self._away_pause = min(2 * self._away_pause, _LONGEST_PAUSE_SECONDS)

    def _wait(self, interrupted: Callable[[], bool]) -> None:
        """Sleep in short naps, so that an interruption is seen at once."""
        until = self._clock.now() + self._pause
        while not interrupted() and (left := until - self._clock.now()) > 0:
            self._clock.sleep(min(left, 0.2))
