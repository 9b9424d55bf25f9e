"""Runs on Kubernetes, on an API server of one process: the command line is expendable, and what is wrong is said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stacyard.core.settings import DatabaseSettings
from stacyard.ingestor.cluster.follow import Clock, Follower
from stacyard.ingestor.cluster.job import clean_up, start, stop, work_on_cluster
from stacyard.ingestor.cluster.manifest import job_manifest, job_name
from stacyard.ingestor.cluster.settings import ClusterSettings
from stacyard.ingestor.errors import RunStopped
from stacyard.ingestor.ledger import Counts, Run

from .conftest import Hire, Worker, found
from .kubernetes_api import Cluster, in_process_api

IMAGE = f"registry.example.org/stacyard-ingestor@sha256:{'0' * 64}"
NAMESPACE = "yard"
PLAIN = ClusterSettings.model_validate({"image": IMAGE, "namespace": NAMESPACE})


def a_run(number: int = 12, collection: str = "sentinel-2") -> Run:
    return Run(
        id=number,
        collection=collection,
        recipe="",
        recipe_hash="h",
        mode="upsert",
        cursor=None,
        sources=["s3://bucket/fields"],
        started_at=datetime(2030, 1, 1, 13, tzinfo=UTC) + timedelta(seconds=number),
        discovery_finished_at=None,
        finished_at=None,
    )


@pytest.fixture
def kubernetes() -> Iterator[Cluster]:
    with in_process_api(NAMESPACE) as cluster:
        yield cluster


@dataclass
class Watcher:
    """A command line whose time passes at once."""

    cluster: Cluster
    worker: Worker
    run: Run
    settings: ClusterSettings = field(default_factory=lambda: PLAIN)
    tasks: int = 10
    now: float = 1000.0
    counts: list[Counts] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return job_name(self.run.id)

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def work(self, interrupted: Callable[[], bool] = lambda: False) -> bool:
        return work_on_cluster(
            self.run,
            self.cluster.client(),
            tasks=self.tasks,
            ledger=self.worker.ledger,
            settings=self.settings,
            report=self.counts.append,
            say=self.said.append,
            interrupted=interrupted,
            clock=self.clock,
        )

    def follow(self) -> bool:
        follower = Follower(
            self.run.id,
            self.cluster.client(),
            ledger=self.worker.ledger,
            settings=self.settings,
            report=self.counts.append,
            say=self.said.append,
            clock=self.clock,
        )
        return follower.follow(lambda: False)


@pytest.fixture
def watcher(kubernetes: Cluster, hire: Hire, request: pytest.FixtureRequest) -> Watcher:
    """A run of ten tasks that wait, and nobody who does them."""
    worker = hire(request.node.name)
    run = worker.open_run(request.node.name, *found(*(f"item-{number}" for number in range(10))))
    return Watcher(kubernetes, worker, worker.ledger.run(run))


@dataclass
class Pods:
    """Does a task of the run each time the Job is looked at, and ends the Job when none waits."""

    watcher: Watcher
    connection: Any

    def __call__(self) -> None:
        name = self.watcher.name
        if name not in self.watcher.cluster.jobs:
            return
        done = self.connection.execute(
            "UPDATE stacyard.ingest_task SET state = 'loaded' WHERE id = ("
            "SELECT min(id) FROM stacyard.ingest_task WHERE run_id = %s AND state = 'discovered')",
            [self.watcher.run.id],
        ).rowcount
        if done:
            self.watcher.cluster.status(name, ready=1)
        else:
            self.watcher.cluster.end(name, "Complete")


@pytest.fixture
def pods(watcher: Watcher, database_settings: DatabaseSettings) -> Iterator[Pods]:
    import psycopg

    with psycopg.connect(database_settings.url("ingest"), autocommit=True) as connection:
        yield Pods(watcher, connection)


def test_a_run_is_started_followed_to_its_end_and_cleaned_up_against_an_in_process_api(
    watcher: Watcher, pods: Pods
) -> None:
    cluster = watcher.cluster
    cluster.before_read = pods
    assert watcher.work()
    assert watcher.worker.ledger.run(watcher.run.id).finished_at
    loaded = [counts.loaded for counts in watcher.counts]
    assert loaded == sorted(loaded)
    assert (loaded[-1], len(set(loaded))) == (10, 10)
    assert all(counts.add_up for counts in watcher.counts)
    assert cluster.jobs == {}
    # its pods had ended of themselves before it was removed
    assert watcher.said == [f"Job {watcher.name} was started, pods: 1."]
    assert [method for method, _ in cluster.requests].count("POST") == 1


def test_the_command_line_may_leave_and_come_back_against_an_in_process_api(watcher: Watcher, pods: Pods) -> None:
    cluster = watcher.cluster
    cluster.before_read = pods
    assert not watcher.work(lambda: watcher.now > 1004.5)
    # at once, and not when it would have looked again
    assert watcher.now < 1005
    assert f"`stacyard runs stop {watcher.run.id}` to end it" in watcher.said[-1]
    assert "run the same command to follow it again" in watcher.said[-1]
    assert watcher.name in cluster.jobs
    assert not any(method == "DELETE" for method, _ in cluster.requests)
    uid = cluster.jobs[watcher.name]["metadata"]["uid"]

    back = Watcher(cluster, watcher.worker, watcher.run)
    started = start(watcher.run, cluster.client(), tasks=10, settings=PLAIN, clock=back.clock)
    assert (started.adopted, cluster.jobs[watcher.name]["metadata"]["uid"]) == (True, uid)
    assert back.work()
    assert back.said == [f"Job {watcher.name} is at work already, pods: 1."]
    assert back.counts[0].loaded >= 3
    assert back.counts[-1].loaded == 10
    assert cluster.jobs == {}


def test_many_starts_at_once_make_one_job_against_an_in_process_api(watcher: Watcher) -> None:
    results: list[bool] = []

    def begin() -> None:
        clock = Watcher(watcher.cluster, watcher.worker, watcher.run).clock
        results.append(start(watcher.run, watcher.cluster.client(), tasks=500, settings=PLAIN, clock=clock).adopted)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] + [True] * 7
    # it takes all connections, which must not be held against one that saw no Job just before it was made
    assert watcher.cluster.jobs[watcher.name]["spec"]["parallelism"] == 8
    watcher.cluster.answers = [404]
    assert start(watcher.run, watcher.cluster.client(), tasks=500, settings=PLAIN, clock=watcher.clock).adopted


@pytest.mark.parametrize("answers", [[503], [429], [None], [500, None, 503]], ids=str)
def test_a_lost_answer_is_asked_for_again_against_an_in_process_api(
    watcher: Watcher, pods: Pods, answers: list[int | None]
) -> None:
    cluster = watcher.cluster
    cluster.before_read = pods
    # reading, listing and creating all happen, and their answers are lost on the way
    cluster.answers_after = [0, 0, *answers]
    assert start(watcher.run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock).adopted
    assert len(cluster.jobs) == 1
    cluster.answers = [0, *answers, 0]
    assert watcher.work()
    assert watcher.counts[-1].loaded == 10
    [away] = [sentence for sentence in watcher.said if "The Job goes on; we ask again." in sentence]
    assert away.startswith("the Kubernetes API ")


def test_progress_is_shown_while_the_api_is_away_which_ends_the_command_at_last_against_an_in_process_api(
    watcher: Watcher,
) -> None:
    start(watcher.run, watcher.cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)
    watcher.cluster.answers = [503] * 1000
    with pytest.raises(RunStopped, match=r"503: not now.*Job stacyard-ingest-run-\d+ goes on without us"):
        watcher.follow()
    assert 600 < watcher.now - 1000 < 700
    assert len(watcher.counts) > 250
    assert len(watcher.cluster.requests) < 40
    assert len(watcher.said) == 1


def test_a_job_that_has_ended_is_replaced_and_one_of_another_ledger_left_alone_against_an_in_process_api(
    watcher: Watcher,
) -> None:
    cluster, run = watcher.cluster, watcher.run
    start(run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)
    first = cluster.jobs[watcher.name]["metadata"]["uid"]
    cluster.end(watcher.name, "Failed", "DeadlineExceeded")
    assert not start(run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock).adopted
    assert cluster.jobs[watcher.name]["metadata"]["uid"] != first

    # of two that saw the old one, the slower must not remove the new one
    cluster.client().delete(watcher.name, uid=first)
    assert watcher.name in cluster.jobs

    cluster.jobs[watcher.name]["metadata"]["annotations"]["stacyard/run-started-at"] = "2001-01-01T00:00:00+00:00"
    with pytest.raises(RunStopped, match=r"of another ledger's run .*STACYARD_CLUSTER_NAMESPACE"):
        start(run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)
    assert watcher.name in cluster.jobs

    cluster.jobs[watcher.name]["metadata"]["annotations"]["stacyard/run-started-at"] = run.started_at.isoformat()
    cluster.jobs[watcher.name]["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    with pytest.raises(RunStopped, match="is being deleted"):
        start(run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)


def test_runs_share_the_connections_of_the_database_against_an_in_process_api(watcher: Watcher) -> None:
    cluster = watcher.cluster
    # 24 connections, three a pod
    settings = PLAIN.model_copy(update={"parallelism": 5})
    pods = [
        start(a_run(number), cluster.client(), tasks=1000, settings=settings, clock=watcher.clock).pods
        for number in (9001, 9002)
    ]
    assert pods == [5, 3]
    with pytest.raises(RunStopped, match=r"24 of the 24 connections .* STACYARD_CLUSTER_CONNECTIONS"):
        start(a_run(9003), cluster.client(), tasks=1000, settings=settings, clock=watcher.clock)
    cluster.end(job_name(9001), "Complete")
    assert start(a_run(9003), cluster.client(), tasks=1000, settings=settings, clock=watcher.clock).pods == 5


def waiting(reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [container(state)]}


def terminated(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return {"phase": "Failed", "containerStatuses": [container(state)]}


def container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "ingest", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0, "state": state}


UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu.",
        }
    ],
}


@pytest.mark.parametrize(
    ("reason", "pod", "sentence"),
    [
        ("DeadlineExceeded", terminated(143), "longer than it may: raise STACYARD_CLUSTER_DEADLINE_SECONDS"),
        ("BackoffLimitExceeded", terminated(1, message="a\nit broke\n\n"), "exit code 1 (it broke): `kubectl logs"),
        ("FailedIndexes", terminated(137, "OOMKilled"), "took more memory than it may: .*STACYARD_CLUSTER_MEMORY"),
        ("PodFailurePolicy", terminated(2, message="no database URL"), "(no database URL): mend the ConfigMap"),
        (
            "FailedIndexes",
            {"phase": "Failed", "reason": "Evicted", "message": "usage exceeds the total limit."},
            "was evicted: usage exceeds the total limit: .*STACYARD_CLUSTER_EPHEMERAL_STORAGE",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
def test_a_failed_job_is_explained_by_its_pod_against_an_in_process_api(
    watcher: Watcher, reason: str, pod: dict[str, Any], sentence: str
) -> None:
    cluster = watcher.cluster
    start(watcher.run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)
    cluster.pod("older", watcher.name, **terminated(1, message="something else"))
    cluster.pod("newest", watcher.name, **pod)
    # the controller ends those that still work; and a node may have gone before
    cluster.pod("ended", watcher.name, **terminated(143))
    cluster.pods[-1]["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    cluster.pod("drained", watcher.name, **terminated(3), conditions=[disruption])
    cluster.pod("of-another-run", "stacyard-ingest-run-0", **terminated(99))
    cluster.end(watcher.name, "Failed", reason)
    with pytest.raises(RunStopped) as stopped:
        watcher.follow()
    message = str(stopped.value)
    assert all(part in message for part in sentence.split(".*"))
    assert message.startswith(f"Job {watcher.name} has failed, ")
    assert message.endswith("; then run the same command again to go on")
    assert "\n" not in message
    # its logs can still be read
    assert watcher.name in cluster.jobs


def test_a_pod_that_fails_beside_working_ones_is_told_of_once_against_an_in_process_api(
    watcher: Watcher, pods: Pods
) -> None:
    cluster = watcher.cluster

    def one_fails() -> None:
        pods()
        if watcher.name in cluster.jobs and len(watcher.counts) in (3, 5):
            cluster.pod(f"weak-{len(watcher.counts)}", watcher.name, **terminated(3, message="the disk is full"))
            cluster.status(watcher.name, failed=len(cluster.pods))

    cluster.before_read = one_fails
    assert watcher.work()
    assert watcher.said[1:] == [
        "pod weak-3 ended with exit code 3 (the disk is full): `kubectl logs weak-3` says more."
    ]


@pytest.mark.parametrize(
    ("pod", "sentence"),
    [
        (
            waiting("ImagePullBackOff", "Back-off pulling image"),
            "(ImagePullBackOff: Back-off pulling image): see that STAC",
        ),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), 'secret "x" not found): see that the Secret'),
        (UNSCHEDULABLE, "finds no node (0/3 nodes are available: 3 Insufficient cpu): add nodes, or ask for less"),
        (None, "no pod can be made (error looking up service account): see that the service account is in the namesp"),
    ],
    ids=["image", "secret", "nodes", "account"],
)
def test_pods_that_do_not_start_are_told_of_and_given_up_after_patience_against_an_in_process_api(
    watcher: Watcher, pod: dict[str, Any] | None, sentence: str
) -> None:
    cluster = watcher.cluster
    start(watcher.run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)
    if pod:
        cluster.pod("first", watcher.name, **pod)
    else:
        about = {"kind": "Job", "name": watcher.name, "namespace": NAMESPACE}
        message = "error looking up service account"
        event = {"involvedObject": about, "metadata": {"name": "e"}, "reason": "FailedCreate", "message": message}
        cluster.events.append({**event, "type": "Warning"})
    with pytest.raises(RunStopped) as stopped:
        watcher.follow()
    assert sentence in str(stopped.value)
    assert "was removed, since none of its pods started within 600 s" in str(stopped.value)
    assert 600 < watcher.now - 1000 < 610
    [said] = watcher.said
    assert sentence in said
    assert cluster.jobs == {}
    assert watcher.worker.ledger.counts(watcher.run.id).waiting == 10


def test_a_queue_may_hold_a_job_for_as_long_as_it_likes_against_an_in_process_api(watcher: Watcher, pods: Pods) -> None:
    cluster = watcher.cluster
    cluster.pod("none-yet", watcher.name, **UNSCHEDULABLE)

    def hold() -> None:
        if watcher.now < 2000 and watcher.name in cluster.jobs:
            cluster.status(watcher.name, conditions=[{"type": "Suspended", "status": "True"}], active=0)
        elif watcher.name in cluster.jobs:
            cluster.status(watcher.name, conditions=[])
            pods()

    cluster.before_read = hold
    assert watcher.work()
    assert watcher.now > 2000
    assert len(watcher.said) == 1


def test_a_job_that_is_gone_or_ends_too_early_stops_the_command_against_an_in_process_api(watcher: Watcher) -> None:
    cluster = watcher.cluster
    start(watcher.run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)
    cluster.end(watcher.name, "Complete")
    with pytest.raises(RunStopped, match="has ended, but something still waits"):
        watcher.follow()
    stop(watcher.run.id, cluster.client())
    stop(watcher.run.id, cluster.client())
    assert cluster.jobs == {}
    with pytest.raises(RunStopped, match="was deleted before the run ended: run the same command again"):
        watcher.follow()
    # what is done is done: the Job may be gone by then
    assert watcher.worker.ledger.counts(watcher.run.id).waiting == 10


def test_pods_that_still_tidy_up_are_waited_for_a_while_against_an_in_process_api(watcher: Watcher) -> None:
    cluster = watcher.cluster
    start(watcher.run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)
    cluster.status(watcher.name, ready=1)
    clean_up(watcher.run, cluster.client(), clock=watcher.clock)
    assert cluster.jobs == {}
    assert 1059 < watcher.now < 1062


def test_the_job_is_removed_too_if_its_pods_did_the_rest_while_data_was_looked_for_against_an_in_process_api(
    watcher: Watcher, pods: Pods
) -> None:
    cluster, run, ledger = watcher.cluster, watcher.run, watcher.worker.ledger
    start(run, cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)
    for _ in range(11):
        pods()
    watcher.tasks = 0
    job = cluster.jobs[watcher.name]
    annotations = job["metadata"]["annotations"]
    job["metadata"]["annotations"] = {**annotations, "stacyard/run-started-at": "2001-01-01T00:00:00+00:00"}
    assert watcher.work()
    # that is another ledger's
    assert cluster.jobs == {watcher.name: job}
    job["metadata"]["annotations"] = annotations
    # the run is finished by now
    assert watcher.work()
    assert cluster.jobs == {}
    assert ledger.run(run.id).finished_at
    assert [method for method, _ in cluster.requests].count("POST") == 1


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "(401: not now): log in to the cluster again"),
        (403, "does not let us get Jobs in the namespace yard (403: not now): give the account of the command line"),
        (422, "see the STACYARD_CLUSTER_ settings, and that the cluster is Kubernetes 1.29 or newer"),
    ],
)
def test_a_refusal_is_not_repeated_and_says_what_to_change_against_an_in_process_api(
    watcher: Watcher, status: int, sentence: str
) -> None:
    watcher.cluster.answers = [status]
    with pytest.raises(RunStopped) as stopped:
        start(watcher.run, watcher.cluster.client(), tasks=10, settings=PLAIN, clock=watcher.clock)
    assert sentence in str(stopped.value)
    assert len(watcher.cluster.requests) == 1


def test_the_server_refuses_a_key_it_does_not_know_against_an_in_process_api(kubernetes: Cluster) -> None:
    import httpx

    manifest = job_manifest(a_run(), tasks=1, settings=PLAIN)
    manifest["spec"]["backoffLimitPerIndices"] = 3
    url = f"{kubernetes.address}/apis/batch/v1/namespaces/{NAMESPACE}/jobs?fieldValidation=Strict"
    assert httpx.post(url, json=manifest).status_code == 400
    assert kubernetes.jobs == {}
