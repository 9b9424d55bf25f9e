"""Keeps received messages invisible to others for as long as they are worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from stacyard.core.errors import StacyardError
from stacyard.ingestor.stream.messages import Message, Messages


class Heartbeat:
    """A thread that extends the visibility of what is held, three times as often as it would end.

    `messages` is its own: queues are not shared by threads. When it cannot reach the queue it says so and tries again;
    what becomes visible meanwhile is done twice, to the same end.
    """

    def __init__(self, messages: Messages, *, visibility_seconds: float, say: Callable[[str], None]) -> None:
        self._messages = messages
        self._seconds = visibility_seconds
        self._say = say
        self._held: dict[str, Message] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread; nothing is extended after this."""
        self._ended.set()
        self._thread.join()

    def hold(self, messages: Iterable[Message]) -> None:
        """Extend these from now on."""
        with self._lock:
            self._held |= {message.id: message for message in messages}

    def drop(self, messages: Iterable[Message]) -> None:
        """Extend these no longer."""
        with self._lock:
            for message in messages:
                self._held.pop(message.id, None)

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            with self._lock:
                held = list(self._held.values())
            try:
                if held:
                    self._messages.extend(held, seconds=self._seconds)
            except StacyardError as error:
                self._say(f"{len(held)} messages could not be kept: {error}")
