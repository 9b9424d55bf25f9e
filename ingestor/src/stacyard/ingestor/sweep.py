"""Find the assets of a collection that no item names, which a kill or a deleted item leaves, and delete them.

An asset goes only if it is older than a grace period, nothing in the catalog names it, and no task of the ledger that
waits or is in work will. That is looked at once more while the ledger is closed to writers, so that no task can begin
between the look and the deletion.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString
from urllib.parse import unquote

import psycopg

from stacyard.core.errors import StorageError
from stacyard.core.storage import Storage, StoredObject, is_below, join, local_path
from stacyard.ingestor.errors import RunStopped, SourceError
from stacyard.ingestor.load.catalog import Catalog
from stacyard.ingestor.load.named import named_by_any, named_by_items
from stacyard.ingestor.session import Connection, Session

_LOOKED_AT = 500
# the whole catalog is read for so many
_ORPHANS = 10_000
_DELETED_AT_ONCE = 20
# the ledger's writers wait so long for a batch, which must stay well below their lock_timeout
_CLOSED_SECONDS = 5.0
# what the store calls a local file until it is whole; its listing passes them over
_UNFINISHED = re.compile(r"#\d+$")

_CLOSE: LiteralString = "LOCK TABLE stacyard.ingest_task IN SHARE MODE"
_WAITING: LiteralString = """
SELECT item_id, run_id, source ? 'reader' FROM stacyard.ingest_task
WHERE collection = %(collection)s AND state IN ('discovered', 'running')
    AND (item_id = ANY (%(items)s::text[]) OR source ? 'reader')
"""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep has seen: numbers of objects and their bytes.

    `orphans` are named by no item and old enough; `young` are named by none and within the grace period; `waiting` are
    what tasks of the ledger are about to write.
    """

    listed: int = 0
    listed_bytes: int = 0
    young: int = 0
    waiting: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    deleted: int = 0
    deleted_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class _Asset:
    item_id: str
    tail: str
    stored: StoredObject


class Sweep:
    """One sweep of one collection's folder, `{assets}/{collection}/{item_id}/{name}`. Nothing else is looked at."""

    def __init__(
        self,
        session: Session,
        *,
        assets: str,
        collection: str,
        grace: timedelta,
        dry_run: bool = False,
        say: Callable[[StoredObject], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            session: of a role that may write to the ledger, which is closed to other writers for moments.
            assets: storage URI below which the collections have their folders.
            collection: the collection.
            grace: what is younger stays.
            dry_run: find, and delete nothing.
            say: called with each orphan.
        """
        self._session = session
        self._storage = Storage([assets])
        self._folder = join(assets, collection)
        self._collection = collection
        self._grace = grace
        self._dry_run = dry_run
        self._say = say
        self._count = dict.fromkeys(Swept.__dataclass_fields__, 0)

    def run(self) -> Swept:
        """Do it; what was done is true also if it is stopped and begun anew.

        Raises:
            SourceError: the catalog has no such collection.
            DatabaseAway: the database cannot be read; nothing is deleted without it.
            RunStopped: ready-made items of this collection wait to be loaded; or the ledger was busy for too long.
            StorageError: the storage cannot be listed, or refuses to delete.
        """
        if Catalog(self._session).collection(self._collection) is None:
            raise SourceError(
                f"the catalog has no collection {self._collection!r}, so every asset would be without item: see that "
                "the name and the database are the right ones"
            )
        oldest = datetime.now(UTC) - self._grace
        orphans: list[_Asset] = []
        assets = self._listed()
        while batch := list(itertools.islice(assets, _LOOKED_AT)):
            orphans += self._unnamed(batch, oldest)
            if len(orphans) >= _ORPHANS:
                self._remove(orphans)
                orphans = []
        if orphans:
            self._remove(orphans)
        return Swept(**self._count)

    def _listed(self) -> Iterator[_Asset]:
        directory = local_path(self._folder)
        unfinished = iter(()) if directory is None else _unfinished(directory, self._folder)
        for stored in itertools.chain(self._storage.list(self._folder), unfinished):
            segments = unquote(stored.uri).removeprefix(unquote(self._folder)).lstrip("/").split("/")
            # the publisher writes nowhere else
            if len(segments) == 2 and is_below(stored.uri, self._folder):
                yield _Asset(item_id=segments[0], tail="/".join([self._collection, *segments]), stored=stored)

    def _unnamed(self, assets: Sequence[_Asset], oldest: datetime) -> list[_Asset]:
        """Those that no item of the same id names and no task will; what is younger than `oldest` is only counted."""
        self._count["listed"] += len(assets)
        self._count["listed_bytes"] += sum(asset.stored.size for asset in assets)
        named, waiting = self._session.run(lambda connection: self._kept(connection, assets))
        unnamed = [asset for asset in assets if asset.tail not in named]
        self._count["waiting"] += sum(asset.item_id in waiting for asset in unnamed)
        unnamed = [asset for asset in unnamed if asset.item_id not in waiting]
        old = [asset for asset in unnamed if asset.stored.modified is not None and asset.stored.modified <= oldest]
        self._count["young"] += len(unnamed) - len(old)
        return old

    def _kept(self, connection: Connection, assets: Sequence[_Asset]) -> tuple[set[str], set[str]]:
        """What items of these ids name, and the ids of which tasks wait or are in work."""
        items = sorted({asset.item_id for asset in assets})
        # first the tasks: one that ends in between has its item in the catalog by then
        waiting = connection.execute(_WAITING, {"collection": self._collection, "items": items}).fetchall()
        blocks = next((run for _, run, is_block in waiting if is_block), None)
        if blocks is not None:
            raise RunStopped(
                f"run {blocks} has ready-made items of {self._collection} to load, which may name these assets: finish "
                f"it with `stacyard runs retry {blocks}`, then sweep again"
            )
        return named_by_items(connection, self._collection, items), {item for item, _, _ in waiting}

    def _remove(self, orphans: Sequence[_Asset]) -> None:
        named = self._session.run(lambda connection: named_by_any(connection, [asset.tail for asset in orphans]))
        left = [asset for asset in orphans if asset.tail not in named]
        for asset in left:
            self._count["orphans"] += 1
            self._count["orphan_bytes"] += asset.stored.size
            self._say(asset.stored)
        while left and not self._dry_run:
            batch = left[:_DELETED_AT_ONCE]
            try:
                done, deleted = self._session.run(functools.partial(self._delete, batch=batch))
            except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
                raise RunStopped(
                    f"the ledger was busy for too long ({str(error).splitlines()[0]}): run the same command again"
                ) from error
            self._count["deleted"] += len(deleted)
            self._count["deleted_bytes"] += sum(asset.stored.size for asset in deleted)
            left = left[done:]

    def _delete(self, connection: Connection, batch: Sequence[_Asset]) -> tuple[int, list[_Asset]]:
        """Delete what still nobody wants; returns how many of the batch were dealt with, and which are gone."""
        deleted: list[_Asset] = []
        with connection.transaction():
            connection.execute(_CLOSE)
            deadline = time.monotonic() + _CLOSED_SECONDS
            named, waiting = self._kept(connection, batch)
            for number, asset in enumerate(batch):
                if number and time.monotonic() > deadline:
                    return number, deleted
                if asset.tail not in named and asset.item_id not in waiting and self._delete_one(asset.stored):
                    deleted.append(asset)
        return len(batch), deleted

    def _delete_one(self, stored: StoredObject) -> bool:
        path = local_path(stored.uri)
        if path is None:
            self._storage.delete(stored.uri)
            return True
        root = local_path(self._folder)
        # a link may lead out of the folder, to what is not this collection's
        if root is None or not path.resolve().is_relative_to(root.resolve()):
            return False
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{stored.uri} could not be deleted: {error.strerror}") from error
        # an item's last asset takes its directory with it
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        return True


def _unfinished(directory: Path, folder: str) -> Iterator[StoredObject]:
    """Local files that a kill has kept from becoming assets."""
    for place, _, names in os.walk(directory):
        for name in names:
            if _UNFINISHED.search(name):
                path = Path(place, name)
                about = path.stat(follow_symlinks=False)
                yield StoredObject(
                    uri=join(folder, *path.relative_to(directory).parts),
                    size=about.st_size,
                    etag=None,
                    modified=datetime.fromtimestamp(about.st_mtime, UTC),
                )
