"""A run on Kubernetes: its Job is started or found again, followed to the end of the run, and removed.

The ledger is the truth of what is done, the Job only of who works on it. The command line is needed for neither: it may
go away and come back, and the same command follows the same Job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from kubernetes.client import V1Job

from stacyard.ingestor.cluster.api import AlreadyThere, ApiAway, JobApi
from stacyard.ingestor.cluster.follow import Clock, Follower
from stacyard.ingestor.cluster.manifest import (
    CONNECTIONS_ANNOTATION,
    STARTED_ANNOTATION,
    job_manifest,
    job_name,
    pods_for,
    started_at,
)
from stacyard.ingestor.cluster.settings import ClusterSettings
from stacyard.ingestor.cluster.status import has_ended, ready
from stacyard.ingestor.errors import RunStopped, SourceError
from stacyard.ingestor.ledger import Counts, Ledger, Run

_START_SECONDS = 60.0
# as long as the pods have to give back what they hold
_SETTLE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Started:
    """The Job of a run. `adopted` if it was there before."""

    name: str
    pods: int
    adopted: bool


def refuse_local(sources: Sequence[str], *, assets: str) -> None:
    """Make sure that pods can read the sources and write the assets.

    Raises:
        SourceError: one of them is on this machine.
    """
    for place in (*sources, assets):
        if urlsplit(place).scheme in ("", "file"):
            raise SourceError(
                f"{place} is on this machine, where no pod can reach it: copy it to object storage and name that, "
                "for example s3://bucket/prefix, or leave out --on kubernetes"
            )


def start(run: Run, api: JobApi, *, tasks: int, settings: ClusterSettings, clock: Clock | None = None) -> Started:
    """Start the Job of a run with so many waiting tasks, or find the one that works on it already.

    May be repeated, also by two at a time. A Job of this run that has ended is replaced.

    Raises:
        RunStopped: the API refuses or does not answer, the connections are all taken, or the Job is another ledger's.
    """
    clock = clock or Clock()
    deadline = clock.now() + _START_SECONDS
    pause = 0.5
    while True:
        try:
            if started := _try_to_start(run, api, tasks=tasks, settings=settings):
                return started
            why = f"Job {job_name(run.id)} is being deleted: wait until it is gone"
        except ApiAway as error:
            why = str(error)
        if clock.now() + pause > deadline:
            raise RunStopped(f"{why}; then run the same command again")
        clock.sleep(pause)
        pause = min(2 * pause, 10.0)


def _try_to_start(run: Run, api: JobApi, *, tasks: int, settings: ClusterSettings) -> Started | None:
    name = job_name(run.id)
    job = api.read(name)
    if job is None:
        taken = _taken_connections(api, beside=name)
        pods = pods_for(tasks, settings=settings, taken_connections=taken)
        if pods < 1:
            raise RunStopped(
                f"{taken} of the {settings.connections} connections that pods may hold are taken by other runs in the "
                f"namespace {settings.namespace}: wait for them, or raise STACYARD_CLUSTER_CONNECTIONS as far as the "
                "database allows; then run the same command again"
            )
        try:
            api.create(job_manifest(run, tasks=tasks, settings=settings, taken_connections=taken))
        except AlreadyThere:
            return None
        return Started(name=name, pods=pods, adopted=False)
    if not _is_of(run, job):
        raise RunStopped(
            f"the namespace {settings.namespace} has a Job {name} of another ledger's run {run.id}: give each database "
            "a namespace of its own with STACYARD_CLUSTER_NAMESPACE"
        )
    if job.metadata and job.metadata.deletion_timestamp:
        return None
    if has_ended(job):
        api.delete(name, uid=job.metadata.uid if job.metadata else None)
        return None
    return Started(name=name, pods=_parallelism(job), adopted=True)


def stop(run: int, api: JobApi) -> None:
    """End the Job of a run; what its pods have in work they give back. Nothing happens if there is none.

    Raises:
        RunStopped: the API refuses or does not answer.
    """
    api.delete(job_name(run))


def clean_up(run: Run, api: JobApi, *, clock: Clock | None = None) -> None:
    """Remove the Job of a finished run, once its pods have ended; the cluster removes later what this cannot."""
    clock = clock or Clock()
    deadline = clock.now() + _SETTLE_SECONDS
    name = job_name(run.id)
    try:
        while (job := api.read(name)) and _is_of(run, job):
            if has_ended(job) or not ready(job) or clock.now() >= deadline:
                api.delete(name, uid=job.metadata.uid if job.metadata else None)
                return
            clock.sleep(1.0)
    except RunStopped:
        # the run is done all the same
        return


def work_on_cluster(
    run: Run,
    api: JobApi,
    *,
    tasks: int,
    ledger: Ledger,
    settings: ClusterSettings,
    report: Callable[[Counts], None],
    say: Callable[[str], None],
    interrupted: Callable[[], bool],
    clock: Clock | None = None,
) -> bool:
    """Have pods do the waiting tasks of a run in which all was discovered; False if interrupted before the end.

    Raises:
        RunStopped: as `start` and `Follower.follow`.
    """
    if not tasks and (ledger.finish(run.id) or ledger.run(run.id).finished_at):
        # of another command's Job the pods may have done the rest while we looked for data
        clean_up(run, api, clock=clock)
        return True
    started = start(run, api, tasks=tasks, settings=settings, clock=clock)
    say(f"Job {started.name} {'is at work already' if started.adopted else 'was started'}, pods: {started.pods}.")
    follower = Follower(run.id, api, ledger=ledger, settings=settings, report=report, say=say, clock=clock)
    if not follower.follow(interrupted):
        return False
    clean_up(run, api, clock=clock)
    return True


def _taken_connections(api: JobApi, *, beside: str) -> int:
    """How many connections the pods of other Jobs may hold."""
    return sum(
        _parallelism(job) * int((job.metadata.annotations or {}).get(CONNECTIONS_ANNOTATION, "1"))
        for job in api.jobs()
        # ours may have been made by another command since we looked
        if job.metadata and job.metadata.name != beside and not has_ended(job)
    )


def _is_of(run: Run, job: V1Job) -> bool:
    """Whether a Job of the run's name is that of the run, and not of another ledger's."""
    annotations = (job.metadata.annotations if job.metadata else None) or {}
    return bool(annotations.get(STARTED_ANNOTATION) == started_at(run))


def _parallelism(job: V1Job) -> int:
    return (job.spec.parallelism or 1) if job.spec else 1
