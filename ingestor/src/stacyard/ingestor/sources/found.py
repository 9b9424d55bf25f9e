"""What a source finds: one future item or a block of ready-made ones, and the key under which the ledger knows it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson


class Line(NamedTuple):
    """One ready-made item as JSON; `place` is where it stands, for messages: `line 12`, `page 3, feature 7`."""

    place: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Found:
    """One item to be made, or a block of ready-made items.

    `source` is where its data is and what the pipeline needs to find it again; `content` are hashes of the data.
    `problem` says why nothing can be made of it. `items` is how many items it stands for; of a block that is known only
    once it was read, it is 0. `lines` are what is in a block if finding it meant reading it. `cursor` is where the
    search goes on after this one.
    """

    item_id: str
    source: Mapping[str, Any]
    content: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None
    items: int = 1
    lines: Sequence[Line] | None = None
    cursor: Mapping[str, Any] | None = None

    def key(self, collection: str, recipe_hash: str) -> str:
        """The ledger's key: SHA-256 over collection, recipe, source and content."""
        parts = [collection, recipe_hash, self.item_id, self.source, self.content, self.problem]
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
