"""How a Job stands, and what keeps it from its work: one sentence with the remedy, from Job, pods and events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kubernetes.client import CoreV1Event, V1ContainerStateTerminated, V1Job, V1Pod, V1PodStatus

from stacyard.ingestor.cluster.manifest import CONFIGURATION_EXIT_CODE

_LONGEST = 300

_IMAGE = "see that STACYARD_CLUSTER_IMAGE is right and that the nodes may pull it"
_START = "see that the image has stacyard-ingest on its path"
#: reasons of the kubelet why a container waits and will not start by itself, and what to do about them
_WAITING = {
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "InvalidImageName": _IMAGE,
    "CreateContainerConfigError": "see that the Secret and the ConfigMap that STACYARD_CLUSTER_DATABASE_SECRET and "
    "STACYARD_CLUSTER_CONFIG_MAP name are in the namespace",
    "CreateContainerError": _START,
    "RunContainerError": _START,
}
_UNSCHEDULABLE = (
    "add nodes, or ask for less with STACYARD_CLUSTER_CPU, _MEMORY and _EPHEMERAL_STORAGE, "
    "or see STACYARD_CLUSTER_NODE_SELECTOR and _TOLERATIONS"
)
_NO_PODS = "see that the service account is in the namespace and that its quota and policies admit the pods"
_MEMORY = "give the pods more with STACYARD_CLUSTER_MEMORY, or fewer processes with STACYARD_CLUSTER_CPU"
_CONFIGURATION = "mend the ConfigMap or the Secret of the pods"
_DISK = "give the pods more with STACYARD_CLUSTER_EPHEMERAL_STORAGE"
_DEADLINE = "raise STACYARD_CLUSTER_DEADLINE_SECONDS, or STACYARD_CLUSTER_PARALLELISM"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One thing that is wrong. `kind` is the same when several pods share it; `starts` says that the pod got to run."""

    kind: str
    sentence: str
    starts: bool


def condition(job: V1Job, kind: str) -> tuple[str, str] | None:
    """Reason and message of a condition of the Job that holds now; None if it does not."""
    for each in (job.status.conditions if job.status else None) or []:
        if each.type == kind and each.status == "True":
            return each.reason or kind, each.message or ""
    return None


def has_ended(job: V1Job) -> bool:
    """Whether no pod of the Job runs any more, or will."""
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None


def ready(job: V1Job) -> int:
    """How many pods of the Job are at work."""
    return (job.status.ready or 0) if job.status else 0


def pod_trouble(pod: V1Pod) -> Trouble | None:
    """What is wrong with a pod; None if it works, has done its work, is about to start, or was taken away."""
    status, name = pod.status, pod.metadata.name if pod.metadata else None
    if status is None or _was_taken_away(pod, status):
        return None
    if status.phase == "Failed" and status.reason == "Evicted":
        return _trouble("Evicted", f"pod {name} was evicted: {_one_line(status.message)}", _DISK, starts=True)
    for container in status.container_statuses or []:
        if container.state and (waiting := container.state.waiting) and waiting.reason in _WAITING:
            what = f"pod {name} does not start ({waiting.reason}: {_one_line(waiting.message)})"
            return _trouble(_WAITING[waiting.reason], what, _WAITING[waiting.reason], starts=False)
        if container.state and (ended := container.state.terminated) and ended.exit_code != 0:
            return _ended(name, ended)
    for each in status.conditions or []:
        if each.type == "PodScheduled" and each.status == "False" and each.reason == "Unschedulable":
            what = f"pod {name} finds no node ({_one_line(each.message)})"
            return _trouble("Unschedulable", what, _UNSCHEDULABLE, starts=False)
    return None


def _was_taken_away(pod: V1Pod, status: V1PodStatus) -> bool:
    """Whether a pod was deleted or lost its node; what it ended with then is no fault of its own."""
    deleted = pod.metadata is not None and pod.metadata.deletion_timestamp is not None
    disrupted = any(each.type == "DisruptionTarget" and each.status == "True" for each in status.conditions or [])
    # an eviction is told of even if the node was short of something, since that comes again
    return deleted or (disrupted and status.reason != "Evicted")


def pods_trouble(pods: Sequence[V1Pod]) -> Trouble | None:
    """What is wrong with the newest of the pods that have a trouble."""
    newest = sorted(pods, key=lambda pod: (pod.metadata and pod.metadata.creation_timestamp) or _LONG_AGO, reverse=True)
    return next((trouble for pod in newest if (trouble := pod_trouble(pod))), None)


def creation_trouble(events: Sequence[CoreV1Event]) -> Trouble | None:
    """Why a Job could make no pod, from its warnings."""
    for event in reversed(events):
        if event.reason == "FailedCreate":
            return _trouble("FailedCreate", f"no pod can be made ({_one_line(event.message)})", _NO_PODS, starts=False)
    return None


def failure(job: V1Job, pods: Sequence[V1Pod]) -> str | None:
    """Why a Job has failed, with the pod that shows it; None if it has not."""
    failed = condition(job, "Failed")
    if failed is None:
        return None
    reason, message = failed
    if reason == "DeadlineExceeded":
        return f"it was active for longer than it may: {_DEADLINE}"
    trouble = pods_trouble(pods)
    return f"{reason}: {trouble.sentence if trouble else _one_line(message)}"


def _ended(name: str | None, ended: V1ContainerStateTerminated) -> Trouble:
    reason = ended.reason or "Error"
    if reason == "OOMKilled":
        return _trouble(reason, f"pod {name} took more memory than it may", _MEMORY, starts=True)
    last_words = [line.strip() for line in (ended.message or "").splitlines() if line.strip()][-1:]
    what = f"pod {name} ended with exit code {ended.exit_code} ({_one_line(*last_words) if last_words else reason})"
    look = _CONFIGURATION if ended.exit_code == CONFIGURATION_EXIT_CODE else f"`kubectl logs {name}` says more"
    return _trouble(f"exit code {ended.exit_code}", what, look, starts=True)


def _trouble(kind: str, what: str, remedy: str, *, starts: bool) -> Trouble:
    return Trouble(kind=kind, sentence=f"{what}: {remedy}", starts=starts)


def _one_line(text: str | None) -> str:
    """A message of the cluster as part of a sentence."""
    line = " ".join((text or "no reason is given").split()).rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
