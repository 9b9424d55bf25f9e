"""Values of a statement, kept apart from its text."""

from __future__ import annotations

from typing import Any


class Values:
    """The parameters of one statement, in order."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def add(self, value: Any, kind: str) -> str:
        """What stands for the value in the text, as this type of PostgreSQL's."""
        self.all.append(value)
        return f"${len(self.all)}::{kind}"
