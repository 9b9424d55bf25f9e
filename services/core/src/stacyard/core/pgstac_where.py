"""Which items a search means, as a condition on pgSTAC's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stacyard.core.pgstac_filters import condition_of, names_in
from stacyard.core.pgstac_queryables import Queryable
from stacyard.core.pgstac_text import ITEM_HAS_WORDS
from stacyard.core.places import Box, meets_any, place_of
from stacyard.core.statement import Values


@dataclass(frozen=True, kw_only=True)
class ItemQuery:
    """Which items.

    Args:
        collections: in one of these; empty: any.
        ids: of one of these; None: any.
        boxes: meets one of these: west, south, east, north in degrees, west not greater than east; empty: anywhere.
        geometry: meets this too, GeoJSON in EPSG:4326.
        first: ends then or later.
        last: begins then or before.
        filter: is so, CQL2 as JSON.
        text: has these words in its title, description or keywords, as `pgstac_text.text_query` writes them.
    """

    collections: Sequence[str] = ()
    ids: Sequence[str] | None = None
    boxes: Sequence[Box] = ()
    geometry: Mapping[str, Any] | None = None
    first: datetime | None = None
    last: datetime | None = None
    filter: Mapping[str, Any] | None = None
    text: str | None = None

    def names(self) -> set[str]:
        """The names of properties that it speaks of.

        Raises:
            InvalidRequest: the filter is too much for one search.
        """
        return names_in(self.filter) if self.filter is not None else set()


def where_of(query: ItemQuery, queryables: Mapping[str, Queryable], values: Values) -> str:
    """SQL that is true of these items, and of no others; its values are added to the statement's.

    Raises:
        InvalidRequest: the filter or the geometry is none.
    """
    conditions = []
    if query.collections:
        conditions.append(f"collection = ANY ({values.add(list(query.collections), 'text[]')})")
    if query.ids is not None:
        conditions.append(f"id = ANY ({values.add(list(query.ids), 'text[]')})")
    if query.last is not None:
        conditions.append(f"datetime <= {values.add(query.last, 'timestamptz')}")
    if query.first is not None:
        conditions.append(f"end_datetime >= {values.add(query.first, 'timestamptz')}")
    if query.boxes:
        conditions.append(meets_any(query.boxes, values))
    if query.geometry is not None:
        conditions.append(f"ST_Intersects(geometry, {place_of(query.geometry, values)})")
    if query.filter is not None:
        conditions.append(f"({condition_of(query.filter, queryables, values)})")
    if query.text is not None:
        conditions.append(ITEM_HAS_WORDS.format(placeholder=values.add(query.text, "text")))
    return " AND ".join(conditions) or "true"
