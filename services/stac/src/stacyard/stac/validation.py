"""Whether a document is a STAC item or collection, by the STAC schemas, and what else it must be to be stored.

The schemas are those that pystac brings along, of STAC 1.1.0; nothing is fetched. A document of STAC 1.0 is held
against them too, but for its version: 1.1 only gave names to what 1.0 left open. Schemas of extensions are not looked
at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, NamedTuple

import jsonschema_rs
from jsonschema_rs import ValidationErrorKind
from pystac.validation.local_validator import get_local_schema_cache

from stacyard.core.errors import InvalidRequest
from stacyard.stac.bodies import pointer

#: Characters of an id: more would not fit pgSTAC's indexes.
MAX_ID_LENGTH = 512

_SCHEMA = "https://schemas.stacspec.org/v1.1.0/{0}-spec/json-schema/{0}.json"
_VERSION = re.compile(r"1\.(0|1)\.\d+")
_CHECKED_VERSION = "1.1.0"
_EXPECTED, _OR = "expected ", " or "
_FAULTS_SAID = 5
# as the library writes it, with the value masked
_MASK = "it"
_NOT_NULL = f'{_MASK} is not of type "null"'
# clients have stored hrefs with spaces for as long as STAC has been there
_UNCHECKED_FORMATS = ("iri", "iri-reference", "uri", "uri-reference", "email")


class Fault(NamedTuple):
    """What is wrong in a document: where, as a JSON pointer (RFC 6901), and what is expected there."""

    place: str
    reason: str


class Refused(InvalidRequest):
    """Documents that are not as they must be; the message names the first few faults."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        listed = list(faults)
        said = "; ".join(f"{place or '/'}: {reason}" for place, reason in listed[:_FAULTS_SAID])
        more = f"; and {len(listed) - _FAULTS_SAID} more" if len(listed) > _FAULTS_SAID else ""
        super().__init__(said + more, parameter=listed[0].place or "/")


class Schemas:
    """The STAC schemas, compiled once."""

    def __init__(self) -> None:
        schemas = get_local_schema_cache()
        registry = jsonschema_rs.Registry(list(schemas.items()))
        self._validators = {
            kind: jsonschema_rs.validator_for(
                schemas[_SCHEMA.format(kind)],
                registry=registry,
                formats=dict.fromkeys(_UNCHECKED_FORMATS, lambda _: True),
                validate_formats=True,
                mask=_MASK,
                offline=True,
            )
            for kind in ("item", "collection")
        }

    def item_faults(self, item: Any, *, collection: str, item_id: str | None = None) -> list[Fault]:
        """What is wrong with an item; nothing if it can be stored.

        Args:
            item: the item as it was sent.
            collection: the collection that it is sent to, which the item need not name.
            item_id: the id that it must have.
        """
        if isinstance(item, dict) and "geometry" in item and item["geometry"] is None:
            return [Fault("/geometry", "it is null, and this catalog stores no item without one")]
        faults = self._faults("item", item, collection=collection)
        if faults:
            return faults
        faults = _id_faults(item["id"], item_id)
        if item.get("collection") not in (None, collection):
            reason = f"the path says {collection!r}: send the item there, or leave the member out"
            faults.append(Fault("/collection", reason))
        faults += _geometry_faults(item["geometry"])
        faults += _time_faults(item["properties"])
        return faults

    def collection_faults(self, document: Any, *, collection: str | None = None) -> list[Fault]:
        """What is wrong with a collection; nothing if it can be stored. `collection` is the id that it must have."""
        faults = self._faults("collection", document)
        if faults:
            return faults
        faults = _id_faults(document["id"], collection)
        # the schema says of what kind its members are, and forgets to say of what kind it is
        if not isinstance(document.get("item_assets", {}), dict):
            faults.append(Fault("/item_assets", "an object was expected"))
        return faults

    def _faults(
        self, kind: Literal["item", "collection"], document: Any, *, collection: str | None = None
    ) -> list[Fault]:
        if not isinstance(document, dict):
            return [Fault("", f"a STAC {kind} is a JSON object")]
        version = document.get("stac_version")
        if not (isinstance(version, str) and _VERSION.fullmatch(version)):
            return [Fault("/stac_version", "1.0.0 to 1.1.0 was expected")]
        checked = {**document, "stac_version": _CHECKED_VERSION}
        if collection is not None:
            # the API says both when it answers with the item
            links, link = document.get("links"), {"rel": "collection", "href": "collection"}
            checked |= {
                "collection": document.get("collection") or collection,
                "links": [*links, link] if isinstance(links, list) else links,
            }
        validator = self._validators[kind]
        if validator.is_valid(checked):
            return []
        faults = _tidied(fault for error in validator.iter_errors(checked) for fault in _leaves(error))
        return faults or [Fault("", f"it is no valid STAC {kind}")]


def _leaves(error: jsonschema_rs.ValidationError) -> list[Fault]:
    """An error as what to change; where the schema has alternatives, what keeps it from being the nearest of them."""
    kind = error.kind
    if isinstance(kind, ValidationErrorKind.OneOfMultipleValid):
        # no schema of STAC has alternatives that overlap in what it accepts: another error says what is wrong
        return []
    if isinstance(kind, ValidationErrorKind.OneOfNotValid | ValidationErrorKind.AnyOf):
        return _nearest([[fault for inner in branch for fault in _leaves(inner)] for branch in kind.context])
    place = pointer("", *error.instance_path)
    if kind.name == "enum":
        return [Fault(place, _EXPECTED + _OR.join(map(str, kind.value)))]
    return [Fault(place, "this is not allowed here" if kind.name == "not" else error.message)]


def _nearest(alternatives: list[list[Fault]]) -> list[Fault]:
    """What is wrong by the alternative with the fewest faults and the deepest; null is what nobody has meant.

    Where alternatives expect different words at one place, all of these words are expected there.
    """
    nearest = min(
        filter(None, alternatives),
        key=lambda faults: (
            any(fault.reason == _NOT_NULL for fault in faults),
            len(faults),
            -max(fault.place.count("/") for fault in faults),
        ),
    )
    words: dict[str, list[str]] = {}
    for fault in (fault for faults in alternatives for fault in faults if fault.reason.startswith(_EXPECTED)):
        words.setdefault(fault.place, []).extend(fault.reason.removeprefix(_EXPECTED).split(_OR))
    return [
        Fault(fault.place, _EXPECTED + _OR.join(dict.fromkeys(words[fault.place])))
        if fault.reason.startswith(_EXPECTED)
        else fault
        for fault in nearest
    ]


def _tidied(faults: Iterable[Fault]) -> list[Fault]:
    """Each fault once, in the order of places; of what is expected at one place, the shorter list."""
    expected: dict[str, Fault] = {}
    others: dict[Fault, None] = {}
    for fault in faults:
        if fault.reason.startswith(_EXPECTED):
            known = expected.setdefault(fault.place, fault)
            expected[fault.place] = min(known, fault, key=lambda each: len(each.reason))
        else:
            others[fault] = None
    return sorted([*expected.values(), *others], key=lambda fault: fault.place)


def _id_faults(found: str, expected: str | None) -> list[Fault]:
    if expected is not None and found != expected:
        return [Fault("/id", f"the path says {expected!r}: an id cannot be changed")]
    if len(found) > MAX_ID_LENGTH:
        return [Fault("/id", f"longer than {MAX_ID_LENGTH} characters")]
    return []


def _geometry_faults(geometry: dict[str, Any]) -> list[Fault]:
    return [
        Fault(place, "the ring is not closed: its last position must be its first (RFC 7946, section 3.1.6)")
        for place, ring in _rings(geometry, "/geometry")
        if ring[0] != ring[-1]
    ]


def _rings(geometry: dict[str, Any], place: str) -> Iterator[tuple[str, list[Any]]]:
    match geometry["type"]:
        case "Polygon":
            yield from _numbered(geometry["coordinates"], f"{place}/coordinates")
        case "MultiPolygon":
            for inner, polygon in _numbered(geometry["coordinates"], f"{place}/coordinates"):
                yield from _numbered(polygon, inner)


def _numbered(values: list[Any], place: str) -> Iterator[tuple[str, Any]]:
    return ((f"{place}/{index}", value) for index, value in enumerate(values))


def _time_faults(properties: dict[str, Any]) -> list[Fault]:
    times: dict[str, datetime] = {}
    for name in ("datetime", "start_datetime", "end_datetime"):
        value = properties.get(name)
        if value is not None:
            try:
                times[name] = datetime.fromisoformat(value)
            except ValueError as error:
                return [Fault(f"/properties/{name}", f"there is no such time: {error}")]
    if "start_datetime" in times and "end_datetime" in times and times["start_datetime"] > times["end_datetime"]:
        return [Fault("/properties/end_datetime", "it is before start_datetime")]
    return []
