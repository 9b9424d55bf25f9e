"""Put an asset where clients and tilers find it. Nothing else writes there."""

from __future__ import annotations

import os
from pathlib import Path

from stacyard.core.storage import Storage, join, local_path
from stacyard.ingestor.sources.local import content_hash
from stacyard.ingestor.stages.describe import StoredAsset


def publish(
    path: Path,
    *,
    storage: Storage,
    prefix: str,
    collection: str,
    item_id: str,
    name: str,
    header_size: int | None = None,
) -> StoredAsset:
    """Write `path` to `{prefix}/{collection}/{item_id}/{name}` and see that it is there for good.

    What was there is replaced in one step. On local storage the bytes are forced to disk, because the item that names
    them will survive a power cut.

    Raises:
        StorageError: it could not be written.
    """
    uri = join(prefix, collection, item_id, name)
    sha256 = content_hash(path)
    stored = storage.put(uri, path)
    local = local_path(uri)
    if local is not None:
        _force_to_disk(local)
        _force_to_disk(local.parent)
    return StoredAsset(href=uri, size=stored.size, sha256=sha256, header_size=header_size)


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
