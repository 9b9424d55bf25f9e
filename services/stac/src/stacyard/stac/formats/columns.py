"""Items as rows of a table: the properties stand beside the other members, as stac-geoparquet has it.

https://github.com/stac-utils/stac-geoparquet/blob/main/spec/stac-geoparquet-spec.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_hydration import Json

#: More columns than this are no table that anybody could read.
MOST_COLUMNS = 4000
Value = TypeVar("Value")
_members: msgspec.json.Decoder[dict[str, Json]] = msgspec.json.Decoder(dict[str, Json])


def json_of(value: Any) -> Json:
    """A value as JSON text; what is such text already stays as it is."""
    return value if isinstance(value, msgspec.Raw) else Json(msgspec.json.encode(value))


def row_of(item: Mapping[str, Any]) -> dict[str, Json]:
    """The members of an item and its properties beside one another, as JSON.

    Raises:
        InvalidRequest: a property has the name of another member.
    """
    row = {name: json_of(value) for name, value in item.items() if name not in ("type", "properties")}
    properties = members_of(json_of(item["properties"])) if "properties" in item else {}
    for name, value in properties.items():
        add_column(row, name, value)
    return row


def add_column(row: dict[str, Value], name: str, value: Value) -> None:
    """Put a value into a row.

    Raises:
        InvalidRequest: something else has this name.
    """
    if name in row:
        raise InvalidRequest(
            f"a property {name!r} cannot stand beside something else of this name in a table: leave it out with "
            f"fields=-properties.{name}, or take f=ndjson"
        )
    row[name] = value


def members_of(value: Json | None) -> dict[str, Json]:
    """The members of an object, as JSON; nothing of anything else."""
    return _members.decode(value) if value is not None and bytes(value)[:1] == b"{" else {}


def check_width(columns: int) -> None:
    """Let a table of so many columns pass.

    Raises:
        InvalidRequest: they are too many.
    """
    if columns > MOST_COLUMNS:
        raise InvalidRequest(
            f"these items have so little in common that a table of them has more than {MOST_COLUMNS} columns: ask for "
            "one collection, for fewer fields, or for f=ndjson"
        )
