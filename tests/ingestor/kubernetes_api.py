"""An API server for Jobs, Pods and Events of one process, for the real client to talk to over loopback.

It holds what it is given, refuses what the real one refuses (unknown fields, names that are taken, other uids), and may
be told to be away. There is no controller: a test moves Jobs and pods itself, when it is asked for a Job, or
leaves that to `kubernetes_pods`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import jsonschema
from kubernetes.client import ApiClient, BatchV1Api, Configuration, CoreV1Api, V1Job

from stacyard.ingestor.cluster.api import JobApi


def without_null(schema: Any) -> Any:
    """The schema with what may be left out, but may not be null."""
    if isinstance(schema, list):
        return [without_null(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema and {"type": "null"} in schema["anyOf"]:
        [other] = [each for each in schema["anyOf"] if each != {"type": "null"}]
        return without_null(other)
    return {key: without_null(value) for key, value in schema.items()}


#: of the client's models, under the names that JSON has; closed, so that it finds keys that are not in the API
JOB_SCHEMA = without_null(V1Job.model_json_schema(mode="serialization"))


def schema_faults(manifest: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(JOB_SCHEMA)
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(manifest)]


@dataclass
class Cluster:
    """What the API server knows. `before_read` is called before a Job is read, outside the lock."""

    namespace: str
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    before_read: Callable[[], None] = lambda: None
    #: answers to give instead, in turn: a status, or None to hang up; `after` does what was asked before
    answers: list[int | None] = field(default_factory=list)
    answers_after: list[int | None] = field(default_factory=list)
    refusal: str = "not now"
    lock: threading.Lock = field(default_factory=threading.Lock)
    address: str = ""

    def client(self) -> JobApi:
        """The real client, as `connect` makes it."""
        configuration = Configuration(host=self.address)
        configuration.retries = False
        client = ApiClient(configuration)
        return JobApi(BatchV1Api(client), CoreV1Api(client), namespace=self.namespace)

    def status(self, name: str, **values: Any) -> None:
        self.jobs[name].setdefault("status", {}).update(values)

    def end(self, name: str, kind: str, reason: str = "", message: str = "") -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.status(name, conditions=[condition], active=0, ready=0)

    def pod(self, name: str, job: str, **status: Any) -> None:
        labels = {"batch.kubernetes.io/job-name": job}
        created = f"2030-01-01T00:00:{len(self.pods):02}Z"
        self.pods.append({"metadata": {"name": name, "labels": labels, "creationTimestamp": created}, "status": status})

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, dict[str, Any]]:
        jobs = f"/apis/batch/v1/namespaces/{self.namespace}/jobs"
        core = f"/api/v1/namespaces/{self.namespace}"
        name = path.removeprefix(f"{jobs}/")
        match method:
            case "POST" if path == jobs:
                return self._create(query, body)
            case "GET" if path == jobs:
                selector = query["labelSelector"][0].split("=")
                found = [job for job in self.jobs.values() if job["metadata"]["labels"].get(selector[0]) == selector[1]]
                return 200, {"kind": "JobList", "apiVersion": "batch/v1", "metadata": {}, "items": found}
            case "GET" if name in self.jobs:
                return 200, self.jobs[name]
            case "DELETE" if name in self.jobs:
                wanted = ((body or {}).get("preconditions") or {}).get("uid")
                if wanted not in (None, self.jobs[name]["metadata"]["uid"]):
                    return problem(409, "Conflict", "the UID in the precondition does not match")
                assert body["propagationPolicy"] == "Background"
                del self.jobs[name]
                return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
            case "GET" if path == f"{core}/pods":
                job = query["labelSelector"][0].removeprefix("batch.kubernetes.io/job-name=")
                chosen = [p for p in self.pods if p["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job]
                return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": chosen}
            case "GET" if path == f"{core}/events":
                selectors = dict(each.split("=") for each in query["fieldSelector"][0].split(","))
                assert selectors["involvedObject.kind"] == "Job"
                about = [e for e in self.events if e["involvedObject"]["name"] == selectors["involvedObject.name"]]
                return 200, {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": about}
        return problem(404, "NotFound", f"{path} not found")

    def _create(self, query: dict[str, list[str]], job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if query.get("fieldValidation") == ["Strict"] and (faults := schema_faults(job)):
            return problem(400, "BadRequest", f"strict decoding error: {faults[0]}")
        name = job["metadata"]["name"]
        if name in self.jobs:
            return problem(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        job["metadata"] |= {"uid": str(uuid4()), "creationTimestamp": "2030-01-01T00:00:00Z"}
        # a newer server says more than the client knows
        job["status"] = {"active": job["spec"]["parallelism"], "ready": 0, "fieldOfTheFuture": {}}
        self.jobs[name] = job
        return 201, job


def problem(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


@contextmanager
def in_process_api(namespace: str) -> Iterator[Cluster]:
    """A cluster that answers on a free port of this machine until the end."""
    cluster = Cluster(namespace)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # head and body in one packet, or the client's acknowledgement of the first is waited for
        wbufsize = -1

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.command == "GET" and "/jobs/" in parts.path:
                cluster.before_read()
            with cluster.lock:
                cluster.requests.append((self.command, parts.path))
                instead = cluster.answers.pop(0) if cluster.answers else 0
                if instead == 0:
                    code, document = cluster.answer(self.command, parts.path, parse_qs(parts.query), body)
                    instead = cluster.answers_after.pop(0) if cluster.answers_after else 0
                if instead is None:
                    self.close_connection = True
                    return
                if instead:
                    code, document = problem(instead, "Refused", cluster.refusal)
                data = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - the base class's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cluster.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
