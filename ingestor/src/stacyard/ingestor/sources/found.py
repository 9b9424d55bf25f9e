"""What a source finds: one future item, and the key under which the ledger knows it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, kw_only=True)
class Found:
    """One item to be made.

    `source` is where its data is and what the pipeline needs to find it again; `content` are hashes of the data.
    `problem` says why nothing can be made of it.
    """

    item_id: str
    source: Mapping[str, Any]
    content: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None

    def key(self, collection: str, recipe_hash: str) -> str:
        """The ledger's key: SHA-256 over collection, recipe, source and content."""
        parts = [collection, recipe_hash, self.item_id, self.source, self.content, self.problem]
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
