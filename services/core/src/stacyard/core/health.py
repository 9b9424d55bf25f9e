"""Liveness, which asks nobody, and readiness, which asks everybody that a request would need."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

logger = logging.getLogger("stacyard.health")

ReadyCheck = Callable[[], Awaitable[None]]

_CHECK_SECONDS = 3.0


async def healthz(_: Request) -> Response:
    """The process answers. No database and no storage is asked: a restart would not mend them.

    It is no plain function, because those wait for a thread, and under load all threads are busy.
    """
    return JSONResponse({"status": "ok", "version": version("stacyard-core")}, headers={"Cache-Control": "no-store"})


class Readiness:
    """`/readyz`: 200 if every check holds, else 503; which one failed is said, why is in the log."""

    def __init__(self, checks: Mapping[str, ReadyCheck]) -> None:
        self._checks = checks

    async def readyz(self, _: Request) -> Response:
        """Run all checks at the same time, each bounded."""
        results = await asyncio.gather(*(self._passes(name, check) for name, check in self._checks.items()))
        checks = {name: "ok" if passed else "failed" for name, passed in zip(self._checks, results, strict=True)}
        ready = all(results)
        body = {"status": "ready" if ready else "not ready", "checks": checks}
        headers = {"Cache-Control": "no-store"} | ({} if ready else {"Retry-After": "2"})
        return JSONResponse(body, 200 if ready else 503, headers=headers)

    @staticmethod
    async def _passes(name: str, check: ReadyCheck) -> bool:
        try:
            await asyncio.wait_for(check(), _CHECK_SECONDS)
        except Exception as error:
            logger.warning("readiness check %s failed: %s: %s", name, type(error).__name__, error)
            return False
        return True
