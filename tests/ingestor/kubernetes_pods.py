"""What a cluster does with the Jobs of `kubernetes_api`: it is emulated, but every pod is a process that really works.

The Job controller starts the pods of an Indexed Job, replaces those that end with an error as the Job's own rules say,
and says how the Job stands. The kubelet gives a pod the environment and the empty volume that its template asks for,
and nothing else of this process; its program finds the host name that a pod of that index has. What takes images,
nodes, limits or namespaces of the kernel is not there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from .kubernetes_api import Cluster

#: a program of the image: what stands on its path, with the host name that the kernel would say
PROGRAMS = {
    "stacyard-ingest": "import os, socket; socket.gethostname = lambda: os.environ['HOSTNAME']; "
    "from stacyard.ingestor.cli import main; main()"
}
_LOOK_SECONDS = 0.05
# a real controller waits 10 s before it replaces a pod, and each time twice as long
_BACKOFF_SECONDS = 0.2
_LAST_WORDS_BYTES = 2048


@dataclass(eq=False)
class Pod:
    """A pod of the Job `job`, a uid. `document` is what the API says of it."""

    job: str
    index: int
    document: dict[str, Any]
    process: subprocess.Popen[bytes]
    volume: Path
    log: Path
    grace_seconds: float
    #: As a container has it: 128 and the signal that killed it; None while it works
    exit_code: int | None = None
    kill_at: float | None = None
    counted: bool = False

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def disrupted(self) -> bool:
        conditions = self.document["status"].get("conditions", [])
        return any((each["type"], each["status"]) == ("DisruptionTarget", "True") for each in conditions)

    def kill(self) -> None:
        """As the kernel does it: with all processes of the container."""
        if self.exit_code is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Ask it to end, once, and kill it when its grace is over."""
        if self.kill_at is None and self.exit_code is None:
            self.kill_at = time.monotonic() + self.grace_seconds
            os.kill(self.process.pid, signal.SIGTERM)

    def delete(self) -> None:
        self.document["metadata"].setdefault("deletionTimestamp", _now())
        self.end()

    def observe(self) -> None:
        """Say in its document how it stands; one that has ended takes the rest of its processes with it."""
        if self.kill_at is not None and time.monotonic() > self.kill_at:
            self.kill()
        # not reaped before its group was killed, so that the number is nobody else's
        if self.exit_code is None and os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self.kill()
            ended = self.process.wait()
            self.exit_code = ended if ended >= 0 else 128 - ended
        code = self.exit_code
        state: dict[str, Any] = {"running": {"startedAt": self.document["metadata"]["creationTimestamp"]}}
        if code is not None:
            state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
            # of the policy FallbackToLogsOnError
            words = self.log.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace")
            state["terminated"] |= {"message": words} if code else {}
        status = {"name": "ingest", "image": "", "imageID": "", "ready": code is None, "restartCount": 0}
        phase = "Running" if code is None else "Failed" if code else "Succeeded"
        self.document["status"] |= {"phase": phase, "containerStatuses": [{**status, "state": state}]}


@dataclass
class _Tally:
    """What the controller remembers of a Job."""

    succeeded: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    failures: Counter[int] = field(default_factory=Counter)
    not_before: dict[int, float] = field(default_factory=dict)
    conditions: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Pods:
    """All pods that there were. `secrets` and `config_maps` are those of the namespace."""

    cluster: Cluster
    directory: Path
    secrets: Mapping[str, Mapping[str, str]]
    config_maps: Mapping[str, dict[str, str]]
    pods: list[Pod] = field(default_factory=list)
    fault: BaseException | None = None
    _tallies: dict[str, _Tally] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def at_work(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.exit_code is None]

    def drain(self, pod: Pod) -> None:
        """Take the pod's node away."""
        disruption = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
        with self.cluster.lock:
            pod.document["status"] |= {"conditions": [disruption], "reason": "Terminated"}
            pod.end()

    def run(self) -> None:
        """Do what is to be done, until it is over; then end all that was started."""
        try:
            while not self._over.wait(_LOOK_SECONDS):
                with self.cluster.lock:
                    self._look()
        except BaseException as error:
            self.fault = error
        finally:
            for pod in self.pods:
                pod.kill()
                pod.process.wait(10)

    def stop(self) -> None:
        self._over.set()

    def _look(self) -> None:
        jobs = {job["metadata"]["uid"]: job for job in self.cluster.jobs.values()}
        for pod in self.pods:
            pod.observe()
            if pod.job not in jobs:
                pod.delete()
            if pod.exit_code is not None and "deletionTimestamp" in pod.document["metadata"]:
                self.cluster.pods = [each for each in self.cluster.pods if each is not pod.document]
        for uid, job in jobs.items():
            self._control(job, [pod for pod in self.pods if pod.job == uid], self._tallies.setdefault(uid, _Tally()))

    def _control(self, job: dict[str, Any], pods: list[Pod], tally: _Tally) -> None:
        spec, now = job["spec"], time.monotonic()
        for pod in pods:
            if pod.exit_code is not None and not pod.counted and not tally.conditions:
                pod.counted = True
                _count(pod, spec, tally)
        working = {pod.index for pod in pods if pod.exit_code is None}
        for index in range(spec["completions"]) if not tally.conditions else ():
            due = index not in tally.succeeded | tally.failed | working and now >= tally.not_before.get(index, 0.0)
            if due and len(working) < spec["parallelism"]:
                self._start(job, index)
                working.add(index)
        if tally.conditions:
            for pod in pods:
                if pod.exit_code is None:
                    pod.delete()
        elif len(tally.succeeded) == spec["completions"]:
            tally.conditions.append(_condition("Complete", "CompletionsReached"))
        elif len(tally.succeeded | tally.failed) == spec["completions"]:
            tally.conditions.append(_condition("Failed", "FailedIndexes"))
        self.cluster.status(
            job["metadata"]["name"],
            active=len(working),
            ready=len(working),
            succeeded=len(tally.succeeded),
            failed=tally.failures.total(),
            conditions=tally.conditions,
        )

    def _start(self, job: dict[str, Any], index: int) -> None:
        name, template = job["metadata"]["name"], job["spec"]["template"]
        [container] = template["spec"]["containers"]
        host, suffix = f"{name}-{index}", uuid4().hex[:5]
        labels = {"batch.kubernetes.io/job-name": name, "batch.kubernetes.io/job-completion-index": str(index)}
        labels |= template["metadata"]["labels"]
        metadata = {"name": f"{host}-{suffix}", "labels": labels, "creationTimestamp": _now()}
        document: dict[str, Any] = {"metadata": metadata, "status": {"phase": "Pending"}}
        # programs make sockets below the volume, whose paths must be short
        volume, log = self.directory / suffix, self.directory / f"{suffix}.log"
        volume.mkdir()
        environment = self._environment(template["spec"], volume, host=host, index=index)
        command = container["command"] + container["args"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAMS[command[0]], *command[1:]],
                env=environment,
                cwd=volume,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        grace = template["spec"]["terminationGracePeriodSeconds"]
        self.pods.append(Pod(job["metadata"]["uid"], index, document, process, volume, log, grace))
        self.cluster.pods.append(document)

    def _environment(self, pod: dict[str, Any], volume: Path, *, host: str, index: int) -> dict[str, str]:
        """What the template says, in which paths below the mounted volume are those of the volume on this machine."""
        [container], [mount] = pod["containers"], pod["containers"][0]["volumeMounts"]
        assert [each["name"] for each in pod["volumes"] if "emptyDir" in each] == [mount["name"]]
        values: dict[str, str] = {}
        for source in container["envFrom"]:
            values |= self.config_maps[source["configMapRef"]["name"]]
        for entry in container["env"]:
            if secret := entry.get("valueFrom", {}).get("secretKeyRef"):
                values[entry["name"]] = self.secrets[secret["name"]][secret["key"]]
            else:
                values[entry["name"]] = entry["value"]
        root = mount["mountPath"]
        for name, value in values.items():
            if f"{value}/".startswith(f"{root}/"):
                values[name] = f"{volume}{value.removeprefix(root)}"
        # a user that is only a number has no home
        own = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HOSTNAME": host, "JOB_COMPLETION_INDEX": str(index)}
        return values | own


def _count(pod: Pod, spec: Mapping[str, Any], tally: _Tally) -> None:
    """Take down that a pod has ended, as the failure policy of its Job says."""
    if pod.exit_code == 0:
        tally.succeeded.add(pod.index)
        return
    match next((rule["action"] for rule in spec["podFailurePolicy"]["rules"] if _fits(rule, pod)), "Count"):
        case "Ignore":
            return
        case "FailJob":
            tally.conditions.append(_condition("Failed", "PodFailurePolicy"))
    tally.failures[pod.index] += 1
    if tally.failures[pod.index] > spec["backoffLimitPerIndex"]:
        tally.failed.add(pod.index)
    tally.not_before[pod.index] = time.monotonic() + _BACKOFF_SECONDS * 2 ** (tally.failures[pod.index] - 1)


def _fits(rule: Mapping[str, Any], pod: Pod) -> bool:
    if "onExitCodes" in rule:
        assert rule["onExitCodes"]["operator"] == "In"
        return pod.exit_code in rule["onExitCodes"]["values"]
    assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    return pod.disrupted


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(kind: str, reason: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": ""}


@contextmanager
def working_pods(
    cluster: Cluster,
    *,
    secrets: Mapping[str, Mapping[str, str]],
    config_maps: Mapping[str, dict[str, str]],
) -> Iterator[Pods]:
    """Have the Jobs of a cluster worked on until the end."""
    directory = Path(tempfile.mkdtemp(prefix="pods-"))
    pods = Pods(cluster, directory, secrets, config_maps)
    thread = threading.Thread(target=pods.run)
    thread.start()
    try:
        yield pods
    finally:
        pods.stop()
        thread.join()
        shutil.rmtree(directory)
    assert pods.fault is None, repr(pods.fault)
