"""The shared HTTP stack, each concern on the smallest application that shows it."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import httpx
import psycopg
import pytest
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from stacyard.core.assembly import answer_with_problems, assemble
from stacyard.core.errors import InvalidRequest, NotFound, Overloaded
from stacyard.core.origin import OneOrigin
from stacyard.core.settings import HttpSettings

SECRET = "SELECT password FROM /var/lib/secret"
MADE: list[int] = []


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/links/{name}")
    def links(request: Request, name: str) -> dict[str, str]:
        return {
            "self": str(request.url),
            "base": str(request.base_url),
            "for": str(request.url_for("links", name=name)),
        }

    @app.get("/text")
    def text() -> Response:
        return Response("field " * 500, media_type="text/plain")

    @app.get("/image")
    def image() -> Response:
        return Response(b"\x89PNG" * 500, media_type="image/png")

    @app.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]), media_type="text/plain")

    @app.get("/long")
    def long() -> StreamingResponse:
        def lines() -> Iterator[str]:
            for number in range(1000):
                MADE.append(number)
                yield f"{number}\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @app.get("/tagged")
    def tagged(request: Request) -> Response:
        known = request.headers.get("if-none-match") == '"mine"'
        return Response(b"" if known else b"mine", 304 if known else 200, {"ETag": '"mine"'}, "application/json")

    @app.get("/both")
    @app.post("/both")
    def both() -> int:
        return 1

    @app.get("/table")
    def table() -> StreamingResponse:
        return StreamingResponse(iter([b"PAR1" * 500] * 3), media_type="application/vnd.apache.parquet")

    @app.get("/fails/{how}")
    def fails(how: str) -> None:
        raise {
            "invalid": InvalidRequest("north is below south", parameter="bbox"),
            "missing": NotFound("there is no field 7"),
            "busy": Overloaded("all connections are busy"),
            "bug": RuntimeError(SECRET),
            "cancelled": asyncpg.QueryCanceledError(SECRET),
            "gone": psycopg.OperationalError(SECRET),
            "upstream": KeyError("no such band"),
        }[how]

    @app.get("/number/{number}")
    def number(number: int) -> int:
        return number

    @app.post("/body")
    def body(content: dict[str, Any]) -> dict[str, Any]:
        return content

    answer_with_problems(app, {KeyError: 404})
    return app


def assembled(app: Any = None, **settings: Any) -> Any:
    app = app or application()
    assemble(app, http=HttpSettings(**settings), service="test", ready={})
    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(assembled()) as client:
        yield client


def client_of(app: Any, address: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://inside:8000")


FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "maps.example.org", "X-Forwarded-Prefix": "/fields"}


async def test_links_start_with_what_a_trusted_proxy_says(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/links/a", headers=FORWARDED)).json()
    assert answer == {
        "self": "https://maps.example.org/fields/links/a",
        "base": "https://maps.example.org/fields/",
        "for": "https://maps.example.org/fields/links/a",
    }


async def test_an_untrusted_client_cannot_choose_the_links() -> None:
    async with client_of(assembled(), address="203.0.113.9") as client:
        answer = (await client.get("/links/a", headers=FORWARDED)).json()
    assert answer["for"] == "http://inside:8000/links/a"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        # what stands before the last that is no proxy of ours, the client may have made up
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 127.0.0.7", "203.0.113.9"),
        ("203.0.113.9:5123", "203.0.113.9"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("127.0.0.7", "127.0.0.7"),
        ("unknown", "127.0.0.1"),
        ("unknown, 127.0.0.7", "127.0.0.7"),
        ("", "127.0.0.1"),
    ],
)
async def test_the_client_is_who_the_outermost_trusted_proxy_saw(
    chain: str, client: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="stacyard.access"):
        for settings in ({}, {"public_url": "https://yard.example.org"}):
            async with client_of(assembled(**settings)) as direct:
                await direct.get("/number/7", headers={"X-Forwarded-For": chain})
        async with client_of(assembled(), address="203.0.113.77") as untrusted:
            await untrusted.get("/number/7", headers={"X-Forwarded-For": chain})
    said = [json.loads(record.message)["client"] for record in caplog.records if record.name == "stacyard.access"]
    assert said == [client, client, "203.0.113.77"]


async def test_a_public_url_decides_alone() -> None:
    async with client_of(assembled(public_url="https://yard.example.org/a/b/")) as client:
        answer = (await client.get("/links/a", headers=FORWARDED)).json()
    assert answer["for"] == "https://yard.example.org/a/b/links/a"


async def test_a_prefix_that_equals_the_start_of_a_path_is_still_added(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/links/a", headers={"X-Forwarded-Prefix": "/links"})).json()
    assert answer["for"] == "http://inside:8000/links/links/a"


async def test_applications_under_one_origin_build_their_own_links() -> None:
    outer = FastAPI()
    answer_with_problems(outer, {})
    inner = application()
    outer.router.default = OneOrigin({"/stac": inner}, outer.router.default)
    async with client_of(assembled(outer)) as client:
        answer = (await client.get("/stac/links/a", headers=FORWARDED)).json()
        assert answer["for"] == "https://maps.example.org/fields/stac/links/a"
        assert answer["base"] == "https://maps.example.org/fields/stac/"
        assert (await client.get("/stacks")).status_code == 404
        assert 'operation="/links/{name}"' in (await client.get("/metrics")).text


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/fails/invalid", 400, "north is below south"),
        ("/fails/missing", 404, "there is no field 7"),
        ("/fails/busy", 503, "all connections are busy"),
        ("/fails/upstream", 404, "'no such band'"),
        ("/nowhere", 404, "Not Found"),
        ("/number/seven", 400, "number: Input should be a valid integer"),
    ],
)
async def test_an_error_is_a_problem_that_says_what_to_change(
    client: httpx.AsyncClient, path: str, status: int, detail: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert detail in problem["detail"]
    assert problem["description"] == problem["detail"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("how", "status"), [("bug", 500), ("cancelled", 503), ("gone", 503)])
async def test_no_server_error_tells_what_is_inside(client: httpx.AsyncClient, how: str, status: int) -> None:
    answer = await client.get(f"/fails/{how}")
    assert answer.status_code == status
    assert "SELECT" not in answer.text
    assert "/var" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
    assert answer.headers["x-request-id"]


async def test_a_problem_names_the_parameter(client: httpx.AsyncClient) -> None:
    assert (await client.get("/fails/invalid")).json()["parameter"] == "bbox"
    assert (await client.get("/number/seven")).json()["parameter"] == "number"
    broken = await client.post("/body", content="{", headers={"content-type": "application/json"})
    assert broken.status_code == 400
    assert broken.json()["parameter"] == "body"


async def test_the_second_request_with_the_tag_of_the_first_is_answered_304(client: httpx.AsyncClient) -> None:
    first = await client.get("/text")
    tag = first.headers["etag"]
    second = await client.get("/text", headers={"If-None-Match": f'"other", {tag}'})
    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["etag"] == tag
    assert (await client.get("/text", headers={"If-None-Match": '"other"'})).status_code == 200


async def test_streams_and_errors_carry_no_tag(client: httpx.AsyncClient) -> None:
    assert "etag" not in (await client.get("/stream")).headers
    assert "etag" not in (await client.get("/fails/missing")).headers


async def test_text_is_compressed_and_images_and_ranges_are_not(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/text", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert gzip.decompress(raw) == b"field " * 500
    for path, headers in [("/image", {}), ("/table", {}), ("/text", {"Range": "bytes=0-9"})]:
        answer = await client.get(path, headers={"Accept-Encoding": "gzip, br", **headers})
        assert "content-encoding" not in answer.headers, path
        assert path != "/table" or answer.content == b"PAR1" * 1500


async def test_images_may_be_kept_and_documents_are_asked_for_again(client: httpx.AsyncClient) -> None:
    assert (await client.get("/image")).headers["cache-control"] == "public, max-age=60"
    assert (await client.get("/text")).headers["cache-control"] == "no-cache"


async def test_a_path_and_query_that_are_too_long_are_answered_414_with_what_to_do(client: httpx.AsyncClient) -> None:
    assert (await client.get("/text", params={"ids": "a" * 16_000})).status_code == 200
    for path in ("/text", "/search"):
        answer = await client.get(path, params={"ids": "a" * 20_000})
        assert answer.status_code == 414
        assert answer.headers["content-type"] == "application/problem+json"
        assert "at the most 16384" in answer.json()["detail"]
    assert "by POST" in answer.json()["detail"]


async def test_a_body_that_is_too_large_is_answered_413_whether_it_says_so_or_not() -> None:
    read = 0

    async def pieces(count: int) -> AsyncIterator[bytes]:
        nonlocal read
        yield b'{"a": "'
        for _ in range(count):
            read += 1
            yield b"a" * 1000
        yield b'"}'

    headers = {"Content-Type": "application/json"}
    async with client_of(assembled(body_bytes=10_000)) as client:
        assert (await client.post("/body", content=pieces(9), headers=headers)).status_code == 200
        declared = await client.post("/body", content=b"a" * 10_001, headers=headers)
        assert (await client.post("/body", content=pieces(12), headers=headers)).status_code == 413
        read = 0
        counted = await client.post("/body", content=pieces(1000), headers=headers)
    for answer in (declared, counted):
        assert answer.status_code == 413
        assert "10000 bytes at the most" in answer.json()["detail"]
        assert answer.headers["connection"] == "close"
    assert read < 15, "no more was read than needed to know"


async def test_a_body_that_does_not_come_is_answered_408() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    async with client_of(assembled(body_seconds=0.05)) as client:
        answer = await client.post("/body", content=slowly(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 408
    assert "within 0.05 seconds" in answer.json()["detail"]


async def test_what_is_not_new_may_be_kept_as_long_as_what_was(client: httpx.AsyncClient) -> None:
    for path in ("/text", "/tagged"):
        first = await client.get(path)
        second = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (second.status_code, second.content) == (304, b"")
        for name in ("cache-control", "etag", "vary", "access-control-allow-origin"):
            assert second.headers[name] == first.headers[name], (path, name)


async def test_a_browser_elsewhere_may_read_answers_and_errors(client: httpx.AsyncClient) -> None:
    """Also those that a cache kept when no page of another origin asked."""
    for path in ("/text", "/fails/bug", "/tagged"):
        for headers in ({"Origin": "https://elsewhere.example"}, {}):
            answer = await client.get(path, headers=headers)
            assert answer.headers.get_list("access-control-allow-origin") == ["*"], path
            assert "ETag" in answer.headers["access-control-expose-headers"]


async def test_a_browser_elsewhere_is_told_what_it_may_send(client: httpx.AsyncClient) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    answer = await client.options("/body", headers={**asked, "Access-Control-Request-Headers": "content-type"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "content-type" in answer.headers["access-control-allow-headers"]


async def test_where_some_origins_may_read_answers_vary_by_it() -> None:
    async with client_of(assembled(cors_origins="https://ours.example")) as client:
        for origin, allowed in [("https://ours.example", "https://ours.example"), ("https://no.example", None)]:
            answer = await client.get("/text", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
        assert "Origin" in (await client.get("/text")).headers["vary"]


@pytest.mark.parametrize("path", ["/text", "/image", "/number/7", "/fails/missing", "/tagged", "/nowhere", "/number/x"])
async def test_head_is_answered_as_get_is(client: httpx.AsyncClient, path: str) -> None:
    of_get = await client.get(path)
    of_head = await client.request("HEAD", path)
    assert of_head.status_code == of_get.status_code
    names = of_get.headers.keys() - {"x-request-id"}
    assert {name: of_head.headers.get(name) for name in names} == {name: of_get.headers[name] for name in names}
    if "etag" in of_get.headers:
        again = await client.request("HEAD", path, headers={"If-None-Match": of_get.headers["etag"]})
        assert again.status_code == 304


@pytest.mark.parametrize("version", ["2.0", "2.4"])
async def test_head_of_a_stream_makes_only_its_beginning(version: str) -> None:
    """Servers of either version of ASGI say in their own way that a client has gone, which here it has not."""
    app, sent = assembled(), list[Any]()

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    MADE.clear()
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": version}, "http_version": "1.1"}
    await app({**scope, "method": "HEAD", "path": "/long", "query_string": b"", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 200
    assert (b"content-type", b"application/x-ndjson") in sent[0]["headers"]
    assert not sent[1].get("more_body", False)
    assert len(MADE) == 1
    async with client_of(app) as client:
        assert 'method="HEAD",operation="/long"' in (await client.get("/metrics")).text


async def test_options_and_a_refused_method_name_all_that_there_are(client: httpx.AsyncClient) -> None:
    for path, allowed in [("/both", "GET, HEAD, POST, OPTIONS"), ("/body", "POST, OPTIONS")]:
        answer = await client.options(path)
        assert (answer.status_code, answer.content, answer.headers["allow"]) == (204, b"", allowed)
        refused = await client.delete(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
        assert refused.headers["content-type"] == "application/problem+json"
    assert (await client.options("/nowhere")).status_code == 404
    assert (await client.request("HEAD", "/body")).status_code == 405


async def test_a_request_id_is_kept_if_it_is_a_plain_word_and_made_otherwise(client: httpx.AsyncClient) -> None:
    kept = await client.get("/text", headers={"X-Request-ID": "field-7-tile-1"})
    assert kept.headers["x-request-id"] == "field-7-tile-1"
    made = await client.get("/text", headers={"X-Request-ID": "a\tb <script>"})
    assert made.headers["x-request-id"].isalnum()


async def test_the_access_log_is_one_json_line_without_the_query(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="stacyard.access"):
        await client.get("/number/7?token=secret")
        await client.get("/healthz")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "stacyard.access"]
    assert len(lines) == 1
    assert lines[0] | {"ms": 0, "request_id": ""} == {
        "service": "test",
        "method": "GET",
        "path": "/number/7",
        "status": 200,
        "bytes": 1,
        "ms": 0,
        "client": "127.0.0.1",
        "request_id": "",
    }


async def test_metrics_count_by_operation_and_never_by_id(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await client.get(f"/number/{number}")
    await client.get("/nowhere/1")
    metrics = (await client.get("/metrics")).text
    labels = 'method="GET",operation="/number/{number}",service="test"'
    assert f'stacyard_http_requests_total{{{labels},status="200"}} 5.0' in metrics
    assert f"stacyard_http_request_duration_seconds_count{{{labels}}} 5.0" in metrics
    assert 'stacyard_http_requests_in_flight{service="test"} 1.0' in metrics
    assert "/nowhere" not in metrics


async def test_readiness_sees_a_failing_check_and_liveness_does_not(caplog: pytest.LogCaptureFixture) -> None:
    async def passes() -> None:
        return

    async def fails() -> None:
        raise ConnectionError(SECRET)

    app = application()
    assemble(app, http=HttpSettings(), service="test", ready={"database": fails, "storage": passes})
    async with client_of(app) as client:
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"] == {"database": "failed", "storage": "ok"}
    assert SECRET not in ready.text
    assert [record.message for record in caplog.records if record.name == "stacyard.health"] == [
        f"readiness check database failed: ConnectionError: {SECRET}"
    ]
