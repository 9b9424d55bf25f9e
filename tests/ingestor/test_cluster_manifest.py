"""The Job of a run on Kubernetes is what its schema and the security rules ask for, and wrong settings are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stacyard.core.settings import DatabaseSettings
from stacyard.ingestor.cluster.job import refuse_local
from stacyard.ingestor.cluster.manifest import job_manifest, pods_for
from stacyard.ingestor.cluster.settings import ClusterSettings
from stacyard.ingestor.errors import SourceError

from .kubernetes_api import schema_faults
from .test_cluster import IMAGE, PLAIN, a_run

RICH = PLAIN.model_copy(
    update={
        "node_selector": {"pool": "ingest"},
        "tolerations": ["ingest=spot:NoSchedule", "gpu"],
        "priority_class": "batch",
        "queue": "fields",
    }
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below the top."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in entries if isinstance(document, dict | list) else ():
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def parent_of(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


#: whose keys the operator or we choose
FREE = {"labels", "annotations", "nodeSelector", "requests", "limits"}
MANIFEST = job_manifest(a_run(), tasks=100, settings=RICH)


@given(
    tasks=st.integers(0, 10**7),
    taken=st.integers(0, 200),
    collection=st.text(min_size=1),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "cpu": st.sampled_from(["500m", "1", "2.5", "16", "200"]),
            "parallelism": st.integers(1, 1000),
            "connections": st.integers(65, 10000),
            "tasks_per_pod": st.integers(1, 10**6),
            "node_selector": st.sampled_from(["", "pool=ingest,kubernetes.io/arch=arm64"]),
            "tolerations": st.sampled_from(["", "spot", "a/b=c:NoExecute,gpu:NoSchedule"]),
            "priority_class": st.none() | st.just("batch"),
        },
    ),
)
def test_every_manifest_is_what_the_schema_of_jobs_allows_and_fits_the_connections(
    tasks: int, taken: int, collection: str, changes: dict[str, Any]
) -> None:
    settings = ClusterSettings.model_validate({"image": IMAGE, "connections": 100} | changes)
    pods = pods_for(tasks, settings=settings, taken_connections=taken)
    assert 0 <= pods <= settings.parallelism
    assert pods * settings.connections_per_pod + taken <= max(settings.connections, taken)
    assert (pods - 1) * settings.tasks_per_pod < max(tasks, 1)
    if not pods:
        assert taken + settings.connections_per_pod > settings.connections
        return
    manifest = job_manifest(a_run(collection=collection), tasks=tasks, settings=settings, taken_connections=taken)
    assert schema_faults(manifest) == []
    assert manifest["spec"]["completions"] == manifest["spec"]["parallelism"] == pods
    assert manifest == json.loads(json.dumps(manifest))
    for value in manifest["metadata"]["labels"].values():
        assert len(value) <= 63
        assert value == "" or (value[0].isalnum() and value[-1].isalnum())


def test_the_schema_finds_a_misspelt_key_anywhere_in_the_manifest() -> None:
    keys = [path for path in places(MANIFEST) if isinstance(path[-1], str)]
    assert len(keys) > 100
    for path in keys:
        misspelt = copy.deepcopy(MANIFEST)
        parent = parent_of(misspelt, path)
        parent[f"{path[-1]}x"] = parent.pop(path[-1])
        faults = schema_faults(misspelt)
        if len(path) > 1 and path[-2] in FREE:
            assert faults == []
        else:
            assert any(f"'{path[-1]}x' was unexpected" in fault for fault in faults), path


def test_the_schema_finds_a_wrong_type_anywhere_in_the_manifest() -> None:
    for path in places(MANIFEST):
        value = parent_of(MANIFEST, path)[path[-1]]
        for wrong in ("text", 7, True, None, {"not": 1}, ["not"]):
            if type(wrong) is not type(value):
                mistyped = copy.deepcopy(MANIFEST)
                parent_of(mistyped, path)[path[-1]] = wrong
                assert schema_faults(mistyped), f"{wrong!r} at {path}"


def test_pods_have_no_right_they_do_not_need_and_a_bound_for_everything() -> None:
    pod = MANIFEST["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "stacyard-ingest"
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["resources"]["limits"].keys() == {"cpu", "memory", "ephemeral-storage"}
    assert pod["volumes"] == [{"name": "work", "emptyDir": {"sizeLimit": "30Gi"}}]
    # where the root is read-only, all that is written must lie in the volume
    [mount] = container["volumeMounts"]
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    for name in ("STACYARD_INGEST_WORK_DIRECTORY", "TMPDIR", "CPL_TMPDIR"):
        assert f"{values[name]}/".startswith(f"{mount['mountPath']}/")
    assert values["STACYARD_INGEST_PROCESSES"] == "2"
    assert (container["command"], container["args"]) == (["stacyard-ingest"], ["work", "12"])
    spec = MANIFEST["spec"]
    assert (spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (86400, 86400)
    assert pod["restartPolicy"] == "Never"
    assert (pod["nodeSelector"], pod["priorityClassName"]) == ({"pool": "ingest"}, "batch")
    assert pod["tolerations"] == [
        {"key": "ingest", "operator": "Equal", "value": "spot", "effect": "NoSchedule"},
        {"key": "gpu", "operator": "Exists"},
    ]
    assert MANIFEST["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "fields"


def test_a_disruption_is_nobodys_fault_and_a_wrong_configuration_everybodys() -> None:
    disrupted, misconfigured = MANIFEST["spec"]["podFailurePolicy"]["rules"]
    # the rules hold in their order: a pod that is evicted while it starts may end with any code
    assert disrupted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert misconfigured["action"] == "FailJob"
    assert misconfigured["onExitCodes"] == {"containerName": "ingest", "operator": "In", "values": [2]}
    assert MANIFEST["spec"]["backoffLimitPerIndex"] == 3
    # the only one that goes with a failure policy
    assert MANIFEST["spec"]["podReplacementPolicy"] == "Failed"


def test_the_manifest_leads_to_the_database_and_does_not_hold_it(
    database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database_settings.url("ingest")
    monkeypatch.setenv("STACYARD_DATABASE_INGEST_URL", url)
    monkeypatch.setenv("STACYARD_CLUSTER_IMAGE", IMAGE)
    manifest = job_manifest(a_run(), tasks=1, settings=ClusterSettings())  # type: ignore[call-arg]
    assert url not in json.dumps(manifest)
    assert "postgresql://" not in json.dumps(manifest)
    [entry] = [
        entry
        for entry in manifest["spec"]["template"]["spec"]["containers"][0]["env"]
        if entry["name"] == "STACYARD_DATABASE_INGEST_URL"
    ]
    assert entry["valueFrom"] == {"secretKeyRef": {"name": "stacyard-database", "key": "ingest-url"}}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("image", "", "STACYARD_CLUSTER_IMAGE is not set"),
        ("image", "stacyard-ingestor:latest", "'stacyard-ingestor:latest' does not say which image"),
        ("namespace", "Yard", "'Yard' is no name in Kubernetes"),
        ("service_account", "default", "the service account 'default' is everybody's"),
        ("cpu", "two", "'two' is no number of cores"),
        ("cpu", "0", "'0' is no number of cores"),
        ("memory", "4", "'4' is no size: write for example 4Gi"),
        ("node_selector", "pool", "'pool' is no label of a node"),
        ("tolerations", "spot:Never", "'spot:Never' is no taint"),
        ("connections", "2", "STACYARD_CLUSTER_CONNECTIONS is 2, but one pod of 2 cores may hold 3"),
    ],
)
def test_a_wrong_setting_is_refused_with_value_and_remedy(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACYARD_CLUSTER_IMAGE", IMAGE)
    monkeypatch.setenv(f"STACYARD_CLUSTER_{name.upper()}", value)
    with pytest.raises(ValidationError) as refused:
        ClusterSettings()  # type: ignore[call-arg]
    assert sentence in str(refused.value)


def test_lists_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACYARD_CLUSTER_IMAGE", IMAGE)
    monkeypatch.setenv("STACYARD_CLUSTER_NODE_SELECTOR", "pool=ingest, kubernetes.io/arch=arm64")
    monkeypatch.setenv("STACYARD_CLUSTER_TOLERATIONS", "ingest=spot:NoSchedule, gpu")
    settings = ClusterSettings()  # type: ignore[call-arg]
    assert settings.node_selector == {"pool": "ingest", "kubernetes.io/arch": "arm64"}
    assert settings.tolerations == ["ingest=spot:NoSchedule", "gpu"]


def test_what_no_pod_can_reach_is_refused_before_anything_starts() -> None:
    refuse_local(["s3://bucket/fields", "https://stac.example.org"], assets="s3://bucket/assets")
    with pytest.raises(SourceError, match="/srv/fields is on this machine"):
        refuse_local(["s3://bucket/fields", "/srv/fields"], assets="s3://bucket/assets")
    with pytest.raises(SourceError, match="file:///assets is on this machine"):
        refuse_local(["s3://bucket/fields"], assets="file:///assets")
