"""A CQL2 filter as a condition on pgSTAC's items, every value a parameter.

The meaning is that of pgSTAC's function `cql2_query`, operator by operator; what it refuses or gets wrong and CQL2
defines is here as CQL2 has it (docs/search.md lists the differences). https://docs.ogc.org/is/21-065r2/21-065r2.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_queryables import Queryable, function_of, path_of, wrapped
from stacyard.core.places import box_of, place_of
from stacyard.core.statement import Values

#: Makes SQL of one end of an interval. Not every end is compared, and a parameter that nobody uses is an error.
End = Callable[[], str]

DEEPEST = 50
MOST_NODES = 5000

_COMPARISONS = {
    **dict.fromkeys(("=", "eq"), "="),
    **dict.fromkeys(("<>", "!=", "neq", "ne"), "<>"),
    **dict.fromkeys(("<", "lt"), "<"),
    **dict.fromkeys(("<=", "lte", "le"), "<="),
    **dict.fromkeys((">", "gt"), ">"),
    **dict.fromkeys((">=", "gte", "ge"), ">="),
}
_LIKENESSES = {"like": "LIKE", "ilike": "ILIKE"}
_ARITHMETIC = {"+", "-", "*", "/"}
_FUNCTIONS = {"upper": "upper", "lower": "lower", "casei": "upper", "accenti": "unaccent"}
_SPATIAL = {
    **{f"s_{name}": f"ST_{name.capitalize()}" for name in ("intersects", "equals", "disjoint", "touches", "within")},
    **{f"s_{name}": f"ST_{name.capitalize()}" for name in ("overlaps", "crosses", "contains")},
    "intersects": "ST_Intersects",
}
_ARRAYS = {"a_equals": "=", "a_contains": "@>", "a_containedby": "<@", "a_contained_by": "<@", "a_overlaps": "&&"}
# CQL2, table 7: each says how the ends of two intervals lie, the first one's before the sign
_TEMPORAL = {
    "t_before": "{lh} < {rl}",
    "t_after": "{ll} > {rh}",
    "t_meets": "{lh} = {rl}",
    "t_metby": "{ll} = {rh}",
    "t_overlaps": "{ll} < {rl} AND {lh} > {rl} AND {lh} < {rh}",
    "t_overlappedby": "{ll} > {rl} AND {ll} < {rh} AND {lh} > {rh}",
    "t_starts": "{ll} = {rl} AND {lh} < {rh}",
    "t_startedby": "{ll} = {rl} AND {lh} > {rh}",
    "t_during": "{ll} > {rl} AND {lh} < {rh}",
    "t_contains": "{ll} < {rl} AND {lh} > {rh}",
    "t_finishes": "{ll} > {rl} AND {lh} = {rh}",
    "t_finishedby": "{ll} < {rl} AND {lh} = {rh}",
    "t_equals": "{ll} = {rl} AND {lh} = {rh}",
    "t_disjoint": "NOT ({ll} <= {rh} AND {lh} >= {rl})",
    "t_intersects": "{ll} <= {rh} AND {lh} >= {rl}",
    "anyinteracts": "{ll} <= {rh} AND {lh} >= {rl}",
}
_END = re.compile(r"\{(ll|lh|rl|rh)\}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MICROSECOND = timedelta(microseconds=1)


def names_in(node: Any) -> set[str]:
    """The names of properties that a filter speaks of.

    Raises:
        InvalidRequest: it is nested too deep, too long, or names none where it should.
    """
    names = set()
    for count, (depth, each) in enumerate(_nodes(node, 1)):
        if depth > DEEPEST or count >= MOST_NODES:
            raise _refused(f"a filter may be nested {DEEPEST} deep and have {MOST_NODES} parts; ask for less at once")
        if isinstance(each, Mapping) and "property" in each:
            name = each["property"]
            if not isinstance(name, str):
                raise _refused(f"a property has a name, not {_shown(name)}")
            names.add(name)
    return names


def condition_of(node: Any, queryables: Mapping[str, Queryable], values: Values) -> str:
    """SQL that is true of the items that a CQL2-JSON filter is true of; its values are added to the statement's.

    Args:
        node: the filter; `names_in` has let it pass.
        queryables: what the names in it mean.
        values: of the statement.

    Raises:
        InvalidRequest: it is no filter, or one that items cannot be searched by.
    """
    return _Filter(queryables, values).truth(node)


class _Filter:
    def __init__(self, queryables: Mapping[str, Queryable], values: Values) -> None:
        self._queryables = queryables
        self._values = values

    def truth(self, node: Any) -> str:
        """SQL of what is true or false."""
        if isinstance(node, bool):
            return "true" if node else "false"
        operator, arguments = _operation(node)
        if operator in ("and", "or"):
            if not arguments:
                raise _refused(f"{operator} joins conditions; give it some")
            return f"({f' {operator.upper()} '.join(self.truth(each) for each in arguments)})"
        if operator == "not":
            _count(operator, arguments, 1)
            return f"NOT ({self.truth(arguments[0])})"
        return self._relation(operator, arguments) or self._predicate(operator, arguments)

    def _relation(self, operator: str, arguments: Sequence[Any]) -> str | None:
        """SQL of how two places, times or lists lie to each other; None if the operator is about something else."""
        if operator not in _SPATIAL and operator not in _TEMPORAL and operator not in _ARRAYS:
            return None
        _count(operator, arguments, 2)
        if operator in _SPATIAL:
            left, right = (self._place(each) for each in arguments)
            return f"{_SPATIAL[operator]}({left}, {right})"
        if operator in _TEMPORAL:
            (ll, lh), (rl, rh) = (self._ends(each) for each in arguments)
            ends = {"ll": ll, "lh": lh, "rl": rl, "rh": rh}
            return f"({_END.sub(lambda found: ends[found[1]](), _TEMPORAL[operator])})"
        left, right = (self._array(each) for each in arguments)
        return f"{left} {_ARRAYS[operator]} {right}"

    def _predicate(self, operator: str, arguments: Sequence[Any]) -> str:
        if operator == "in":
            _count(operator, arguments, 2)
            if not isinstance(arguments[1], list) or not arguments[1]:
                raise _refused("in compares a value with a list of values; give it a list that is not empty")
            left, *others = self._alike([arguments[0], *arguments[1]])
            return f"{left} IN ({', '.join(others)})"
        if operator in ("like", "ilike", "not_like", "not_ilike"):
            _count(operator, arguments, 2)
            negated, plain = operator.startswith("not_"), operator.removeprefix("not_")
            left, right = self._texts(plain, arguments)
            return f"{left} {'NOT ' if negated else ''}{_LIKENESSES[plain]} {right}"
        if operator == "between":
            _count(operator, arguments, 3)
            value, low, high = self._alike(arguments)
            return f"{value} BETWEEN {low} AND {high}"
        if operator == "isnull":
            _count(operator, arguments, 1)
            queryable = self._queryable(arguments[0])
            if queryable is not None and queryable.mixed:
                # a value of another type than most is one
                return f"{wrapped(queryable, 'to_text', self._values)} IS NULL"
            return f"{self._alike(arguments)[0]} IS NULL"
        if operator in _COMPARISONS:
            _count(operator, arguments, 2)
            left, right = self._alike(arguments)
            return f"{left} {_COMPARISONS[operator]} {right}"
        raise _refused(f"{operator!r} is no condition that items can be searched by")

    def _alike(self, arguments: Sequence[Any]) -> list[str]:
        """SQL of values that are compared with each other, read as one type."""
        wrapper = self._wrapper(arguments)
        return [self._value(each, wrapper) for each in arguments]

    def _texts(self, operator: str, arguments: Sequence[Any]) -> list[str]:
        for each in arguments:
            queryable = self._queryable(each)
            if queryable is not None and queryable.column not in (None, "id", "collection"):
                raise _refused(f"{operator} compares text, and {queryable.name} is none")
        if self._wrapper(arguments) not in (None, "to_text"):
            raise _refused(f"{operator} compares text; one of the values here is none")
        return self._alike(arguments)

    def _wrapper(self, arguments: Sequence[Any]) -> str | None:
        queryables = [queryable for each in arguments if (queryable := self._queryable(each)) is not None]
        columns = {queryable.column for queryable in queryables}
        if columns & {"datetime", "end_datetime"}:
            return "to_tstz"
        if columns - {None}:
            return None
        declared = next((queryable.wrapper for queryable in queryables if queryable.declared), None)
        if declared is not None:
            return declared
        numbers = any(isinstance(each, int | float) and not isinstance(each, bool) for each in arguments)
        return "to_float" if numbers else "to_text"

    def _value(self, node: Any, wrapper: str | None) -> str:
        queryable = self._queryable(node)
        if queryable is not None:
            return wrapped(queryable, wrapper, self._values)
        if isinstance(node, Mapping):
            if isinstance(node.get("timestamp"), str):
                return self._time(_instant(node["timestamp"]))
            if isinstance(node.get("date"), str):
                return self._time(_instant(node["date"]))
            return self._computed(node)
        if isinstance(node, list):
            raise _refused(f"a list stands where one value should: {_shown(node)}")
        if wrapper is None:
            return self._values.add(node if isinstance(node, str) else _shown(node), "text")
        return f"{function_of(wrapper)}({self._values.add(node, 'jsonb')})"

    def _computed(self, node: Mapping[str, Any]) -> str:
        operator, arguments = _operation(node)
        if operator in _FUNCTIONS:
            _count(operator, arguments, 1)
            return f"{_FUNCTIONS[operator]}({self._alike(arguments)[0]})"
        if operator in _ARITHMETIC:
            _count(operator, arguments, 2)
            # whatever a property is registered as, what is added up are numbers
            wrapper = "to_int" if self._wrapper(arguments) == "to_int" else "to_float"
            left, right = (self._value(each, wrapper) for each in arguments)
            return f"({left} {operator} {right})"
        raise _refused(f"{operator!r} gives no value that could be compared")

    def _queryable(self, node: Any) -> Queryable | None:
        if isinstance(node, Mapping) and "property" in node:
            return self._queryables[node["property"]]
        return None

    def _time(self, time: datetime) -> str:
        return self._values.add(time, "timestamptz")

    def _place(self, node: Any) -> str:
        queryable = self._queryable(node)
        if queryable is not None:
            if queryable.column != "geometry":
                raise _refused(f"only geometry lies somewhere; {queryable.name} does not")
            return "geometry"
        if isinstance(node, Mapping) and "bbox" in node:
            node = node["bbox"]
        if isinstance(node, list):
            return box_of(node, self._values)
        if isinstance(node, Mapping) and "type" in node:
            return place_of(node, self._values)
        raise _refused(f"{_shown(node)} is neither a GeoJSON geometry nor a bbox")

    def _array(self, node: Any) -> str:
        queryable = self._queryable(node)
        if queryable is not None:
            if queryable.column is not None:
                raise _refused(f"{queryable.name} is no list")
            return f"pgstac.to_text_array({path_of(queryable, self._values)})"
        if isinstance(node, Mapping):
            raise _refused(f"{_shown(node)} is neither a property nor a list")
        parts = node if isinstance(node, list) else [node]
        return self._values.add([each if isinstance(each, str) else _shown(each) for each in parts], "text[]")

    def _ends(self, node: Any, *, inside: bool = False) -> tuple[End, End]:
        """The first and the last moment of an instant, a day, an interval or a property."""
        queryable = self._queryable(node)
        if queryable is not None:
            return self._property_ends(queryable)
        ends = _interval_of(node)
        if ends is not None:
            if inside:
                raise _refused("an interval begins and ends with a time, a day or a property")
            return self._interval_ends(ends)
        first, last = _moments(node)
        return partial(self._time, first), partial(self._time, last)

    def _property_ends(self, queryable: Queryable) -> tuple[End, End]:
        if queryable.column not in (None, "datetime", "end_datetime") or not queryable.temporal:
            raise _refused(f"{queryable.name} is no time")
        low = partial(wrapped, queryable, "to_tstz", self._values)
        if not queryable.date:
            return low, low
        return (
            low,
            lambda: f"(({low()} AT TIME ZONE 'UTC' + interval '1 day' - interval '1 microsecond') AT TIME ZONE 'UTC')",
        )

    def _interval_ends(self, ends: Sequence[Any]) -> tuple[End, End]:
        first, last = ends
        if _is_duration(first) or _is_duration(last):
            return self._lasting(first, last)
        low = (lambda: "'-infinity'::timestamptz") if _is_open(first) else self._ends(first, inside=True)[0]
        high = (lambda: "'infinity'::timestamptz") if _is_open(last) else self._ends(last, inside=True)[1]
        if not any(_is_open(end) or self._queryable(end) for end in ends) and _moments(first)[0] > _moments(last)[1]:
            raise _refused(f"the interval {_shown(list(ends))} ends before it starts")
        return low, high

    def _lasting(self, first: Any, last: Any) -> tuple[End, End]:
        other = last if _is_duration(first) else first
        if _is_open(other) or self._queryable(other) is not None or _is_duration(other):
            raise _refused("a duration goes with a time or a day at the other end")
        if _is_duration(first):
            high = self._ends(other, inside=True)[1]
            return lambda: f"({high()} - {self._values.add(first.upper(), 'text')}::interval)", high
        low = self._ends(other, inside=True)[0]
        return low, lambda: f"({low()} + {self._values.add(last.upper(), 'text')}::interval)"


def _nodes(node: Any, depth: int) -> Iterator[tuple[int, Any]]:
    """All parts, from the top down, without recursion as deep as the client likes."""
    waiting = [(depth, node)]
    while waiting:
        depth, each = waiting.pop()
        yield depth, each
        inner = each.values() if isinstance(each, Mapping) else each if isinstance(each, list) else ()
        # coordinates are no parts; their number has its own bound
        if not (isinstance(each, Mapping) and "type" in each):
            waiting.extend((depth + 1, part) for part in inner)


def _operation(node: Any) -> tuple[str, Sequence[Any]]:
    if not isinstance(node, Mapping) or not isinstance(node.get("op"), str):
        raise _refused(f'a condition looks like {{"op": "<", "args": […]}}, not like {_shown(node)}')
    arguments = node.get("args")
    if not isinstance(arguments, list):
        raise _refused(f"{node['op']} has a list of args")
    return node["op"].lower(), arguments


def _count(operator: str, arguments: Sequence[Any], wanted: int) -> None:
    if len(arguments) != wanted:
        raise _refused(f"{operator} takes {wanted} args, here are {len(arguments)}")


def _interval_of(node: Any) -> Sequence[Any] | None:
    ends = node.get("interval") if isinstance(node, Mapping) else node
    if isinstance(ends, str) and "/" in ends:
        ends = ends.split("/")
    if not isinstance(ends, list):
        return None
    if len(ends) != 2:
        raise _refused(f"an interval has two ends, not {len(ends)}")
    return ends


def _is_open(end: Any) -> bool:
    return isinstance(end, str) and end in ("..", "")


def _is_duration(end: Any) -> bool:
    return isinstance(end, str) and end[:1] in ("P", "p")


def _moments(node: Any) -> tuple[datetime, datetime]:
    """The first and the last moment of an instant or a day."""
    text = node
    day = isinstance(node, str) and _DAY.fullmatch(node) is not None
    if isinstance(node, Mapping):
        day = "date" in node
        text = node.get("date", node.get("timestamp"))
    if not isinstance(text, str):
        raise _refused(f"{_shown(node)} is neither a time, a day, an interval nor a property")
    first = _instant(text)
    try:
        return (first, first + timedelta(days=1) - _MICROSECOND) if day else (first, first)
    except OverflowError as error:
        raise _refused(f"there is no day after {text!r}") from error


def _instant(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _refused(f"{text!r} is no time; write for example 2020-05-18T13:00:00Z") from error


def _shown(node: Any) -> str:
    text = orjson.dumps(node).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(reason, parameter="filter")
