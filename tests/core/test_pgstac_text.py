"""Free text means what it means to pgSTAC, and no text is a mistake in PostgreSQL's own language."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.rows import TupleRow

from stacyard.core.connection import connect
from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_text import LONGEST, text_query
from stacyard.core.settings import DatabaseSettings

Connection = psycopg.Connection[TupleRow]


@pytest.fixture(scope="module")
def reader(database_settings: DatabaseSettings) -> Iterator[Connection]:
    with connect(database_settings.url("reader"), application_name="test") as session:
        yield session


def parsed(reader: Connection, query: str) -> str:
    row = reader.execute("SELECT to_tsquery('english', %s)::text", [query]).fetchone()
    assert row is not None
    return str(row[0])


# two letters at least: before an operator pgSTAC loses a term of one
words = st.sampled_from(["snow", "covers", "the", "sentinel-2", "l2a", "10m", "ndvi", "Forest", "notes", "x_y", "AND1"])
phrases = st.lists(words, min_size=1, max_size=3).map(lambda each: f'"{" ".join(each)}"')
signed = st.tuples(st.sampled_from([" +", " -"]), words).map("".join)


@st.composite
def alternatives(draw: st.DrawFn) -> str:
    """What both understand: terms side by side, signs, quotes, alternatives, and brackets."""
    first = draw(
        st.one_of(words, phrases, st.lists(words, min_size=2, max_size=3).map(" ".join), signed.map(str.strip))
    )
    rest = draw(
        st.lists(
            st.one_of(
                st.tuples(st.sampled_from([" AND ", " OR ", " and ", ", ", ","]), st.one_of(words, phrases)).map(
                    "".join
                ),
                signed,
            ),
            max_size=4,
        )
    )
    text = first + "".join(rest)
    # a sign behind a bracket is none to pgSTAC
    return f"({text}) AND {draw(words)}" if text[0] not in "+-" and draw(st.booleans()) else text


@given(st.lists(alternatives(), min_size=1, max_size=2))
def test_a_text_is_what_it_is_to_pgstac(reader: Connection, q: list[str]) -> None:
    row = reader.execute("SELECT pgstac.q_to_tsquery(%s)::text", [json.dumps(q)]).fetchone()
    assert row is not None
    assert parsed(reader, text_query(q)) == row[0]


@given(st.lists(st.text() | st.text(" ab\"(),|&!+-:*\\'<>"), max_size=3))
@example(["!" * 900 + "a"])
@example(["(" * 400 + "a" + ")" * 400])
@example(["\ud800"])
@example(["a" * LONGEST])
def test_no_text_is_a_mistake_to_the_database(reader: Connection, q: list[str]) -> None:
    try:
        query = text_query(q)
    except InvalidRequest:
        return
    parsed(reader, query)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        # what is no text to pgSTAC
        ("santé publique", "'santé' <-> 'publiqu'"),
        ("snow; cover", "'snow' <-> 'cover'"),
        ("a map OR b", "'map' | 'b'"),
        ("eo:cloud_cover", "'eo' <-> 'cloud' <-> 'cover'"),
        ("snow (cover OR depth)", "'snow' & ( 'cover' | 'depth' )"),
        ("snow -(cover OR depth)", "'snow' & !( 'cover' | 'depth' )"),
        ('"farmer\'s field"', "'farmer' <2> 'field'"),
        (",snow,,cover,", "'snow' | 'cover'"),
        ("!!snow", "'snow'"),
        ("(-snow) AND cover", "!'snow' & 'cover'"),
        ('"" snow', "'snow'"),
        # the beginning of words, in PostgreSQL's way of writing it
        ("senti:*", "'senti':*"),
        ("the", ""),
    ],
)
def test_what_is_meant_is_found(reader: Connection, text: str, query: str) -> None:
    assert parsed(reader, text_query([text])) == query


def test_a_list_that_was_cut_within_quotes_is_whole_again(reader: Connection) -> None:
    assert parsed(reader, text_query(['"snow', ' cover"', "depth"])) == "'snow' <-> 'cover' | 'depth'"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no word"),
        (" , ;", "no word"),
        ('""', "no word"),
        ("AND snow", "none before it"),
        ("snow OR", "missing at its end"),
        ("snow AND OR cover", "none before it"),
        ("snow &", "missing at its end"),
        ('snow "cover', "not closed"),
        ("(snow", "not closed"),
        ("snow)", "none is open"),
        ("snow ()", "none is open"),
        ("snow\0", "character"),
        ("s" * (LONGEST + 1), "no more than"),
    ],
)
def test_what_combines_nothing_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        text_query([text])
