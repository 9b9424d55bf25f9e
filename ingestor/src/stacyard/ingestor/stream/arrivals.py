"""From an event to what it means for a recipe: which object, whether it may be read, and which item it belongs to.

An event only says where to look. What is there now is the truth, whatever the event says and in whatever order events
come: a version is read from the storage, and so are the files beside that belong to the same item.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from stacyard.core.storage import is_below, local_path
from stacyard.ingestor.errors import Rejected, SourceError
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.sources.buckets import Buckets, Gone, is_bucket
from stacyard.ingestor.sources.events import parse_message
from stacyard.ingestor.sources.forms import is_catalog, is_geoparquet
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.sources.grouping import group_images, list_layers, safe_id
from stacyard.ingestor.sources.itemfiles import find_file
from stacyard.ingestor.sources.local import SourceFile
from stacyard.ingestor.sources.places import find_blocks
from stacyard.ingestor.sources.versions import sidecars

#: How many objects may lie beside one whose item has several files; they are listed for each batch of events.
MOST_BESIDE = 20_000


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """That something happened to an object, `s3://bucket/key` or `file:///path`: it came, or it went."""

    uri: str
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was there at one moment: files of one item, and of each which version. Equal looks saw the same."""

    files: tuple[SourceFile, ...]
    versions: tuple[str, ...]


def read_body(body: str) -> list[Arrival]:
    """What a message says: `{"uri": "file:///fields/a.tif"}`, or an event of S3; nothing in a test event.

    Raises:
        Rejected: it is neither.
    """
    try:
        content = orjson.loads(body)
    except ValueError as error:
        raise Rejected(f"the message is no JSON: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("uri"), str):
        return [Arrival(uri=content["uri"])]
    events = [event for event in parse_message(body) if event.kind != "other"]
    return [Arrival(uri=event.uri, gone=event.kind == "removed") for event in events]


class AllowList:
    """The prefixes below which objects may be read, as storage URIs."""

    def __init__(self, prefixes: Sequence[str]) -> None:
        self._buckets = [prefix for prefix in prefixes if is_bucket(prefix)]
        self._directories = [path.resolve() for path in map(local_path, prefixes) if path is not None]
        for prefix in prefixes:
            if not is_bucket(prefix) and local_path(prefix) is None:
                raise SourceError(
                    f"the prefix {prefix} cannot be read: write s3://bucket/prefix/ or file:///directory/"
                )

    def source(self, uri: str) -> str:
        """The object as sources name it: `s3://bucket/key`, or a path.

        Raises:
            Rejected: it is below none of the prefixes; also a file that a link leads out of them.
        """
        if is_bucket(uri):
            if any(is_below(uri, prefix) for prefix in self._buckets) and not uri.endswith("/"):
                return uri
        elif (path := local_path(uri)) is not None and path.is_absolute() and "\0" not in str(path):
            real = path.resolve()
            if any(real.is_relative_to(directory) for directory in self._directories):
                return str(path)
        raise Rejected(f"{uri} is below none of the prefixes of STACYARD_STREAM_PREFIXES")


class Listings:
    """What lies beside objects, listed once for a batch of events."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._known: dict[str, list[SourceFile]] = {}

    def beside(self, source: str) -> list[SourceFile]:
        """The files of the same directory or prefix, sorted by name, without what is further below.

        Raises:
            SourceError: there are too many, or they cannot be listed.
        """
        folder = source.rpartition("/")[0] + "/"
        if folder not in self._known:
            self._known[folder] = sorted(self._list(folder), key=lambda file: file.uri)
        return self._known[folder]

    def _list(self, folder: str) -> Iterator[SourceFile]:
        every = self._buckets.find(folder) if is_bucket(folder) else _entries(folder)
        for number, file in enumerate(every):
            if number >= MOST_BESIDE:
                raise SourceError(
                    f"more than {MOST_BESIDE} objects are below {folder}: items of several files need a prefix with "
                    "fewer, such as one for each scene"
                )
            if "/" not in file.uri[len(folder) :]:
                yield file


class Finder:
    """Finds what a recipe makes of an object and of those beside it that belong to the same item."""

    def __init__(self, recipe: Recipe, buckets: Buckets) -> None:
        self._recipe = recipe
        self._buckets = buckets
        self._pattern = re.compile(recipe.files.pattern) if recipe.files else None
        self._required = {key for key, asset in recipe.assets.items() if asset.required}

    def takes(self, source: str) -> bool:
        """Whether the recipe makes anything of an object of this name."""
        name = source.rpartition("/")[2]
        match = self._pattern.fullmatch(name) if self._pattern else None
        if self._pattern and match is None:
            return False
        if self._recipe.kind == "items":
            # a catalog leads to other objects, which nobody has allowed
            return not is_catalog(source) and (is_geoparquet(name) or find_file(SourceFile(uri=source)) is not None)
        return self._recipe.kind == "vector" or self._item_of(name) is not None

    def look(self, source: str, listings: Listings) -> Look:
        """The files of the item that the object belongs to, as they are now.

        Raises:
            Gone: the object is not there.
            SourceError: the storage cannot be asked.
            OSError: the same, of a file on this machine.
        """
        files = [self._now(source)]
        if len(self._recipe.assets) > 1:
            item = self._item_of(files[0].name)
            files = [file for file in listings.beside(source) if self._item_of(file.name) == item]
            if all(file.uri != source for file in files):
                raise Gone(f"{source} is not there: it was removed")
        elif self._recipe.kind == "vector":
            files += sidecars(files[0], self._buckets)
        return Look(files=tuple(files), versions=tuple(self._version(file) for file in files))

    def find(self, look: Look) -> list[Found]:
        """What the recipe makes of it; nothing while a required asset is missing.

        Raises:
            SourceError: it cannot be read.
        """
        match self._recipe.kind:
            case "imagery":
                found = list(group_images(look.files, self._recipe, buckets=self._buckets))
                if len(found) == 1 and self._required - found[0].source["files"].keys():
                    return []
            case "vector":
                found = list(list_layers(look.files[:1], self._recipe, buckets=self._buckets))
            case _:
                uri = look.files[0].uri
                blocks = find_blocks([uri], find_file=find_file)
                # files of one name in different places are not the same
                found = [replace(block, item_id=f"{uri}: {block.item_id}", lines=None) for block in blocks]
        return [replace(each, cursor=None) for each in found]

    def unreadable(self, source: str, look: Look | None, reason: str) -> Found:
        """An object of which nothing can be made, for the ledger."""
        content = dict(zip((file.uri for file in look.files), look.versions, strict=True)) if look else {}
        return Found(item_id=source, source={"files": {"data": source}}, content=content, problem=reason)

    def _item_of(self, name: str) -> str | None:
        """Id of the item that a file is an asset of; None if it is no asset."""
        match = self._pattern.fullmatch(name) if self._pattern else None
        if match is None or self._recipe.files is None:
            return None
        fields = match.groupdict()
        for asset in self._recipe.assets.values():
            if all(fields.get(field) == value for field, value in asset.match.items()):
                known = {"stem": Path(name).stem, **{field: value or "" for field, value in fields.items()}}
                return safe_id(self._recipe.files.item.format_map(known))
        return None

    def _now(self, source: str) -> SourceFile:
        return self._buckets.describe(source) if is_bucket(source) else SourceFile(uri=source)

    def _version(self, file: SourceFile) -> str:
        if file.version is not None:
            return file.version
        path = Path(file.uri)
        try:
            about = path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Gone(f"{path} is not there: it was removed") from error
        if not stat.S_ISREG(about.st_mode):
            raise SourceError(f"{path} is no file")
        return f"{about.st_mtime_ns}:{about.st_size}:{about.st_ino}"


def _entries(folder: str) -> Iterator[SourceFile]:
    try:
        yield from (SourceFile(uri=str(path)) for path in Path(folder).iterdir() if path.is_file())
    except FileNotFoundError as error:
        raise Gone(f"{folder} is not there: it was removed") from error
