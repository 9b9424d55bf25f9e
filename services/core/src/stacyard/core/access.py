"""Who asks, and what they may read: the one function that every read of a collection, item, layer or asset passes.

Today everything in a stacyard is public, and nobody says who they are. A policy replaces `PublicAccess` here and
nowhere else; whoever finds out who asks puts a `Caller` into `request.state.caller`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Protocol

from starlette.requests import Request
from starlette.types import Scope

from stacyard.core.errors import Forbidden, NotFound

ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    subject: str = ANONYMOUS


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


def caller_of(scope: Scope) -> Caller:
    """Who asks."""
    caller = scope.get("state", {}).get("caller")
    return caller if isinstance(caller, Caller) else Caller()


def client_key(scope: Scope) -> str:
    """What requests of one client have in common: who asks, where nobody says so the address that they come from.

    An IPv6 client has a network of 2 to the 64 addresses to choose from, so that these count as one.
    """
    subject = caller_of(scope).subject
    if subject != ANONYMOUS:
        return f"subject {subject}"
    client = scope.get("client")
    address = str(client[0]) if client else ""
    if ":" in address:
        with suppress(ValueError):
            # what follows after % names an interface of ours
            address = str(IPv6Network((IPv6Address(address.partition("%")[0]), 64), strict=False))
    return f"address {address}"


def check_read(
    request: Request, *, collection: str | None = None, item: str | None = None, layer: str | None = None
) -> None:
    """Ask the policy of the request's application.

    Raises:
        NotFound, Forbidden: the policy refuses.
    """
    policy: Access = getattr(request.app.state, "access", None) or PublicAccess()
    policy.check_read(caller_of(request.scope), Resource(collection=collection, item=item, layer=layer))


def may_read(request: Request, *, collection: str | None = None, layer: str | None = None) -> bool:
    """Whether something belongs in a list for this caller."""
    try:
        check_read(request, collection=collection, layer=layer)
    except (NotFound, Forbidden):
        return False
    return True
