"""Items as lines of JSON, one item a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

_encode_lines = msgspec.json.Encoder().encode_lines


class NdjsonWriter:
    """Writes items as they are in a page of GeoJSON, each on a line of its own that ends with a newline."""

    def take(self, items: Sequence[Mapping[str, Any]]) -> bytes:
        """The lines of a page."""
        return _encode_lines(items)

    def written(self, kept: Iterable[bytes]) -> Iterator[bytes]:
        """The lines of all pages."""
        return iter(kept)
