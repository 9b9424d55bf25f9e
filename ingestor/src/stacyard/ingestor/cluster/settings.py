"""Settings of runs on Kubernetes, prefix `STACYARD_CLUSTER_`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stacyard.core.settings import split_list

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")
_CPU = re.compile(r"\d+(\.\d+)?|\d+m")
_SIZE = re.compile(r"\d+(\.\d+)?(Ki|Mi|Gi|Ti|k|M|G|T)")
_LABEL = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_SELECTOR = re.compile(rf"{_LABEL}=[-A-Za-z0-9_.]{{0,63}}")
_TOLERATION = re.compile(rf"{_LABEL}(=[-A-Za-z0-9_.]{{1,63}})?(:(NoSchedule|PreferNoSchedule|NoExecute))?")
_MOST_PROCESSES = 64


class ClusterSettings(BaseSettings):
    """What the pods of a run on Kubernetes are, what they may take, and how patient the command line is with them."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_CLUSTER_", extra="ignore")

    image: str = Field(description="Image of the ingestor, by digest: every pod of a run does the same.")
    context: str | None = Field(
        None, description="Context of the kubeconfig. None: the pod's own account in a cluster, else the current one."
    )
    namespace: str = Field("stacyard", description="Namespace of Jobs, Secret, ConfigMap and service account.")
    service_account: str = Field(
        "stacyard-ingest", description="Service account of the pods; an AWS role that is bound to it reaches storage."
    )
    database_secret: str = Field("stacyard-database", description="Secret that holds the database URL of the ingestor.")
    database_secret_key: str = Field("ingest-url", description="Key of the URL in that Secret.")
    config_map: str = Field(
        "stacyard-ingest", description="ConfigMap whose entries become the pods' environment: `STACYARD_*`, `AWS_*`."
    )
    cpu: str = Field("2", description="Cores a pod asks for and may take; whole ones are converting processes.")
    memory: str = Field("4Gi", description="Memory a pod asks for and may take.")
    ephemeral_storage: str = Field(
        "30Gi", description="Disk a pod asks for and may take; three times the largest item of each process."
    )
    parallelism: int = Field(8, ge=1, le=1000, description="Most pods of a run.")
    connections: int = Field(
        24, ge=1, le=10000, description="Connections that the database has for the pods of all runs in the namespace."
    )
    tasks_per_pod: int = Field(
        20,
        ge=1,
        description="A run with fewer waiting tasks for each pod gets fewer pods; starting one takes its time.",
    )
    deadline_seconds: int = Field(86400, ge=60, description="A Job that is active for so long is ended.")
    ttl_seconds: int = Field(
        86400, ge=0, description="A Job that has ended is kept for so long, for its logs, if no command removes it."
    )
    patience_seconds: float = Field(
        600.0, gt=0, description="How long no pod of a Job may start, or the Kubernetes API not answer, before we stop."
    )
    node_selector: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict, description="Labels of the nodes to run on: `pool=ingest,kubernetes.io/arch=arm64`."
    )
    tolerations: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Taints that pods bear, as kubectl writes them: `ingest=spot:NoSchedule,gpu`."
    )
    priority_class: str | None = Field(None, description="Priority class of the pods.")
    queue: str | None = Field(None, description="Queue of Kueue that admits the Jobs.")
    user_id: int = Field(10001, ge=1, description="User and group that the pods run as; never root.")

    @property
    def processes(self) -> int:
        """Items that a pod converts at once: one a whole core."""
        cores = Decimal(self.cpu[:-1]) / 1000 if self.cpu.endswith("m") else Decimal(self.cpu)
        return min(max(1, int(cores)), _MOST_PROCESSES)

    @property
    def connections_per_pod(self) -> int:
        """Most that a pod holds: one for the queue and the loader, and one for each process that writes a table."""
        return 1 + self.processes

    @model_validator(mode="before")
    @classmethod
    def _has_an_image(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and not data.get("image"):
            raise ValueError("STACYARD_CLUSTER_IMAGE is not set: give the image of the ingestor, by digest")
        return data

    @field_validator("image")
    @classmethod
    def _is_pinned(cls, value: str) -> str:
        if not _IMAGE.fullmatch(value):
            raise ValueError(
                f"{value!r} does not say which image for good: write it by digest, registry/name@sha256:…, "
                "which `docker buildx imagetools inspect` shows"
            )
        return value

    @field_validator("namespace", "service_account", "database_secret", "config_map", "priority_class", "queue")
    @classmethod
    def _is_name(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError(f"{value!r} is no name in Kubernetes: use lower-case letters, digits, '-' and '.'")
        return value

    @field_validator("service_account")
    @classmethod
    def _is_of_its_own(cls, value: str) -> str:
        if value == "default":
            raise ValueError("the service account 'default' is everybody's: make one of the ingestor's own")
        return value

    @field_validator("cpu")
    @classmethod
    def _is_cpu(cls, value: str) -> str:
        if not _CPU.fullmatch(value) or not value.strip("0.m"):
            raise ValueError(f"{value!r} is no number of cores: write for example 2 or 500m")
        return value

    @field_validator("memory", "ephemeral_storage")
    @classmethod
    def _is_size(cls, value: str) -> str:
        if not _SIZE.fullmatch(value) or value.startswith("0"):
            raise ValueError(f"{value!r} is no size: write for example 4Gi or 800Mi")
        return value

    _split = field_validator("tolerations", mode="before")(split_list)

    @field_validator("node_selector", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = split_list(value)
        assert isinstance(pairs, list)  # noqa: S101 - a string becomes a list
        for pair in pairs:
            if not _SELECTOR.fullmatch(pair):
                raise ValueError(f"{pair!r} is no label of a node: write label=value, several with commas between")
        return dict(pair.split("=", 1) for pair in pairs)

    @field_validator("tolerations")
    @classmethod
    def _are_taints(cls, value: list[str]) -> list[str]:
        for taint in value:
            if not _TOLERATION.fullmatch(taint):
                raise ValueError(
                    f"{taint!r} is no taint: write key, key=value or key=value:effect, where the effect is "
                    "NoSchedule, PreferNoSchedule or NoExecute"
                )
        return value

    @model_validator(mode="after")
    def _one_pod_fits(self) -> ClusterSettings:
        if self.connections < self.connections_per_pod:
            raise ValueError(
                f"STACYARD_CLUSTER_CONNECTIONS is {self.connections}, but one pod of {self.cpu} cores may hold "
                f"{self.connections_per_pod}: raise it, or lower STACYARD_CLUSTER_CPU"
            )
        return self
