"""What was found of an item that decides whether it is good enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One rule, held against one item or one of its assets. All values can be written as JSON.

    `value` is what was found and `limit` what was asked for; None where there is none. `message` is a sentence for
    people. With severity `warn` a verdict that is not passed lets the item through.
    """

    rule: str
    passed: bool
    value: Any = None
    limit: Any = None
    message: str = ""
    asset: str | None = None
    severity: Literal["reject", "warn"] = "reject"


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An item of a block that is not good enough. `item_id` is where it stands if it has no id."""

    place: str
    item_id: str
    reason: str
