"""The few calls of the Kubernetes API that a run needs, each with a timeout, their errors sorted by what mends them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import urllib3
from kubernetes.client import (
    ApiClient,
    BatchV1Api,
    Configuration,
    CoreV1Api,
    CoreV1Event,
    V1DeleteOptions,
    V1Job,
    V1Pod,
    V1Preconditions,
)
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from stacyard.ingestor.cluster.manifest import MANAGER, MANAGER_LABEL
from stacyard.ingestor.cluster.settings import ClusterSettings
from stacyard.ingestor.errors import RunStopped

_TIMEOUT_SECONDS = (5, 20)
# of more pods than these a trouble that they share is still seen
_MOST = 500


class ApiAway(RunStopped):
    """The Kubernetes API does not answer, or is too busy to; asking again can succeed."""


class AlreadyThere(Exception):
    """A Job of this name exists."""


class JobApi:
    """Jobs and pods of one namespace.

    Each method raises:
        ApiAway: asking again can succeed.
        RunStopped: the API refuses; the message says what to change.
    """

    def __init__(self, batch: BatchV1Api, core: CoreV1Api, *, namespace: str) -> None:
        self._batch = batch
        self._core = core
        self.namespace = namespace

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Make a Job; a key that the API does not know is refused and not dropped.

        Raises:
            AlreadyThere: one of this name exists.
        """
        with self._sorted("create Jobs"):
            try:
                self._batch.create_namespaced_job(
                    self.namespace,
                    # the client takes a Job's JSON too, and refuses what is not in its schema
                    dict(manifest),  # type: ignore[arg-type]
                    field_validation="Strict",
                    _request_timeout=_TIMEOUT_SECONDS,
                )
            except ApiException as error:
                if error.status == 409:
                    raise AlreadyThere from error
                raise

    def read(self, name: str) -> V1Job | None:
        """A Job as it is now; None if there is none."""
        with self._sorted("get Jobs"):
            try:
                return self._batch.read_namespaced_job(name, self.namespace, _request_timeout=_TIMEOUT_SECONDS)
            except ApiException as error:
                if error.status == 404:
                    return None
                raise

    def jobs(self) -> list[V1Job]:
        """The Jobs of all runs."""
        with self._sorted("list Jobs"):
            found = self._batch.list_namespaced_job(
                self.namespace,
                label_selector=f"{MANAGER_LABEL}={MANAGER}",
                limit=_MOST,
                _request_timeout=_TIMEOUT_SECONDS,
            )
        return found.items

    def pods(self, job: str) -> list[V1Pod]:
        """The pods of a Job."""
        with self._sorted("list pods"):
            found = self._core.list_namespaced_pod(
                self.namespace,
                label_selector=f"batch.kubernetes.io/job-name={job}",
                limit=_MOST,
                _request_timeout=_TIMEOUT_SECONDS,
            )
        return found.items

    def warnings(self, job: str) -> list[CoreV1Event]:
        """Events of a Job that say what went wrong with it."""
        with self._sorted("list events"):
            found = self._core.list_namespaced_event(
                self.namespace,
                field_selector=f"involvedObject.kind=Job,involvedObject.name={job},type=Warning",
                limit=_MOST,
                _request_timeout=_TIMEOUT_SECONDS,
            )
        return found.items

    def delete(self, name: str, *, uid: str | None = None) -> None:
        """Remove a Job, and its pods after it. With `uid` only the very one, not one that was made since."""
        options = V1DeleteOptions(
            propagation_policy="Background", preconditions=V1Preconditions(uid=uid) if uid else None
        )
        with self._sorted("delete Jobs"):
            try:
                self._batch.delete_namespaced_job(name, self.namespace, body=options, _request_timeout=_TIMEOUT_SECONDS)
            except ApiException as error:
                if error.status not in (404, 409):
                    raise

    @contextmanager
    def _sorted(self, what: str) -> Iterator[None]:
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            raise ApiAway(f"the Kubernetes API does not answer ({type(error).__name__}): see that it runs") from error
        except ApiException as error:
            said = _message(error)
            if not error.status or error.status == 429 or error.status >= 500:
                raise ApiAway(f"the Kubernetes API cannot answer ({error.status}: {said}): see that it runs") from error
            raise RunStopped(
                f"the Kubernetes API does not let us {what} in the namespace {self.namespace} "
                f"({error.status}: {said}): {_remedy(error.status)}"
            ) from error


def connect(settings: ClusterSettings) -> JobApi:
    """The API that the kubeconfig or, in a pod, its service account leads to.

    Raises:
        RunStopped: there is no configuration that leads anywhere.
    """
    configuration = Configuration()
    try:
        if settings.context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            load_kube_config(  # type: ignore[no-untyped-call]
                context=settings.context, client_configuration=configuration
            )
    except ConfigException as error:
        raise RunStopped(
            f"no Kubernetes cluster is configured ({error}): set KUBECONFIG, or STACYARD_CLUSTER_CONTEXT to one of "
            "`kubectl config get-contexts`"
        ) from error
    # we repeat calls ourselves, and say so
    configuration.retries = False
    client = ApiClient(configuration)
    return JobApi(BatchV1Api(client), CoreV1Api(client), namespace=settings.namespace)


def _message(error: ApiException) -> str:
    """What the API says of an error, on one line."""
    try:
        said = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        said = error.reason
    return " ".join(str(said).split())[:300]


def _remedy(status: int) -> str:
    match status:
        case 401:
            return "log in to the cluster again, then run the same command"
        case 403:
            return "give the account of the command line the Role of docs/cluster.md, or see the namespace's quota"
        case 404:
            return "see that STACYARD_CLUSTER_NAMESPACE is there"
        case _:
            return "see the STACYARD_CLUSTER_ settings, and that the cluster is Kubernetes 1.29 or newer"
