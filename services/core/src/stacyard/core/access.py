"""Who asks, and what they may read: the one function that every read of a collection, item, layer or asset passes.

Today everything in a stacyard is public. A policy replaces `PublicAccess` here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request

from stacyard.core.errors import Forbidden, NotFound


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    subject: str = "anonymous"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What is asked for: a collection of the catalog, an item in it, or a vector layer."""

    collection: str | None = None
    item: str | None = None
    layer: str | None = None


class Access(Protocol):
    """A policy of reading."""

    def check_read(self, caller: Caller, resource: Resource) -> None:
        """Let the read pass.

        Raises:
            NotFound: the caller may not know of the resource.
            Forbidden: the caller knows of it and may not read it.
        """


class PublicAccess:
    """Everybody may read everything."""

    def check_read(self, caller: Caller, resource: Resource) -> None:
        """Let every read pass."""


def check_read(
    request: Request, *, collection: str | None = None, item: str | None = None, layer: str | None = None
) -> None:
    """Ask the policy of the request's application.

    Raises:
        NotFound, Forbidden: the policy refuses.
    """
    policy: Access = getattr(request.app.state, "access", None) or PublicAccess()
    policy.check_read(Caller(), Resource(collection=collection, item=item, layer=layer))


def may_read(request: Request, *, collection: str | None = None, layer: str | None = None) -> bool:
    """Whether something belongs in a list for this caller."""
    try:
        check_read(request, collection=collection, layer=layer)
    except (NotFound, Forbidden):
        return False
    return True
