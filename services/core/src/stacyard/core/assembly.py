"""The shared HTTP stack on an application, in one documented order.

From the outside in: forwarded, request id, access log, metrics, CORS, compression, ETag, Cache-Control, sizes,
characters, problems, methods, the application. What an inner layer decides an outer one sees: an error is logged,
counted, given its CORS headers and its request id; a 304 is decided before anything is compressed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stacyard.core.cache import AnswerCache
from stacyard.core.database import DATABASE_STATUSES
from stacyard.core.errors import StacyardError
from stacyard.core.health import Readiness, ReadyCheck, healthz
from stacyard.core.metrics import MeasureCache, MeasureRequests, Metrics
from stacyard.core.middleware.access_log import AccessLog
from stacyard.core.middleware.cache_control import CacheControl
from stacyard.core.middleware.characters import Characters
from stacyard.core.middleware.compression import Compression
from stacyard.core.middleware.cors import Cors
from stacyard.core.middleware.etag import ETag
from stacyard.core.middleware.forwarded import Forwarded
from stacyard.core.middleware.methods import Methods
from stacyard.core.middleware.problems import ProblemResponse, Problems, problem_of
from stacyard.core.middleware.request_id import RequestId
from stacyard.core.middleware.sizes import Sizes
from stacyard.core.settings import HttpSettings


def assemble(
    app: Starlette,
    *,
    http: HttpSettings,
    service: str,
    ready: Mapping[str, ReadyCheck],
    caches: Mapping[str, AnswerCache[Any]] | None = None,
) -> None:
    """Put the shared middleware and `/healthz`, `/readyz` and `/metrics` on an application, which measures `caches`."""
    metrics = Metrics()
    for name, cache in (caches or {}).items():
        cache.measure_with(MeasureCache(metrics=metrics, service=service, cache=name))
    app.add_route("/healthz", healthz, include_in_schema=False)
    app.add_route("/readyz", Readiness(ready).readyz, include_in_schema=False)
    app.add_route("/metrics", metrics.scrape, include_in_schema=False)
    # the last one added is the outermost
    app.add_middleware(Characters)
    app.add_middleware(
        Sizes, target_bytes=http.target_bytes, body_bytes=http.body_bytes, body_seconds=http.body_seconds
    )
    app.add_middleware(CacheControl, tiles=http.tile_cache_control, others=http.json_cache_control)
    app.add_middleware(ETag)
    app.add_middleware(Compression)
    app.add_middleware(Cors, origins=http.cors_origins)
    app.add_middleware(MeasureRequests, metrics=metrics, service=service)
    if http.access_log:
        app.add_middleware(AccessLog, service=service)
    app.add_middleware(RequestId)
    app.add_middleware(Forwarded, public_url=http.public_url, trusted=http.trusted_networks())


def answer_with_problems(app: FastAPI, statuses: Mapping[type[Exception], int]) -> None:
    """Make an application answer its own and upstream's exceptions with problems.

    Args:
        app: the application; handlers and middleware that an upstream package registered are taken off, since each
            concern has one owner.
        statuses: status by exception class, for the exceptions of the upstream package.
    """
    known = {kind: status for kind, status in statuses.items() if kind is not Exception} | dict(DATABASE_STATUSES)

    async def answer(_: Request, error: Exception) -> Response:
        return problem_of(error, known)

    async def answer_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
        detail = error.detail if error.status_code < 500 else HTTPStatus(error.status_code).phrase
        return ProblemResponse(error.status_code, str(detail), headers=dict(error.headers or {}))

    async def answer_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
        return invalid_request(error.errors())

    # a handler for Exception itself would sit outside all middleware; `Problems` has that place
    app.exception_handlers.pop(Exception, None)
    app.exception_handlers.pop(500, None)
    for kind, status in known.items():
        if status < 500:
            app.add_exception_handler(kind, answer)
        else:
            # left to `Problems`, which logs what it hides
            app.exception_handlers.pop(kind, None)
    app.user_middleware.clear()
    app.add_middleware(Methods, router=app.router)
    app.add_middleware(Problems, statuses=known)
    app.add_exception_handler(StacyardError, answer)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(RequestValidationError, answer_invalid)


def invalid_request(errors: Sequence[Mapping[str, Any]]) -> ProblemResponse:
    """A 400 that names each parameter at fault and what is wrong with it, from pydantic's list of errors.

    Where pydantic tried several types for one value, the first of its complaints stands for all.
    """
    reasons: dict[str, str] = {}
    for error in errors:
        place = [str(part) for part in error["loc"]]
        parameter = place[0] if len(place) == 1 or error["type"] == "json_invalid" else place[1]
        reasons.setdefault(parameter, error.get("ctx", {}).get("error") or error["msg"])
    detail = "; ".join(f"{parameter}: {reason}" for parameter, reason in list(reasons.items())[:5])
    faults = [{"parameter": parameter, "reason": str(reason)} for parameter, reason in reasons.items()]
    return ProblemResponse(400, detail, parameter=next(iter(reasons), None), errors=faults)
