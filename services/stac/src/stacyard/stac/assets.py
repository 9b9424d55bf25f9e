"""Asset hrefs as clients can use them: stored ones are storage URIs, published ones https URLs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stacyard.core.storage import is_below

# https://github.com/stac-extensions/alternate-assets
ALTERNATE_ASSETS = "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json"


@dataclass(frozen=True, kw_only=True)
class AssetPublisher:
    """Rewrites hrefs below `prefix`, a storage URI, to below `public_path` of the origin; None leaves them as they are.

    The storage URI stays as an alternate, for readers that stand beside the storage.
    """

    prefix: str
    public_path: str | None

    def published_href(self, href: str, *, origin: str) -> str | None:
        """Where clients get what is stored at this URI; None if it is not ours to publish."""
        if self.public_path is None or not is_below(href, self.prefix):
            return None
        return f"{origin}{self.public_path}{href[len(self.prefix) :]}"

    def publish(self, document: dict[str, Any], *, origin: str) -> dict[str, Any]:
        """The item or collection with hrefs of its assets published, in place.

        Args:
            document: a STAC item or collection.
            origin: public base URL of the whole platform, without a slash at the end.
        """
        changed = False
        for asset in (document.get("assets") or {}).values():
            href = asset.get("href") if isinstance(asset, dict) else None
            published = self.published_href(href, origin=origin) if isinstance(href, str) else None
            if published is not None:
                asset["href"] = published
                asset["alternate"] = {**asset.get("alternate", {}), "storage": {"href": href}}
                changed = True
        extensions = document.get("stac_extensions")
        if changed and isinstance(extensions, list) and ALTERNATE_ASSETS not in extensions:
            document["stac_extensions"] = [*extensions, ALTERNATE_ASSETS]
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
    if isinstance(extensions, list) and ALTERNATE_ASSETS in extensions:
        document["stac_extensions"] = [extension for extension in extensions if extension != ALTERNATE_ASSETS]
    return document
