"""Entity tags: of an answer by what decides it, and whether a client has it already. RFC 9110, section 8.8.3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from stacyard.core.access import caller_of
from stacyard.core.middleware.headers import combined
from stacyard.core.revision import RevisionPoll


def tag_of(*parts: bytes) -> str:
    """A weak tag of everything that is named; no other parts have the same, also if their bytes in a row are the same.

    It is weak because compression comes after it.
    """
    digest = hashlib.blake2b(digest_size=15)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return f'W/"{digest.hexdigest()}"'


def is_known(if_none_match: str | None, tag: str, *, anything: bool = True) -> bool:
    """Whether If-None-Match names the tag, by weak comparison. RFC 9110, sections 8.8.3.2 and 13.1.2.

    Args:
        if_none_match: the header.
        tag: of the answer.
        anything: whether `*` names it too: only where it is known that there is an answer at all.
    """
    if if_none_match is None:
        return False
    known = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return (anything and "*" in known) or tag.removeprefix("W/") in known


def not_modified(request: Request, tag: str) -> Response | None:
    """The 304 for a client that has the answer of this tag; None if it has not.

    It may be asked before anybody knows whether there is an answer: who has its tag had a whole one.
    """
    known = combined(request.scope["headers"], b"if-none-match")
    if known is None or request.method not in ("GET", "HEAD"):
        return None
    if not is_known(known.decode("latin-1"), tag, anything=False):
        return None
    return Response(status_code=304, headers={"ETag": tag})


class CatalogTags:
    """Tags of answers that the catalog decides: equal only if the answers are.

    An answer is decided by who asks for what, in which form, and below which public URL, since its links begin with
    it; by the state of the collections that it shows; by the software and its settings; and where it holds hrefs that
    expire, by the edition of these.
    """

    def __init__(self, *, revisions: RevisionPoll, made_by: bytes) -> None:
        """Tags for one service.

        Args:
            revisions: polls `revision.read_states`.
            made_by: see the function of this name.
        """
        self._revisions = revisions
        self._made_by = made_by
        # of all collections there may be thousands, and their states are the same for as long as a poll's result is
        self._all: tuple[Mapping[str, int], bytes] = ({}, b"")

    async def of(
        self, request: Request, *, collections: Iterable[str] | None, body: bytes = b"", edition: str = ""
    ) -> str:
        """The tag of the answer to a request, before the answer is made.

        The states are read first and the answer is made after, so that it is never older than its tag says.

        Args:
            request: what is asked, and by whom.
            collections: ids of the collections whose content the answer shows; None for all that there are, also those
                to come.
            body: of the request.
            edition: of what in the answer changes by itself, such as hrefs that expire.
        """
        states = await self._revisions.all()
        # a search over all is told from one that names all, which shows nothing of those to come
        shown = self._all_of(states) if collections is None else _state_of(states, sorted(set(collections)))
        every = b"" if collections is None else b"named"
        return tag_of(self._made_by, _bytes(edition), *_asked(request.scope), body, every, shown)

    def _all_of(self, states: Mapping[str, int]) -> bytes:
        if self._all[0] is not states:
            self._all = states, _state_of(states, sorted(states))
        return self._all[1]


def made_by(*distributions: str, settings: Iterable[BaseModel]) -> bytes:
    """What an answer owes to the software and how it is set up, the same in all processes of a deployment.

    Args:
        distributions: names of the packages that make it; their versions count.
        settings: of the service, such as the greatest page or where assets are published. Secrets stay out.
    """
    versions = [f"{name} {version(name)}" for name in sorted(distributions)]
    return tag_of(*(text.encode() for text in (*versions, *(each.model_dump_json() for each in settings)))).encode()


def _asked(scope: Scope) -> list[bytes]:
    headers = scope["headers"]
    return [
        _bytes(caller_of(scope).subject),
        _bytes(scope["scheme"]),
        combined(headers, b"host") or _bytes(str(scope.get("server"))),
        _bytes(scope.get("root_path", "")),
        _bytes(scope["path"]),
        scope["query_string"],
        combined(headers, b"accept") or b"",
        combined(headers, b"content-type") or b"",
    ]


def _state_of(states: Mapping[str, int], collections: Iterable[str]) -> bytes:
    return tag_of(*(_bytes(f"{name} {states.get(name, 0)}") for name in collections)).encode()


def _bytes(text: str) -> bytes:
    # JSON can spell halves of characters, which no encoding has
    return text.encode("utf-8", "surrogatepass")
