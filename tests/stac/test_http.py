"""HTTP as the catalog speaks it over a real socket: methods, codings, conditions, sizes."""

from __future__ import annotations

import gzip
import json
import select
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from stacyard.core.settings import DatabaseSettings
from stacyard.stac.settings import StacSettings

from .serving import catalog, served


@pytest.fixture(scope="module")
def client(database_settings: DatabaseSettings) -> Iterator[httpx.Client]:
    with served(catalog(StacSettings(database=database_settings))) as url, httpx.Client(base_url=url) as client:
        yield client


def spoken(client: httpx.Client, request: bytes) -> bytes:
    """All that comes back over one connection, to the byte."""
    where = urlsplit(str(client.base_url))
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    return answer


@pytest.mark.parametrize("path", ["/", "/search", "/collections", "/conformance", "/queryables", "/api", "/healthz"])
def test_head_is_that_of_get_without_its_body(client: httpx.Client, path: str) -> None:
    of_get = client.get(path)
    of_head = client.head(path)
    names = of_get.headers.keys() - {"x-request-id", "date"}
    assert {name: of_head.headers.get(name) for name in names} == {name: of_get.headers[name] for name in names}
    raw = spoken(client, f"HEAD {path} HTTP/1.1\r\nHost: yard\r\nConnection: close\r\n\r\n".encode())
    assert raw.startswith(b"HTTP/1.1 %d" % of_get.status_code)
    assert raw.endswith(b"\r\n\r\n")
    assert raw.count(b"\r\n\r\n") == 1


def test_options_names_the_methods_of_all_routes_to_a_path(client: httpx.Client) -> None:
    for path, allowed in [
        ("/search", "GET, HEAD, POST, OPTIONS"),
        ("/collections/none/items", "GET, HEAD, OPTIONS"),
        ("/slow", "GET, HEAD, OPTIONS"),
    ]:
        answer = client.options(path)
        assert (answer.status_code, answer.content, answer.headers["allow"]) == (204, b"", allowed), path
        assert client.put(path).headers["allow"] == allowed


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "identity"])
def test_a_search_is_the_same_in_every_coding_and_not_sent_twice(client: httpx.Client, coding: str) -> None:
    path = "/search?limit=1"
    answer = client.get(path, headers={"Accept-Encoding": coding})
    assert answer.json() == client.get(path, headers={"Accept-Encoding": "identity"}).json()
    again = client.get(path, headers={"Accept-Encoding": coding, "If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["vary"] == answer.headers["vary"] == "Accept, Accept-Encoding"


def test_the_landing_page_is_coded(client: httpx.Client) -> None:
    request = b"GET / HTTP/1.1\r\nHost: yard\r\nAccept-Encoding: gzip;q=1.0, *;q=0\r\nConnection: close\r\n\r\n"
    head, _, body = spoken(client, request).partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head
    assert json.loads(gzip.decompress(body))["type"] == "Catalog"


def test_a_body_without_an_end_is_refused_before_it_is_read(client: httpx.Client) -> None:
    """Chunks, none of which says how many will follow."""
    head = b"POST /search HTTP/1.1\r\nHost: yard\r\nContent-Type: application/json\r\n"
    where = urlsplit(str(client.base_url))
    sent, answer, chunk = 0, b"", b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        while not answer and sent < 100_000_000:
            connection.sendall(chunk)
            sent += 0x10000
            if select.select([connection], [], [], 0)[0]:
                answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert sent < 30_000_000


def test_a_query_that_is_too_long_is_answered_with_a_sentence(client: httpx.Client) -> None:
    answer = client.get("/search", params={"ids": ",".join(["an-item-of-a-long-name"] * 1000)})
    assert answer.status_code == 414
    assert "by POST" in answer.json()["detail"]
