"""Blocks of ready-made items, from every form of source that has some.

| source | reader |
| --- | --- |
| NDJSON and JSON files | `lines`, `document`: see `itemfiles` |
| `.parquet`, `.geoparquet` | `geoparquet` |
| `…/catalog.json`, `…/collection.json` | `catalog` |
| `https://host/…/collections/x`, `https://host/…/search?…` | `api` |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from stacyard.ingestor.errors import Damaged, SourceError
from stacyard.ingestor.sources.files import walk
from stacyard.ingestor.sources.forms import is_api, is_catalog, is_geoparquet
from stacyard.ingestor.sources.found import Found, Line
from stacyard.ingestor.sources.local import SourceFile

if TYPE_CHECKING:
    from stacyard.ingestor.sources import geoparquet


#: Finds the blocks of a file; None if it is no file of items.
FindFile: TypeAlias = Callable[[SourceFile], Iterator[Found] | None]


def find_blocks(
    sources: Sequence[str], *, find_file: FindFile, cursor: Mapping[str, Any] | None = None
) -> Iterator[Found]:
    """Blocks of the ready-made items of all sources; each names its reader in `source["reader"]`.

    Args:
        sources: as `absolute` made them.
        find_file: finds the blocks of files that are no Parquet.
        cursor: of a block that was found before, with the same sources.

    Raises:
        SourceError: a source cannot be read, or holds no items.
    """
    first = cursor["source"] if cursor else 0
    for number, source in enumerate(sources):
        if number >= first:
            start = cursor if number == first else None
            for each in _blocks(source, find_file, start):
                yield replace(each, cursor={"source": number, **(each.cursor or {})})


class BlockReaders:
    """Reads blocks again that `find_blocks` found by a reader of its own: `geoparquet`, `catalog`, `api`."""

    def __init__(self) -> None:
        self._geoparquet: geoparquet.Reader | None = None

    def reads(self, source: Mapping[str, Any]) -> bool:
        """Whether the block is one of these."""
        return source.get("reader") in ("geoparquet", "catalog", "api")

    def read(self, source: Mapping[str, Any]) -> list[Line]:
        """The items of a block.

        Raises:
            SourceError: it cannot be read, or has changed.
        """
        # libraries that only these readers need take as long to import as a small run takes
        match source["reader"]:
            case "geoparquet":
                from stacyard.ingestor.sources import geoparquet

                self._geoparquet = self._geoparquet or geoparquet.Reader()
                return list(self._geoparquet.read(source))
            case "catalog":
                from stacyard.ingestor.sources import catalogs

                return list(catalogs.read(source))
            case _:
                from stacyard.ingestor.sources import stacapi

                return list(stacapi.read(source))

    def close(self) -> None:
        """Close the file that is open."""
        if self._geoparquet is not None:
            self._geoparquet.close()


def _blocks(source: str, find_file: FindFile, cursor: Mapping[str, Any] | None) -> Iterator[Found]:
    if is_api(source):
        from stacyard.ingestor.sources import stacapi

        return stacapi.find(source, cursor=cursor)
    if is_catalog(source):
        from stacyard.ingestor.sources import catalogs

        return catalogs.find(source, cursor=cursor)
    return _file_blocks(source, find_file, cursor)


def _file_blocks(source: str, find_file: FindFile, cursor: Mapping[str, Any] | None) -> Iterator[Found]:
    # a file of which not all blocks are written down is found again as a whole
    before = cursor if cursor and len(cursor) > 1 else None
    empty = before is None
    for file in walk([source], cursor=before and {**before, "source": 0}):
        found = _parquet(file) if is_geoparquet(file.name) else find_file(file)
        if found is not None:
            empty = False
            for each in _as_far_as_it_goes(file, found):
                yield replace(each, cursor=_place(before))
        before = file.cursor
    if empty:
        raise SourceError(
            f"{source} holds no items: their files are NDJSON or JSON (plain, .gz or .zst), or .parquet; a static "
            "catalog is named by its catalog.json"
        )


def _as_far_as_it_goes(file: SourceFile, found: Iterator[Found]) -> Iterator[Found]:
    """The blocks of a file, and what is wrong with it as a task of its own: the other files need not wait for that."""
    try:
        yield from found
    except Damaged as error:
        yield Found(
            item_id=file.name, source={"path": file.uri}, content={"version": file.version or ""}, problem=str(error)
        )


def _place(cursor: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (cursor or {}).items() if key != "source"}


def _parquet(file: SourceFile) -> Iterator[Found]:
    from stacyard.ingestor.sources import geoparquet

    return geoparquet.find(file.uri)
