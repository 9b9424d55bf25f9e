"""Items as comma-separated values: RFC 4180, one line an item, UTF-8."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from stacyard.core.pgstac_hydration import Json
from stacyard.stac.formats.columns import add_column, check_width, members_of, row_of

_EDGES = ("west", "south", "east", "north")
_FIRST = ("id", "collection", *_EDGES, "datetime", "start_datetime", "end_datetime")
#: Members of items that have no column of their own; `bbox` and `assets` are told by several columns.
_LEFT_OUT = ("geometry", "links", "stac_version", "stac_extensions", "bbox", "assets")
# what a spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_rows: msgspec.json.Decoder[list[dict[str, str]]] = msgspec.json.Decoder(list[dict[str, str]])


class CsvWriter:
    """Writes ids, the edges of the box in degrees, every property, and the hrefs of assets as `assets.<key>.href`.

    Objects and lists are JSON text. A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """

    def __init__(self) -> None:
        self._columns: set[str] = set()

    def take(self, items: Sequence[Mapping[str, Any]]) -> bytes:
        """The cells of each row by their columns."""
        rows = [_cells(row_of(item)) for item in items]
        self._columns.update(*rows)
        check_width(len(self._columns))
        return msgspec.json.encode(rows)

    def written(self, kept: Iterable[bytes]) -> Iterator[bytes]:
        """The header, and the lines of each page."""
        assets = sorted(name for name in self._columns if name.startswith("assets.") and name.endswith(".href"))
        first = [name for name in _FIRST if name in self._columns]
        columns = [*first, *sorted(self._columns.difference(first, assets)), *assets]
        yield _lines([columns])
        for page in kept:
            yield _lines([row.get(column, "") for column in columns] for row in _rows.decode(page))


def _cells(row: Mapping[str, Json]) -> dict[str, str]:
    cells = {_guarded(name): _cell(value) for name, value in row.items() if name not in _LEFT_OUT}
    box = msgspec.json.decode(row["bbox"]) if "bbox" in row else None
    if isinstance(box, list) and len(box) in (4, 6):
        half = len(box) // 2
        for name, edge in zip(_EDGES, [*box[:2], *box[half : half + 2]], strict=True):
            add_column(cells, name, str(edge))
    for key, asset in members_of(row.get("assets")).items():
        href = members_of(asset).get("href")
        if href is not None:
            add_column(cells, f"assets.{key}.href", _cell(href))
    return cells


def _cell(value: Json) -> str:
    text = bytes(value)
    if text == b"null":
        return ""
    return _guarded(msgspec.json.decode(value)) if text[:1] == b'"' else text.decode()


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
