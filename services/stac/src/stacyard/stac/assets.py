"""Asset hrefs as clients can use them: stored ones are storage URIs, published ones https URLs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stacyard.core.storage import is_below

# https://github.com/stac-extensions/alternate-assets
_ALTERNATE = "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json"


@dataclass(frozen=True, kw_only=True)
class AssetPublisher:
    """Rewrites hrefs below `prefix`, a storage URI, to below `public_path` of the origin; None leaves them as they are.

    The storage URI stays as an alternate, for readers that stand beside the storage.
    """

    prefix: str
    public_path: str | None

    def publish(self, document: dict[str, Any], *, origin: str) -> dict[str, Any]:
        """The item or collection with hrefs of its assets published, in place.

        Args:
            document: a STAC item or collection.
            origin: public base URL of the whole platform, without a slash at the end.
        """
        if self.public_path is None:
            return document
        changed = False
        for asset in (document.get("assets") or {}).values():
            href = asset.get("href") if isinstance(asset, dict) else None
            if isinstance(href, str) and is_below(href, self.prefix):
                asset["href"] = f"{origin}{self.public_path}{href[len(self.prefix) :]}"
                asset["alternate"] = {**asset.get("alternate", {}), "storage": {"href": href}}
                changed = True
        extensions = document.get("stac_extensions")
        if changed and isinstance(extensions, list) and _ALTERNATE not in extensions:
            document["stac_extensions"] = [*extensions, _ALTERNATE]
        return document


def withdraw(document: dict[str, Any]) -> dict[str, Any]:
    """The reverse, in place: what a client read and sends back is stored under its storage URIs again."""
    for asset in (document.get("assets") or {}).values():
        alternate = asset.get("alternate") if isinstance(asset, dict) else None
        storage = alternate.pop("storage", None) if isinstance(alternate, dict) else None
        if isinstance(storage, dict) and "href" in storage:
            asset["href"] = storage["href"]
            if not alternate:
                del asset["alternate"]
    extensions = document.get("stac_extensions")
    if isinstance(extensions, list) and _ALTERNATE in extensions:
        document["stac_extensions"] = [extension for extension in extensions if extension != _ALTERNATE]
    return document
