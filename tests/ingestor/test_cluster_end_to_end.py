"""Runs on Kubernetes from end to end: the command line and the pods are processes that really work on the demo's data.

The cluster itself is emulated: `kubernetes_api` answers in the place of its API server, and `kubernetes_pods` starts
what the Job that our command has made asks for. S3 is moto's server. What a run comes to is held against what the same
comes to on one machine.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.cluster.manifest import job_name
from stacyard.ingestor.commands import show_run
from stacyard.ingestor.ledger import Counts
from stacyard.ingestor.sources import itemfiles

from .conftest import DEMO, Yard, recipe_of
from .kubernetes_api import Cluster, in_process_api
from .kubernetes_pods import Pod, Pods, working_pods
from .s3_server import Bucket, s3_bucket
from .test_cluster import IMAGE, NAMESPACE
from .test_interruptions import wait_until

PODS = 3
CONNECTIONS_OF_A_POD = 2
BLOCK_ITEMS = 25
# the command, with smaller blocks and a shorter pause between two looks at the Job
COMMAND = f"""
from stacyard.ingestor.cli import main
from stacyard.ingestor.cluster import follow
from stacyard.ingestor.sources import itemfiles
itemfiles._BLOCK_ITEMS = {BLOCK_ITEMS}
follow._POLL_SECONDS = 0.2
main()
"""
SETTINGS = {
    "STACYARD_CLUSTER_IMAGE": IMAGE,
    "STACYARD_CLUSTER_NAMESPACE": NAMESPACE,
    "STACYARD_CLUSTER_CPU": "1",
    "STACYARD_CLUSTER_PARALLELISM": str(PODS),
    "STACYARD_CLUSTER_TASKS_PER_POD": "4",
}


@dataclass(frozen=True)
class Work:
    """Data in the bucket below `name`, and the demo's recipe for it. What `late` fits is found last."""

    name: str
    recipe: str
    late: str
    changes: dict[str, str] = field(default_factory=dict)


WORKS = {
    work.name: work
    for work in (
        Work("items", "naip", "items/[5-9][.]", {"license: other": "license: other\n  partition: year"}),
        Work("imagery", "sentinel2_ndvi", "_2015(09|1)"),
    )
}


@dataclass(frozen=True)
class End:
    """What a run has come to. The collection's own id is written COLLECTION."""

    exit_code: int
    counts: Counts
    outcomes: list[tuple[str, str, str]]
    collection: dict[str, Any]
    items: dict[str, dict[str, Any]]
    #: ETags by key
    assets: dict[str, str]


@dataclass
class Place:
    """Where runs take from and bring to, and what they come to without a cluster."""

    yard: Yard
    bucket: Bucket
    ends: dict[str, End] = field(default_factory=dict)

    def source(self, work: Work) -> str:
        return f"s3://{self.bucket.name}/{work.name}/"

    def recipe(self, work: Work, collection: str) -> Path:
        return recipe_of(work.recipe, collection, self.yard.directory / f"{collection}.yaml", **work.changes)

    def alone(self, work: Work) -> End:
        """What the run comes to on this machine."""
        if work.name not in self.ends:
            collection = self.yard.collection_id(f"alone-{work.name}")
            self.yard.ingest(self.recipe(work, collection), self.source(work))  # type: ignore[arg-type]
            self.ends[work.name] = self.end(collection)
        return self.ends[work.name]

    def end(self, collection: str) -> End:
        [run] = self.yard.query("SELECT id FROM stacyard.ingest_run WHERE collection = %s", collection)
        summary = show_run(int(str(run["id"])), platform=self.yard.platform)
        assert summary.run.finished_at
        assert summary.counts.add_up

        def named(value: Any) -> Any:
            return json.loads(json.dumps(value).replace(collection, "COLLECTION"))

        rows = self.yard.query(
            "SELECT to_jsonb(item) - 'private' AS item FROM pgstac.items AS item WHERE collection = %s", collection
        )
        items = {row["item"]["id"]: named(row["item"]) for row in rows}  # type: ignore[index]
        assert len(items) == len(rows), "an item is in the catalog twice"
        [stored] = self.yard.query("SELECT content FROM pgstac.collections WHERE id = %s", collection)
        listing = self.bucket.client.list_objects_v2(Bucket=self.bucket.name, Prefix=f"assets/{collection}/")
        return End(
            exit_code=summary.exit_code,
            counts=summary.counts,
            outcomes=sorted((each.item_id, str(each.state), each.reason) for each in summary.outcomes),
            collection=named(stored["content"]),
            items=items,
            assets={named(each["Key"]): each["ETag"] for each in listing.get("Contents", ())},
        )


@dataclass
class Scene:
    """A run of `work` on an emulated cluster."""

    place: Place
    cluster: Cluster
    pods: Pods
    work: Work
    collection: str
    kubeconfig: Path
    go_on: threading.Event = field(default_factory=threading.Event)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[str]:
        """The command; its pods wait before what comes late in the work, until they may `go_on`."""

        def wait(method: str, path: str, _: str) -> None:
            if method == "GET" and self.cluster.jobs and re.search(self.work.late, path):
                assert self.go_on.wait(60)

        self.place.bucket.fault = wait
        arguments = [self.place.source(self.work), "--recipe", str(self.place.recipe(self.work, self.collection))]
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "ingest", *arguments, "--on", "kubernetes"],
            env={**os.environ, **self.place.yard.environment(), **SETTINGS, "KUBECONFIG": str(self.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def wait_for_pods(self) -> list[Pod]:
        """Those at work, when all have something late in hand and nothing else is left."""
        statement = (
            "SELECT count(DISTINCT worker) FILTER (WHERE state = 'running') AS workers,"
            " count(*) FILTER (WHERE state IN ('discovered', 'running') AND source::text !~ %s) AS early"
            " FROM stacyard.ingest_task WHERE collection = %s"
        )
        wanted = [{"workers": PODS, "early": 0}]
        wait_until(lambda: self.place.yard.query(statement, self.work.late, self.collection) == wanted)
        return sorted(self.pods.at_work, key=lambda pod: pod.index)

    def tasks(self) -> list[dict[str, object]]:
        """How they have ended: attempts, and the index of the pod that had the last."""
        return self.place.yard.query(
            "SELECT task.id, state::text, attempts, right(split_part(worker, ':', 1), 1)::integer AS index"
            " FROM stacyard.ingest_task AS task WHERE collection = %s AND worker IS NOT NULL ORDER BY task.id",
            self.collection,
        )

    @property
    def job(self) -> str:
        [run] = self.place.yard.query("SELECT id FROM stacyard.ingest_run WHERE collection = %s", self.collection)
        return job_name(int(str(run["id"])))

    def asked(self, method: str) -> int:
        """How often the API server was asked so for the Job, or to make one."""
        return sum(request[0] == method and "/jobs" in request[1] for request in self.cluster.requests)

    def finish(self, process: subprocess.Popen[str]) -> str:
        """What the command says, when it has come to the same end as on one machine and has tidied up."""
        self.go_on.set()
        output, _ = process.communicate(timeout=60)
        wanted, end = self.place.alone(self.work), self.place.end(self.collection)
        assert process.returncode == wanted.exit_code, output
        # an attempt that was cut short may have brought what the next finds unchanged
        assert replace(end, counts=replace(end.counts, unchanged=0)) == wanted
        said = dict(re.findall(r"(\w+) +│ +(\d+) ", output))
        assert said == {name: str(getattr(end.counts, name)) for name in said}
        assert said.keys() == {"loaded", "unchanged", "rejected", "failed", "waiting", "discovered"}
        assert all(reason in output for _, _, reason in end.outcomes)
        assert self.cluster.jobs == {}
        assert self.asked("POST") == self.asked("DELETE") == 1
        wait_until(lambda: not self.pods.at_work)
        for pod in self.pods.pods:
            if pod.exit_code == 0:
                assert list(pod.volume.rglob("*")) == [pod.volume / "ingest"]
        return output


@pytest.fixture(scope="module")
def place(database_settings: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("end-to-end")
    with pytest.MonkeyPatch.context() as patch, s3_bucket(patch) as bucket:
        patch.setattr(itemfiles, "_BLOCK_ITEMS", BLOCK_ITEMS)
        lines = gzip.decompress((DEMO / "naip" / "naip_1000.ndjson.gz").read_bytes()).splitlines(keepends=True)
        lines[70] = b"{\n"
        for number in range(10):
            bucket.put(f"items/{number}.ndjson", b"".join(lines[number::10]))
        for path in sorted((DEMO / "sentinel2_ndvi").glob("S2_*_2015*.tif")):
            bucket.put(f"imagery/{path.name}", b"no raster" if "NDVI_20150731" in path.name else path.read_bytes())
        yard = Yard(database_settings, StorageSettings(assets=f"s3://{bucket.name}/assets"), directory)
        yard.settings = yard.settings.model_copy(update={"processes": 1})
        yield Place(yard, bucket)


@pytest.fixture
def scene(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Iterator[Scene]:
    """Of the work that the test is parametrised with."""
    configuration = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    configuration |= {"STACYARD_STORAGE_ASSETS": place.yard.storage.assets, "STACYARD_INGEST_FLUSH_SECONDS": "0.05"}
    # the manifest has the last word
    configuration |= {"STACYARD_INGEST_PROCESSES": "7", "STACYARD_INGEST_WORK_DIRECTORY": "/nowhere"}
    secret = {"ingest-url": place.yard.database.url("ingest")}
    with (
        in_process_api(NAMESPACE) as cluster,
        working_pods(
            cluster,
            secrets={"stacyard-database": secret},
            config_maps={"stacyard-ingest": configuration},
        ) as pods,
    ):
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(_kubeconfig(cluster.address)))
        work = WORKS[request.param]
        scene = Scene(place, cluster, pods, work, place.yard.collection_id(work.name), kubeconfig)
        try:
            yield scene
        finally:
            scene.go_on.set()
            place.bucket.fault = None
            for process in scene.processes:
                process.kill()
                process.wait()
                process.stdout.close()  # type: ignore[union-attr]


def _kubeconfig(address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


@pytest.mark.parametrize("scene", ["items"], indirect=True)
def test_a_run_on_three_pods_of_an_emulated_cluster_ends_as_on_one_machine(scene: Scene) -> None:
    process = scene.start()
    pods = scene.wait_for_pods()
    assert [pod.index for pod in pods] == list(range(PODS))
    [sessions] = scene.place.yard.query(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stacyard-ingest'"
    )
    # the command has one of its own
    assert 1 + PODS <= int(str(sessions["count"])) <= 1 + PODS * CONNECTIONS_OF_A_POD
    output = scene.finish(process)
    assert f"Job {scene.job} was started, pods: {PODS}.\n" in output
    # they have ended by themselves
    assert [pod.exit_code for pod in scene.pods.pods] == [0] * PODS
    tasks = scene.tasks()
    assert {task["index"] for task in tasks} == set(range(PODS))
    assert {task["attempts"] for task in tasks} == {1}


@pytest.mark.parametrize("scene", ["imagery"], indirect=True)
def test_after_kill_9_of_the_command_the_same_one_follows_the_same_job_of_an_emulated_cluster(scene: Scene) -> None:
    process = scene.start()
    pods = scene.wait_for_pods()
    process.kill()
    assert "was started, pods: 3" in process.communicate()[0]
    looks = scene.asked("GET")
    again = scene.start()
    # it has read the Job, and looks what becomes of it
    wait_until(lambda: scene.asked("GET") >= looks + 2)
    assert scene.pods.at_work == pods
    output = scene.finish(again)
    assert f"Job {scene.job} is at work already, pods: {PODS}.\n" in output
    assert [pod.exit_code for pod in scene.pods.pods] == [0] * PODS
    assert {task["attempts"] for task in scene.tasks()} == {1}


@pytest.mark.parametrize("scene", ["items"], indirect=True)
def test_a_wrong_configuration_of_pods_ends_the_job_of_an_emulated_cluster_and_is_said(scene: Scene) -> None:
    scene.pods.config_maps["stacyard-ingest"]["STACYARD_INGEST_FLUSH_SECONDS"] = "never"
    process = scene.start()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 3
    told = r"has failed, PodFailurePolicy: pod \S+ ended with exit code 2 \(stacyard: .* flush_seconds: .*\): mend"
    assert re.search(told, output), output
    # its logs can still be read
    assert scene.job in scene.cluster.jobs
    assert len(scene.pods.pods) == PODS


@pytest.mark.parametrize("scene", ["imagery"], indirect=True)
def test_a_drained_and_a_killed_pod_of_an_emulated_cluster_are_replaced_and_nothing_is_lost(scene: Scene) -> None:
    process = scene.start()
    drained, killed, other = scene.wait_for_pods()
    held = [task["id"] for task in scene.tasks() if (task["state"], task["index"]) == ("running", killed.index)]
    scene.pods.drain(drained)
    wait_until(lambda: drained not in scene.pods.at_work)
    killed.kill()
    wait_until(lambda: [pod.index for pod in scene.pods.at_work] == [other.index, drained.index, killed.index])
    assert scene.cluster.jobs[scene.job]["status"]["failed"] == 1
    output = scene.finish(process)
    assert (drained.exit_code, killed.exit_code) == (3, 137)
    assert [pod.exit_code for pod in scene.pods.pods if pod not in (drained, killed)] == [0] * PODS
    # the one is nobody's fault, the other costs what was in work an attempt
    assert f"pod {killed.name} ended with exit code 137" in output
    assert drained.name not in output
    assert [task["id"] for task in scene.tasks() if task["attempts"] != 1] == held
