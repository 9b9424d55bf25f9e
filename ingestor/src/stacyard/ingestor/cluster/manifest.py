"""The Kubernetes Job of a run, as a pure function of the run and the settings.

Tasks are not dealt out to the indexes of the Job beforehand: every pod takes its tasks from the ledger's queue until
none waits, so a slow pod holds up nobody and a lost one's tasks go to the others. What follows from the number of tasks
is only how many pods are worth starting. All of them run at once, since an index that starts after the queue is empty
would have nothing to do; so completions and parallelism are the same number.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any

from stacyard.ingestor.cluster.settings import ClusterSettings
from stacyard.ingestor.ledger import Run

MANAGER_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "stacyard-ingest"
#: which run of which ledger a Job is for: two ledgers that share a namespace both have a run 1
STARTED_ANNOTATION = "stacyard/run-started-at"
CONNECTIONS_ANNOTATION = "stacyard/connections-per-pod"

#: exit code of a worker whose configuration is wrong, which no other pod would find right
CONFIGURATION_EXIT_CODE = 2

_CONTAINER = "ingest"
_WORK = "/var/cache/stacyard"
# a worker that is asked to end gives its tasks back, which waits at most for the database's patience of 20 s
_GRACE_SECONDS = 60
_RETRIES_PER_INDEX = 3


def job_name(run: int) -> str:
    """The name of a run's Job: the same each time, so that there is one."""
    return f"stacyard-ingest-run-{run}"


def started_at(run: Run) -> str:
    """When the run was opened, in UTC with microseconds."""
    return run.started_at.astimezone(UTC).isoformat()


def pods_for(tasks: int, *, settings: ClusterSettings, taken_connections: int = 0) -> int:
    """How many pods are worth starting for so many waiting tasks; 0 if the database has no connections left for one.

    At most `parallelism`, and no more than hold `connections` together with the `taken_connections` of other runs.
    """
    wanted = min(-(-max(tasks, 1) // settings.tasks_per_pod), settings.parallelism)
    return max(0, min(wanted, (settings.connections - taken_connections) // settings.connections_per_pod))


def job_manifest(run: Run, *, tasks: int, settings: ClusterSettings, taken_connections: int = 0) -> dict[str, Any]:
    """The Indexed Job (batch/v1) of a run with so many waiting tasks, which needs Kubernetes 1.29 or newer.

    Raises:
        ValueError: the connections are all taken.
    """
    pods = pods_for(tasks, settings=settings, taken_connections=taken_connections)
    if pods < 1:
        raise ValueError(f"no pod fits beside {taken_connections} of {settings.connections} connections")
    labels = {
        "app.kubernetes.io/name": "stacyard",
        "app.kubernetes.io/component": "ingest",
        MANAGER_LABEL: MANAGER,
        "stacyard/run": str(run.id),
        "stacyard/collection": _label_value(run.collection),
    }
    annotations = {
        "stacyard/collection": run.collection,
        STARTED_ANNOTATION: started_at(run),
        CONNECTIONS_ANNOTATION: str(settings.connections_per_pod),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(run.id),
            "namespace": settings.namespace,
            "labels": labels | ({"kueue.x-k8s.io/queue-name": settings.queue} if settings.queue else {}),
            "annotations": annotations,
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            "backoffLimitPerIndex": _RETRIES_PER_INDEX,
            "podFailurePolicy": {"rules": _failure_rules()},
            # a pod that follows another bears its host name: the older one must have ended, or it would be taken for
            # dead and its tasks given away while it works
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": settings.deadline_seconds,
            "ttlSecondsAfterFinished": settings.ttl_seconds,
            "template": {"metadata": {"labels": labels}, "spec": _pod(run, settings)},
        },
    }


def _failure_rules() -> list[dict[str, Any]]:
    """The first rule that fits holds; what none fits counts against the index."""
    return [
        # a drained node or a reclaimed spot machine is no fault of the pod, whatever it ended with
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": _CONTAINER, "operator": "In", "values": [CONFIGURATION_EXIT_CODE]},
        },
    ]


def _pod(run: Run, settings: ClusterSettings) -> dict[str, Any]:
    resources = {
        "cpu": settings.cpu,
        "memory": settings.memory,
        "ephemeral-storage": settings.ephemeral_storage,
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": settings.service_account,
        # workers do not talk to Kubernetes; the token of an AWS role is a volume of its own
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user_id,
            "runAsGroup": settings.user_id,
            "fsGroup": settings.user_id,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": _CONTAINER,
                "image": settings.image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["stacyard-ingest"],
                "args": ["work", str(run.id)],
                "envFrom": [{"configMapRef": {"name": settings.config_map}}],
                "env": _environment(settings),
                "resources": {"requests": resources, "limits": dict(resources)},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "privileged": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                # the last lines of a worker that failed are its reason, which the command line shows
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{"name": "work", "mountPath": _WORK}],
            }
        ],
        "volumes": [{"name": "work", "emptyDir": {"sizeLimit": settings.ephemeral_storage}}],
    }
    if settings.node_selector:
        pod["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        pod["tolerations"] = [_toleration(taint) for taint in settings.tolerations]
    if settings.priority_class:
        pod["priorityClassName"] = settings.priority_class
    return pod


def _environment(settings: ClusterSettings) -> list[dict[str, Any]]:
    """What no ConfigMap may change: these go before its entries of the same names."""
    secret = {"name": settings.database_secret, "key": settings.database_secret_key}
    values = {
        "STACYARD_INGEST_WORK_DIRECTORY": f"{_WORK}/ingest",
        # a pod sees all cores of its node; it has these
        "STACYARD_INGEST_PROCESSES": str(settings.processes),
        "PYTHON_CPU_COUNT": str(settings.processes),
        "TMPDIR": _WORK,
        "CPL_TMPDIR": _WORK,
    }
    return [
        {"name": "STACYARD_DATABASE_INGEST_URL", "valueFrom": {"secretKeyRef": secret}},
        *({"name": name, "value": value} for name, value in values.items()),
    ]


def _toleration(taint: str) -> dict[str, str]:
    """`key=value:effect` as an object; without a value any is borne, without an effect each."""
    what, _, effect = taint.partition(":")
    key, equals, value = what.partition("=")
    found = {"key": key, "operator": "Equal", "value": value} if equals else {"key": key, "operator": "Exists"}
    return found | ({"effect": effect} if effect else {})


def _label_value(text: str) -> str:
    """A collection id as a label can hold it: 63 letters, digits, '-', '_' and '.', the ends letters or digits."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:63].strip("._-")
