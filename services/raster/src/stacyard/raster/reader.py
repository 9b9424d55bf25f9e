"""Access to imagery: titiler-pgstac's readers, for assets below the allow-listed storage prefixes only."""

from __future__ import annotations

from typing import Any

from rio_tiler.types import AssetInfo
from titiler.pgstac.reader import PgSTACReader, SimpleSTACReader

from stacyard.core.errors import Forbidden
from stacyard.core.storage import is_below


class ReadableAssets:
    """Which hrefs a tiler may open. Any other, or a GDAL virtual path, would let a catalog entry read anything."""

    def __init__(self, prefixes: list[str]) -> None:
        self._prefixes = tuple(prefixes)

    def check(self, href: str) -> None:
        """Let an href pass.

        Raises:
            Forbidden: it is outside the allow-listed prefixes.
        """
        if not any(is_below(href, prefix) for prefix in self._prefixes):
            raise Forbidden(
                "this asset lies outside the storage that tiles are made from; ingest the imagery, or ask the operator "
                "to add its prefix to STACYARD_STORAGE_READABLE"
            )


def item_reader(readable: ReadableAssets) -> type[PgSTACReader]:
    """The reader of one whole item."""

    class ItemReader(PgSTACReader):
        def _get_asset_info(self, asset: Any) -> AssetInfo:
            info: AssetInfo = super()._get_asset_info(asset)
            readable.check(info["url"])
            return info

    return ItemReader


def mosaic_reader(readable: ReadableAssets) -> type[SimpleSTACReader]:
    """The reader of one item among those of a mosaic."""

    class MosaicItemReader(SimpleSTACReader):
        def _get_asset_info(self, asset: Any) -> AssetInfo:
            info: AssetInfo = super()._get_asset_info(asset)
            readable.check(info["url"])
            return info

    return MosaicItemReader
