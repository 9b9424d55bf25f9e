"""What a search may cost, decided from its parameters before anybody works on them.

Pure functions that walk as far as a bound and no further, without recursion. What is malformed they let pass: to say so
is the business of whoever reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Sized

from stacyard.core.errors import InvalidRequest

#: How deep geometry collections may lie in each other; GeoJSON advises against even one (RFC 7946, section 3.1.8).
GEOMETRY_DEPTH = 4
#: How deep the operators of a filter may lie in each other, since pgSTAC recurses.
FILTER_DEPTH = 32
#: How deep brackets of a CQL2 text may lie in each other: where it is wrong, cql2 takes twice as long for each.
TEXT_DEPTH = 10
#: Characters of a CQL2 text: cql2 dies of some 2,000 operators in a row.
FILTER_CHARACTERS = 4_000

# a position lies in a ring in a polygon in a multipolygon
_COORDINATES_DEPTH = 4
# operators before an operand nest like parentheses
_PREFIXES = re.compile(r"(?:(?:\bNOT\b|[-+])\s*){5}", re.IGNORECASE)
# a text in single quotes, a name in double ones; doubled within they stand for themselves
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")


def check_count(values: Sized | None, *, most: int, parameter: str) -> None:
    """Let a list pass that is no longer than it may be.

    Raises:
        InvalidRequest: it is longer.
    """
    if values is not None and len(values) > most:
        raise InvalidRequest(
            f"{parameter} has {len(values)} entries, at the most {most} are searched at once; split the request",
            parameter=parameter,
        )


def check_geometry(geometry: object, *, vertices: int, parameter: str = "intersects") -> None:
    """Let a GeoJSON geometry pass that has no more vertices, and is no deeper, than it may be.

    Raises:
        InvalidRequest: it has, or is.
    """
    _add_vertices(geometry, 0, most=vertices, parameter=parameter)


def check_filter(filter_: object, *, terms: int, vertices: int, parameter: str = "filter") -> None:
    """Let a filter in CQL2 JSON, or of the query extension, pass that is neither too large nor too deep.

    Args:
        filter_: what was decoded from JSON.
        terms: the most operators, properties and literals that it may have; geometries count by their vertices.
        vertices: the most vertices that all its geometries may have.
        parameter: what the client calls it.

    Raises:
        InvalidRequest: it is too large or too deep.
    """
    counted, counted_vertices = 0, 0
    waiting: list[tuple[object, int]] = [(filter_, 0)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, Mapping) and ("coordinates" in node or "geometries" in node):
            counted_vertices = _add_vertices(node, counted_vertices, most=vertices, parameter=parameter)
            continue
        counted += 1
        if counted > terms:
            raise InvalidRequest(
                f"{parameter} has more than {terms} operators, properties and values; ask for less at once",
                parameter=parameter,
            )
        # an operator and its list of arguments are two levels of JSON and one of the filter
        if depth > 2 * FILTER_DEPTH:
            raise InvalidRequest(
                f"{parameter} is nested more than {FILTER_DEPTH} deep; an `and` or `or` takes any number of arguments",
                parameter=parameter,
            )
        waiting.extend((child, depth + 1) for child in _children(node))


def check_filter_text(text: str, *, parameter: str = "filter") -> None:
    """Let a CQL2 text pass that is short and flat enough to be parsed safely.

    Raises:
        InvalidRequest: it is too long or too deep.
    """
    if len(text) > FILTER_CHARACTERS:
        raise InvalidRequest(
            f"{parameter} has {len(text)} characters, at the most {FILTER_CHARACTERS} are read; "
            "send a longer one as CQL2 JSON by POST",
            parameter=parameter,
        )
    unquoted = _QUOTED.sub("''", text)
    if _PREFIXES.search(unquoted):
        raise InvalidRequest(
            f"{parameter} has NOT, - or + five times in a row; leave out those that cancel each other",
            parameter=parameter,
        )
    depth = 0
    for character in unquoted:
        if character in "([":
            depth += 1
            if depth > TEXT_DEPTH:
                raise InvalidRequest(
                    f"{parameter} has parentheses more than {TEXT_DEPTH} deep; leave out those that are not needed",
                    parameter=parameter,
                )
        elif character in ")]":
            depth -= 1


def _add_vertices(geometry: object, counted: int, *, most: int, parameter: str) -> int:
    for _ in _vertices(geometry, parameter):
        counted += 1
        if counted > most:
            raise InvalidRequest(
                f"{parameter} has more than {most} vertices; simplify it, or ask for its parts", parameter=parameter
            )
    return counted


def _vertices(geometry: object, parameter: str) -> Iterator[object]:
    """Every position of a geometry; what holds none counts as one, since it costs its place too."""
    waiting: list[tuple[object, int]] = [(geometry, 0)]
    while waiting:
        part, depth = waiting.pop()
        if not isinstance(part, Mapping):
            continue
        if depth > GEOMETRY_DEPTH:
            raise InvalidRequest(
                f"{parameter} has collections of geometries more than {GEOMETRY_DEPTH} deep; put them into one",
                parameter=parameter,
            )
        yield from _positions(part.get("coordinates", []), parameter)
        waiting.extend((child, depth + 1) for child in _children(part.get("geometries")))


def _positions(coordinates: object, parameter: str) -> Iterator[object]:
    waiting: list[tuple[object, int]] = [(coordinates, 1)]
    while waiting:
        part, depth = waiting.pop()
        if not isinstance(part, list | tuple):
            continue
        if depth > _COORDINATES_DEPTH:
            raise InvalidRequest(f"{parameter} has coordinates that are nested too deep", parameter=parameter)
        if part and isinstance(part[0], list | tuple):
            waiting.extend((child, depth + 1) for child in part)
        else:
            yield part


def _children(node: object) -> Sequence[object]:
    if isinstance(node, Mapping):
        return list(node.values())
    return node if isinstance(node, list | tuple) else ()
