"""What a form of export does, and which one a client asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stacyard.core.errors import InvalidRequest, NotAcceptable


class Writer(Protocol):
    """Writes one export. All of it runs in threads, one call at a time."""

    def take(self, items: Sequence[Mapping[str, Any]]) -> bytes:
        """What is to be kept of a page of published items until the export is written.

        Raises:
            InvalidRequest: these items cannot be told in this form.
        """

    def written(self, kept: Iterable[bytes]) -> Iterator[bytes]:
        """The export, of what was kept of all of its pages."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form of export.

    Args:
        names: values of `f`, the usual one first.
        suffix: of a file that holds it.
        media_types: by which it is asked for; answers have the first.
        writer: makes the writer of one export; a function, since what it imports may be large.
        at_once: what is kept of a page is the page's part of the export, so that it can go out as soon as it is read.
    """

    names: tuple[str, ...]
    suffix: str
    media_types: tuple[str, ...]
    writer: Callable[[], Writer]
    at_once: bool = False


def _ndjson() -> Writer:
    from stacyard.stac.formats.ndjson import NdjsonWriter

    return NdjsonWriter()


def _csv() -> Writer:
    from stacyard.stac.formats.csv import CsvWriter

    return CsvWriter()


def _geoparquet() -> Writer:
    from stacyard.stac.formats.geoparquet import GeoParquetWriter

    return GeoParquetWriter()


_PAGE_NAMES = ("json", "geojson")
_PAGE_TYPES = ("application/geo+json", "application/json")
FORMS = (
    Form(
        names=("geoparquet", "parquet"),
        suffix="parquet",
        media_types=("application/vnd.apache.parquet", "application/x-parquet"),
        writer=_geoparquet,
    ),
    Form(
        names=("ndjson", "geojsonl"),
        suffix="ndjson",
        media_types=("application/x-ndjson", "application/ndjson", "application/jsonl"),
        writer=_ndjson,
        at_once=True,
    ),
    Form(names=("csv",), suffix="csv", media_types=("text/csv",), writer=_csv),
)


def form_of(name: Any, accept: str | None) -> Form | None:
    """The form that a client asks for; None: a page of GeoJSON.

    Args:
        name: the parameter `f`, which wins over the header.
        accept: the header `Accept`. What is wanted alike is told apart by how exactly it is named, and a page comes
            first. RFC 9110, section 12.5.1.

    Raises:
        InvalidRequest: there is no form of this name.
        NotAcceptable: the header allows none of ours.
    """
    if name is not None:
        for form in FORMS:
            if name in form.names:
                return form
        if name not in _PAGE_NAMES:
            raise InvalidRequest(f"f is one of {_known_names()}, not {name!r}", parameter="f")
        return None
    ranges = _ranges(accept)
    if not ranges:
        return None
    offers: list[tuple[Form | None, tuple[str, ...]]] = [(None, _PAGE_TYPES)]
    offers += [(form, form.media_types) for form in FORMS]
    best: tuple[tuple[float, int], Form | None] | None = None
    for offer, media_types in offers:
        wanted = max(_wanted(media_type, ranges) for media_type in media_types)
        if wanted[0] > 0 and (best is None or wanted > best[0]):
            best = wanted, offer
    if best is None:
        known = ", ".join(types[0] for _, types in offers)
        raise NotAcceptable(f"there is nothing here that Accept allows; items come as {known}")
    return best[1]


def _known_names() -> str:
    return ", ".join(["json", *(form.names[0] for form in FORMS)])


def _ranges(accept: str | None) -> dict[str, float]:
    """Media ranges and their quality, without other parameters."""
    ranges = {}
    for part in (accept or "").lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        if media_range:
            weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
            ranges[media_range] = _quality(weight)
    return ranges


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


def _wanted(media_type: str, ranges: Mapping[str, float]) -> tuple[float, int]:
    """How much a type is wanted, and how exactly it is named; the most exact of the ranges that match decides."""
    major = media_type.partition("/")[0]
    for exactness, name in ((2, media_type), (1, f"{major}/*"), (0, "*/*")):
        if name in ranges:
            return ranges[name], exactness
    return 0.0, 0
