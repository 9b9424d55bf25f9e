"""How an item becomes whole again, which pgSTAC stores without what it shares with its collection's base item.

Which base item that was stands in `content->>'pgstac:base_item'`; without it, it is the collection's oldest. An item is
made whole of fragments of JSON: most of it goes to the client as the database wrote it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec
import orjson

#: A value that is JSON text already.
Json = msgspec.Raw
#: The members of each asset; what is no object, against the specification, is a value.
Assets = dict[str, dict[str, Json] | Json]

_TAG = "pgstac:base_item"
# how pgSTAC marks what an item lacks and its base item has
_MARK = "𒍟※"
_TOP: msgspec.json.Decoder[dict[str, Json]] = msgspec.json.Decoder(dict[str, Json])
_ASSETS: msgspec.json.Decoder[dict[str, dict[str, Json]]] = msgspec.json.Decoder(dict[str, dict[str, Json]])


class BaseItem:
    """What items of a collection share: members that an item stored with it may lack."""

    def __init__(self, document: dict[str, Any] | None) -> None:
        """Of what pgSTAC's `collection_base_item` gives."""
        self.document: dict[str, Any] = {name: value for name, value in (document or {}).items() if value is not None}

    @cached_property
    def members(self) -> dict[str, Json]:
        """All but the assets, as JSON."""
        return {name: _json(value) for name, value in self.document.items() if name != "assets"}

    @cached_property
    def assets(self) -> dict[str, dict[str, Json]] | None:
        """The members of each asset, as JSON; None if an asset is no object or lacks a value."""
        assets = self.document.get("assets", {})
        if not isinstance(assets, dict) or not all(_is_plain(asset) for asset in assets.values()):
            return None
        return {name: {key: _json(value) for key, value in asset.items()} for name, asset in assets.items()}

    @cached_property
    def nested(self) -> frozenset[str]:
        """Members that are objects or lists, of which an item may have a part only."""
        return frozenset(name for name, value in self.document.items() if isinstance(value, dict | list)) - {"assets"}

    @cached_property
    def nested_in_assets(self) -> dict[str, frozenset[str]]:
        """The same of each asset."""
        assets = self.document.get("assets", {})
        return {
            name: frozenset(key for key, value in asset.items() if isinstance(value, dict | list))
            for name, asset in assets.items()
        }


class StoredItem:
    """An item as it is stored: the text of its content, taken apart one level deep."""

    __slots__ = ("_members", "_text", "tag")

    def __init__(self, content: str) -> None:
        self._text = content
        self._members = _TOP.decode(content)
        tag = self._members.pop(_TAG, None)
        #: Which of its collection's base items it was stored with; None for the oldest.
        self.tag: int | None = None if tag is None else int(msgspec.json.decode(tag))

    def whole(self, base: BaseItem) -> tuple[dict[str, Json], Assets]:
        """Its members but the assets, and those of each asset. Both are the caller's to change."""
        members, base_assets = self._members, base.assets
        if _MARK in self._text or base_assets is None or not base.nested.isdisjoint(members):
            return _slowly(self._text, base)
        raw = members.pop("assets", None)
        try:
            own_assets = {} if raw is None else _ASSETS.decode(raw)
        except msgspec.ValidationError:
            return _slowly(self._text, base)
        nested = base.nested_in_assets
        assets: Assets = {**own_assets}
        for name, shared in base_assets.items():
            own = own_assets.get(name)
            if own is None:
                assets[name] = dict(shared)
            elif nested[name].isdisjoint(own):
                assets[name] = {**shared, **own}
            else:
                return _slowly(self._text, base)
        return {**base.members, **members}, assets


def hydrated(content: dict[str, Any], base: BaseItem) -> dict[str, Any]:
    """The whole item from its stored content and its base item."""
    content.pop(_TAG, None)
    whole: dict[str, Any] = _merged(content, base.document)
    return whole


def _merged(own: Any, shared: Any) -> Any:
    """The item's value, unless both are objects or lists of one length: pgSTAC's function `merge_jsonb`."""
    if isinstance(own, dict):
        others = shared if isinstance(shared, dict) else {}
        members = {**others, **{name: _merged(value, others.get(name)) for name, value in own.items()}}
        return {name: value for name, value in members.items() if value != _MARK}
    if isinstance(own, list) and isinstance(shared, list) and len(own) == len(shared):
        return [_merged(each, other) for each, other in zip(own, shared, strict=True)]
    return own


def tag_of(content: dict[str, Any]) -> int | None:
    """Which of its collection's base items an item was dehydrated against; None for the oldest."""
    tag = content.get(_TAG)
    return int(tag) if tag is not None else None


def _slowly(text: str, base: BaseItem) -> tuple[dict[str, Json], Assets]:
    whole = hydrated(orjson.loads(text), base)
    assets: Assets = {
        name: {key: _json(value) for key, value in asset.items()} if isinstance(asset, dict) else _json(asset)
        for name, asset in (whole.pop("assets", None) or {}).items()
    }
    return {name: _json(value) for name, value in whole.items()}, assets


def _is_plain(asset: Any) -> bool:
    return isinstance(asset, dict) and None not in asset.values()


def _json(value: Any) -> Json:
    return Json(orjson.dumps(value))
