"""What a rule found of an item."""

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
