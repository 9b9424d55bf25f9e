"""Documents on their way in: checked, and as they are stored. Nothing here talks to the database."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from stacyard.core.errors import InvalidRequest
from stacyard.stac.bodies import pointer
from stacyard.stac.documents import DocumentPublisher
from stacyard.stac.validation import Fault, Refused, Schemas


class Intake:
    """Makes what clients send fit to be stored. `published` is how they read it.

    Args:
        max_items: how many one request may bring.
        reserved: characters that the id of something new cannot have, because of what they mean in a URL.
    """

    def __init__(self, *, max_items: int, reserved: Collection[str]) -> None:
        self._schemas = Schemas()
        self._max_items = max_items
        self._reserved = reserved

    def item(
        self, document: Any, *, published: DocumentPublisher, collection: str, item_id: str | None = None
    ) -> dict[str, Any]:
        """An item as it is stored; `item_id` is the one that it is to replace.

        Raises:
            Refused: it is no valid item of the collection.
        """
        if faults := self.item_faults(document, collection=collection, item_id=item_id, new=item_id is None):
            raise Refused(faults)
        return stored_item(document, collection, published)

    def items(self, document: dict[str, Any], *, published: DocumentPublisher, collection: str) -> list[dict[str, Any]]:
        """The items of an ItemCollection, all new, as they are stored.

        Raises:
            Refused: one of them, or more, is no valid item, or two have the same id.
            InvalidRequest: there are too many.
        """
        features = document.get("features")
        if not isinstance(features, list):
            raise Refused([Fault("/features", "an array of items was expected")])
        self.check_number(len(features))
        seen: set[str] = set()
        faults = []
        for index, feature in enumerate(features):
            place = pointer("/features", index)
            found = self.item_faults(feature, collection=collection, new=True)
            faults += [Fault(place + fault.place, fault.reason) for fault in found]
            if not found:
                if feature["id"] in seen:
                    faults.append(Fault(f"{place}/id", "an item before it has this id"))
                seen.add(feature["id"])
        if faults:
            raise Refused(faults)
        return [stored_item(feature, collection, published) for feature in features]

    def item_faults(self, document: Any, *, collection: str, item_id: str | None = None, new: bool) -> list[Fault]:
        """What keeps an item from being stored."""
        faults = self._schemas.item_faults(document, collection=collection, item_id=item_id)
        if not faults:
            faults = _href_faults(document) + (self._id_faults(document["id"]) if new else [])
        return faults

    def collection(
        self, document: Any, *, published: DocumentPublisher, collection: str | None = None
    ) -> dict[str, Any]:
        """A collection as it is stored; `collection` is the id of the one that it is to replace.

        Raises:
            Refused: it is no valid collection.
        """
        faults = self._schemas.collection_faults(document, collection=collection)
        if not faults:
            faults = _href_faults(document) + (self._id_faults(document["id"]) if collection is None else [])
        if faults:
            raise Refused(faults)
        return published.withdraw({**document})

    def check_number(self, items: int) -> None:
        """Let so many items pass.

        Raises:
            InvalidRequest: they are too many for one request.
        """
        if items > self._max_items:
            raise InvalidRequest(f"there are {items} items: send {self._max_items} at a time at the most")

    def _id_faults(self, document_id: str) -> list[Fault]:
        found = sorted(set(document_id) & set(self._reserved))
        return [Fault("/id", f"an id cannot have {' '.join(found)} in it")] if found else []


def stored_item(document: dict[str, Any], collection: str, published: DocumentPublisher) -> dict[str, Any]:
    """A valid item as it is stored: without what the API puts in by itself, under storage URIs again."""
    item = {**document, "collection": collection}
    # pgSTAC's own mark of how the item is stored
    item.pop("pgstac:base_item", None)
    return published.withdraw(item)


def _href_faults(document: dict[str, Any]) -> list[Fault]:
    """Alternates that say a storage URI which is none; `withdraw` takes them for hrefs."""
    return [
        Fault(pointer("/assets", name, "alternate", "storage", "href"), "a URI was expected")
        for name, asset in (document.get("assets") or {}).items()
        if isinstance(alternate := asset.get("alternate"), dict)
        and isinstance(storage := alternate.get("storage"), dict)
        and not (isinstance(href := storage.get("href", "-"), str) and href)
    ]
