"""The load generator reads answers as another client does, and tells which were not the work that was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.load import Request, ask, run

BODY = b"0\r\n\r\n" + bytes(range(256)) * 5000


class Handler(BaseHTTPRequestHandler):
    """Answers with a length, in chunks, or by closing the connection, as the path says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """What the path asks for."""
        if self.path == "/gone":
            self.close_connection = True
            return
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path.startswith("/chunks"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            text = b"a" * int(self.path.removeprefix("/chunks"))
            for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n" if part else b"")
            self.wfile.write(b"0\r\n\r\n")
            return
        body = b"" if self.path == "/empty" else BODY
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """The body again."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("connections", [1, 3])
def test_answers_are_those_another_client_gets_in_the_order_of_the_requests(port: int, connections: int) -> None:
    paths = ["/long", "/chunks10", "/empty", "/missing", "/chunks700000", "/long", "/chunks1"]
    load, answers = ask(port, [Request(path) for path in paths], connections=connections)
    connection = HTTPConnection("127.0.0.1", port)
    for path, answer in zip(paths, answers, strict=True):
        connection.request("GET", path)
        expected = connection.getresponse()
        assert (answer.status, answer.body) == (expected.status, expected.read()), path
    connection.close()
    assert len(load.milliseconds) == len(paths)
    assert 0 < max(load.milliseconds) <= load.seconds * 1000


def test_a_body_is_sent(port: int) -> None:
    _, [answer] = ask(port, [Request("/echo", {"limit": 1})])
    assert answer.body == b'{"limit":1}'


def test_a_closed_connection_is_a_failure_and_does_not_end_the_round(port: int) -> None:
    requests = [Request("/empty"), Request("/gone"), Request("/missing"), Request("/empty")]
    load = run(port, requests, lambda status, _: status == 200, connections=1)
    assert [line.split(" ")[0] for line in load.failures] == ["/gone", "/missing"]
    assert len(load.milliseconds) == 4
    with pytest.raises(RuntimeError, match="2 of 4 failed"):
        load.sound()
