"""Free text: what a client writes in `q`, as a condition on items or collections.

Terms side by side are a phrase, as is what stands in double quotes; commas, `AND` and `OR` (in either case), `+` and
`-` before a term, and brackets combine them; words count by their stems in English. All this as in pgSTAC's
`q_to_tsquery`, but every term is quoted, so that no text is a mistake in PostgreSQL's own language of searches.

https://github.com/stac-api-extensions/freetext-search
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stacyard.core.errors import InvalidRequest

#: Characters of all of `q`: a search is a line, not a document. It also bounds how deep its brackets are.
LONGEST = 1000

#: Conditions with a placeholder for what `text_query` gives: on the column `content` of pgSTAC's items (none without
#: description, title and keywords is found, not even by an exclusion), on `words` of `stacyard.collection_search`.
ITEM_HAS_WORDS = "stacyard.item_words(content) @@ to_tsquery('english', {placeholder})"
COLLECTION_HAS_WORDS = "words @@ to_tsquery('english', {placeholder})"

_TOKEN = re.compile(
    r"""\s*(?:
        "(?P<phrase>[^"]*)" | (?P<open>\() | (?P<close>\)) | (?P<comma>,) | (?P<or>\|) | (?P<and>&) | (?P<not>!)
        # only where a term begins: well-known stays one word
        | (?<![^\s(,|&!])(?: (?P<plus>\+) | (?P<minus>-) )(?=["(\w])
        | (?P<word>[^\s()|&!,"]+)
    )""",
    re.VERBOSE,
)
_TERMS = ("word", "phrase", "close")
_BETWEEN = {"and": " & ", "or": " | ", "comma": " | "}
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


def text_query(q: Sequence[str]) -> str:
    """The text as PostgreSQL's `to_tsquery` reads it; several texts are alternatives.

    Raises:
        InvalidRequest: it combines what is not there, is too long, or has no word in it.
    """
    # a list in a query string was cut at its commas, also at those within quotes
    text = ",".join(q)
    if len(text) > LONGEST:
        raise _invalid(f"it has {len(text)} characters, and no more than {LONGEST} are looked for")
    if _NOT_TEXT.search(text):
        raise _invalid("it has a character that no text has")
    if text.count('"') % 2:
        raise _invalid("a quotation mark is not closed")
    query = _Query()
    for kind, word in _tokens(text):
        query.add(kind, word)
    return query.finished()


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        word = match[kind]
        if kind == "word" and word.lower() in ("and", "or"):
            yield word.lower(), word
        # punctuation between terms is none
        elif kind != "word" or any(map(str.isalnum, word)):
            yield kind, word


class _Query:
    """A query under way."""

    def __init__(self) -> None:
        self._text = ""
        # what is to stand before the next term, if something other than its side by side with the last
        self._operator = ""
        self._last = "start"
        self._depth = 0
        self._has_words = False

    def add(self, kind: str, word: str) -> None:
        """Take one token more.

        Raises:
            InvalidRequest: it cannot stand here.
        """
        match kind:
            case "word" | "phrase":
                self._has_words |= any(map(str.isalnum, word))
                self._term(_quoted(word, begins=kind == "word" and word.endswith(":*")), " <-> ")
            case "open":
                self._term("(", " & ")
                self._depth += 1
            case "close":
                self._close()
            case "plus" | "minus" | "not":
                self._operator = " & " if self._last in _TERMS else self._operator
                if kind != "plus":
                    # PostgreSQL reads no more than 32 operators in a row
                    excludes = self._operator.endswith("!")
                    self._operator = self._operator.removesuffix("!") if excludes else self._operator + "!"
            case "comma" if self._last in ("start", "open", "comma"):
                return
            case _ if self._last in _TERMS:
                self._operator = _BETWEEN[kind]
            case _:
                raise _invalid(f"{word!r} stands between two terms, and has none before it")
        self._last = kind

    def finished(self) -> str:
        """All of it.

        Raises:
            InvalidRequest: something is missing.
        """
        if not self._has_words:
            raise _invalid("there is no word in it")
        if self._depth:
            raise _invalid("a bracket is not closed")
        if self._last not in (*_TERMS, "comma"):
            raise _invalid("a term is missing at its end")
        return self._text

    def _term(self, text: str, side_by_side: str) -> None:
        if self._last in _TERMS:
            self._operator = " & " if self._last == "close" else side_by_side
        self._text, self._operator = self._text + self._operator + text, ""

    def _close(self) -> None:
        if not self._depth or self._last not in (*_TERMS, "comma"):
            raise _invalid("a bracket is closed where none is open, or nothing stands before it")
        self._text, self._operator = self._text + ")", ""
        self._depth -= 1


def _quoted(text: str, *, begins: bool) -> str:
    """A term that no character of its own ends; of words that begin with it, or of the words themselves."""
    text = text.removesuffix(":*") if begins else text
    # one of a single space has no words and is no mistake, an empty one is
    escaped = (text or " ").replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'{':*' if begins else ''}"


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(f"this text cannot be searched for: {reason}", parameter="q")
