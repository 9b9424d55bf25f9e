"""Requests over kept connections, and what came of them: as light as can be, since it runs beside what it measures.

One thread and one selector. While the clock runs, no more of an answer is read than tells where it ends; whether it is
the work that was asked for is seen afterwards.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

CONNECTIONS = 4
_SILENCE_SECONDS = 120.0
_READ_BYTES = 1 << 18

Accepts = Callable[[int, bytes], bool]


@dataclass(frozen=True)
class Request:
    """What is asked for: a path with its query, and for POST a JSON body."""

    path: str
    body: Any = None

    def on_the_wire(self, port: int) -> bytes:
        """The request as it is sent; it asks for no compression."""
        head = f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        if self.body is None:
            return f"{head}\r\n".encode()
        content = orjson.dumps(self.body)
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content

    def __str__(self) -> str:
        return self.path if self.body is None else f"POST {self.path} {orjson.dumps(self.body).decode()}"


@dataclass(frozen=True)
class Answer:
    """A status, 0 if the connection was closed instead, and a body."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Load:
    """A round of requests.

    Attributes:
        seconds: from the first request to the last answer.
        milliseconds: latency of each, from sending to the last byte.
        own_seconds: of processor time that this process took for it.
        failures: a line for each answer that was not the work that was asked for.
    """

    seconds: float
    milliseconds: tuple[float, ...]
    own_seconds: float = 0.0
    failures: tuple[str, ...] = ()

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self.milliseconds) / self.seconds

    @property
    def median(self) -> float:
        """Median latency in milliseconds."""
        return statistics.median(self.milliseconds)

    def sound(self) -> Load:
        """This load.

        Raises:
            RuntimeError: an answer failed; a figure over failed requests would say nothing.
        """
        if self.failures:
            raise RuntimeError(f"{len(self.failures)} of {len(self.milliseconds)} failed, first: {self.failures[0]}")
        return self

    def then(self, other: Load) -> Load:
        """Both, one after the other."""
        return Load(
            self.seconds + other.seconds,
            self.milliseconds + other.milliseconds,
            self.own_seconds + other.own_seconds,
            self.failures + other.failures,
        )


def run(port: int, requests: Sequence[Request], accepts: Accepts, *, connections: int = CONNECTIONS) -> Load:
    """Ask for everything once, over so many connections at the same time.

    Args:
        port: of the service, on loopback.
        requests: what to ask for, in this order; each connection takes the next as soon as it has its answer.
        accepts: whether status and body are the work that was asked for.
        connections: how many ask at the same time.

    Raises:
        RuntimeError: the service fell silent.
    """
    load, answers = ask(port, requests, connections=connections)
    failures = tuple(
        f"{request} was answered {answer.status}: {answer.body[:300]!r}"
        for request, answer in zip(requests, answers, strict=True)
        if not accepts(answer.status, answer.body)
    )
    return Load(load.seconds, load.milliseconds, load.own_seconds, failures)


def ask(port: int, requests: Sequence[Request], *, connections: int = CONNECTIONS) -> tuple[Load, list[Answer]]:
    """Ask as `run` does, without a look at the answers, which are in the order of the requests.

    Raises:
        RuntimeError: the service fell silent.
    """
    wired = [request.on_the_wire(port) for request in requests]
    milliseconds = [0.0] * len(wired)
    answers: list[list[bytes]] = [[] for _ in wired]
    waiting = iter(range(len(wired)))
    with selectors.DefaultSelector() as selector:
        open_connections = [_Connection(port) for _ in range(min(connections, len(wired)))]
        try:
            own, started = time.process_time(), time.perf_counter()
            for connection in open_connections:
                connection.send(number := next(waiting), wired[number])
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            while selector.get_map():
                for connection in _readable(selector):
                    if not connection.receive():
                        continue
                    answers[connection.number] = connection.parts
                    milliseconds[connection.number] = (time.perf_counter() - connection.started) * 1000
                    if connection.closed:
                        selector.unregister(connection.socket)
                        connection.reopen()
                        selector.register(connection.socket, selectors.EVENT_READ, connection)
                    number = next(waiting, -1)
                    if number < 0:
                        selector.unregister(connection.socket)
                    else:
                        connection.send(number, wired[number])
            seconds, own_seconds = time.perf_counter() - started, time.process_time() - own
        finally:
            for connection in open_connections:
                connection.socket.close()
    return Load(seconds, tuple(milliseconds), own_seconds), [_answer(b"".join(parts)) for parts in answers]


def _readable(selector: selectors.BaseSelector) -> Iterator[_Connection]:
    ready = selector.select(_SILENCE_SECONDS)
    if not ready:
        raise RuntimeError(f"no answer came for {_SILENCE_SECONDS:.0f} seconds")
    for key, _ in ready:
        yield key.data


@dataclass
class _Connection:
    """One connection with at most one request under way."""

    port: int
    number: int = -1
    started: float = 0.0
    parts: list[bytes] = field(default_factory=list)
    closed: bool = False
    missing: int | None = None
    """Bytes of the answer still to come; None until that is known, or if only its end will tell."""

    def __post_init__(self) -> None:
        self.reopen()

    def reopen(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=_SILENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False

    def send(self, number: int, wired: bytes) -> None:
        self.number, self.parts, self.missing = number, [], None
        self.started = time.perf_counter()
        self.socket.sendall(wired)

    def receive(self) -> bool:
        """Read what is there; whether the answer is whole now."""
        try:
            part = self.socket.recv(_READ_BYTES)
        except ConnectionError:
            part = b""
        if not part:
            self.socket.close()
            self.closed = True
            return True
        self.parts.append(part)
        if self.missing is not None:
            self.missing -= len(part)
            return self.missing <= 0
        so_far = b"".join(self.parts)
        head, end, rest = so_far.partition(b"\r\n\r\n")
        if not end:
            return False
        length = _header(head, b"content-length")
        if length is None:
            return so_far.endswith(b"0\r\n\r\n")
        self.missing = int(length) - len(rest)
        return self.missing <= 0


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.lower().split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key == name:
            return value.strip()
    return None


def _answer(text: bytes) -> Answer:
    head, _, body = text.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, b"the connection was closed")
    if _header(head, b"transfer-encoding") == b"chunked":
        body = b"".join(_chunks(body))
    return Answer(int(head[9:12]), body)


def _chunks(text: bytes) -> Iterator[bytes]:
    position = 0
    while True:
        end = text.index(b"\r\n", position)
        size = int(text[position:end].partition(b";")[0], 16)
        if size == 0:
            return
        yield text[end + 2 : end + 2 + size]
        position = end + 2 + size + 2
