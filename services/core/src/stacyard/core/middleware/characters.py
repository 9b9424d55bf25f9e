"""A character that PostgreSQL has none of is refused before anybody asks PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from stacyard.core.middleware.problems import ProblemResponse


@dataclass(frozen=True)
class Characters:
    """Answers 400 to a request with a NUL character in its path or query."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request without one pass."""
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            refusal = ProblemResponse(400, "there is a NUL character (%00) in the path or the query: leave it out")
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)
