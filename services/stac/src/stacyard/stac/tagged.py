"""Answers that the catalog decides: tagged before they are made, kept while they are good, made once for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from starlette.requests import Request
from starlette.responses import Response

from stacyard.core.cache import AnswerCache
from stacyard.core.entity_tag import CatalogTags, made_by, not_modified
from stacyard.core.revision import RevisionPoll
from stacyard.stac.settings import StacSettings


class TaggedAnswers:
    """Answers by their tags."""

    def __init__(
        self,
        settings: StacSettings,
        *,
        revisions: RevisionPoll,
        edition: Callable[[], str],
        changed: Callable[[], None],
    ) -> None:
        """None at first.

        Args:
            settings: of the service; they decide answers, and how much memory is kept for them.
            revisions: of the catalog.
            edition: of the hrefs in answers, which changes when they do.
            changed: called when something was written, before anything is made of what was known before.
        """
        self._revisions = revisions
        self._edition = edition
        self._changed = changed
        self._states: Mapping[str, int] = {}
        self._tags = CatalogTags(
            revisions=revisions, made_by=made_by("stacyard-core", "stacyard-stac", settings=[settings])
        )
        self.cache: AnswerCache[bytes] = AnswerCache(most_bytes=settings.result_cache_mb * 2**20, size=len)

    async def answer(
        self,
        request: Request,
        make: Callable[[], Awaitable[bytes]],
        *,
        collections: Collection[str],
        body: bytes = b"",
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The answer, or that the client has it.

        Args:
            request: what is asked.
            make: makes it, if it is not at hand.
            collections: whose content it shows; none: of all.
            body: of the request.
            media_type: of the answer.
            headers: of the answer, besides its tag.
        """
        await self._look_at_revisions()
        tag = await self._tags.of(request, collections=collections or None, body=body, edition=self._edition())
        unchanged = not_modified(request, tag)
        if unchanged is not None:
            unchanged.headers.update(headers or {})
            return unchanged
        return Response(
            await self.cache.get(tag, make), media_type=media_type, headers={"ETag": tag, **(headers or {})}
        )

    async def _look_at_revisions(self) -> None:
        """So that no answer is made of something older than its tag says."""
        states = await self._revisions.all()
        if states is not self._states:
            if states != self._states:
                self._changed()
            self._states = states
