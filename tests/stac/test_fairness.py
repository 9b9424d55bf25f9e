"""One client, however slow or many its requests, leaves the others what they had: over real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from stacyard.core.settings import DatabaseSettings, FairSettings
from stacyard.stac.settings import StacSettings

from .serving import catalog, served

GREEDY = {"X-Forwarded-For": "203.0.113.1"}
OTHER = {"X-Forwarded-For": "203.0.113.2"}


def settings_for(database: DatabaseSettings, **fair: float) -> StacSettings:
    return StacSettings(database=database, fair=FairSettings(**{"wait_seconds": 20, **fair}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def url(database_settings: DatabaseSettings) -> Iterator[str]:
    with served(catalog(settings_for(database_settings))) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
        await client.get("/search", headers=OTHER)
        yield client


async def p95(client: httpx.AsyncClient, *, requests: int = 60) -> float:
    """Seconds in which 95 of 100 searches of the other client are answered."""
    taken = []
    for _ in range(requests):
        started = time.monotonic()
        answer = await client.get("/search?limit=1", headers=OTHER)
        taken.append(time.monotonic() - started)
        assert answer.status_code == 200, answer.text
    return sorted(taken)[int(0.95 * requests)]


async def test_fifty_slow_requests_of_one_client_do_not_slow_another(client: httpx.AsyncClient) -> None:
    idle = await p95(client)
    slow = [asyncio.create_task(client.get("/slow?seconds=0.2", headers=GREEDY)) for _ in range(50)]
    await asyncio.sleep(0.2)
    busy = await p95(client)
    for path in ("/healthz", "/readyz", "/metrics"):
        started = time.monotonic()
        assert (await client.get(path, headers=GREEDY)).status_code == 200
        assert time.monotonic() - started < 0.2, path
    assert sum(not request.done() for request in slow) > 20, "the slow ones must still be waiting"
    # whoever had to wait for one of them would take 200 ms
    assert busy < 2 * idle + 0.03, (idle, busy)
    assert Counter(answer.status_code for answer in await asyncio.gather(*slow)) == {200: 50}


async def test_a_client_with_too_many_is_told_so_and_the_other_is_not(database_settings: DatabaseSettings) -> None:
    settings = settings_for(database_settings, waiting_each=5, wait_seconds=0.5)
    with served(catalog(settings)) as url:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            await client.get("/search", headers=OTHER)
            slow = [asyncio.create_task(client.get("/slow?seconds=1", headers=GREEDY)) for _ in range(12)]
            await asyncio.sleep(0.1)
            assert (await client.get("/search", headers=OTHER)).status_code == 200
            answers = await asyncio.gather(*slow)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert Counter(answer.status_code for answer in answers) == {200: 3, 429: 9}
    for answer in refused:
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
    assert {"wait already" in answer.json()["detail"] for answer in refused} == {True, False}


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /much HTTP/1.1\r\nHost: yard\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n",
        b"POST /search HTTP/1.1\r\nHost: yard\r\nX-Forwarded-For: 203.0.113.1\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    ],
    ids=["reads nothing of a large answer", "sends a byte of its request"],
)
async def test_who_reads_or_sends_slowly_takes_nobodys_place(client: httpx.AsyncClient, sent: bytes) -> None:
    where = urlsplit(str(client.base_url))
    with ExitStack() as stack:
        for _ in range(10):
            lingering = stack.enter_context(socket.create_connection((where.hostname, where.port)))
            lingering.sendall(sent)
        await asyncio.sleep(0.5)
        # not even from itself
        for headers in (GREEDY, OTHER):
            started = time.monotonic()
            assert (await client.get("/search?limit=1", headers=headers)).status_code == 200
            assert time.monotonic() - started < 1
