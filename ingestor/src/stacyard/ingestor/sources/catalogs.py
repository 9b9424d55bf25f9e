"""Items of a static catalog: its `child` and `item` links followed, on this machine, in S3 or over HTTP."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeAlias, TypeVar

from stacyard.core.errors import StorageError
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.documents import Documents, Unreadable, resolve
from stacyard.ingestor.sources.found import Found, Line
from stacyard.ingestor.sources.polite import Patience

_BLOCK_ITEMS = 1000
_ASKED_AT_ONCE = 8
# no catalog that was made for people is deeper; one that has no end is
_DEEPEST = 64

#: Hrefs from the root's child down to a catalog.
Path: TypeAlias = tuple[str, ...]
Content = TypeVar("Content")


def find(root: str, *, cursor: Mapping[str, Any] | None = None, patience: Patience | None = None) -> Iterator[Found]:
    """A block for up to a thousand item links of each catalog, depth first; the items are not read.

    A catalog is read once, however many links lead to it. One that is linked under another origin is found as a
    problem and not followed.

    Raises:
        SourceError: a catalog cannot be read, or they are nested without end; run again, it goes on.
    """
    documents = Documents(root, patience=patience)
    pool = ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="catalogs")
    try:
        at = (cursor or {}).get("catalog")
        start = None if at is None else (tuple(at["path"]), int(at["items"]))
        yield from _Walk(documents, pool).below(root, (), start)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        documents.close()


def read(source: Mapping[str, Any], *, patience: Patience | None = None) -> Iterator[Line]:
    """The items of a block, with absolute hrefs.

    Raises:
        SourceError: one cannot be read now; so OSError and StorageError. What is not there or no JSON becomes a line
            that is refused.
    """
    hrefs = [f"{source['base']}{name}" for name in source["items"]]
    with (
        closing(Documents(source["catalog"], patience=patience)) as documents,
        ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="catalogs") as pool,
    ):
        for href, item in zip(hrefs, _ahead(pool, lambda href: _item(documents, href), hrefs), strict=True):
            yield Line(place=href, data=item)


class _Walk:
    """One walk over all catalogs."""

    def __init__(self, documents: Documents, pool: ThreadPoolExecutor) -> None:
        self._documents = documents
        self._pool = pool
        self._seen: set[str] = set()

    def below(self, href: str, path: Path, start: tuple[Path, int] | None) -> Iterator[Found]:
        self._seen.add(href)
        yield from self._catalog(href, self._read(href), path, start)

    def _read(self, href: str) -> Any:
        try:
            return self._documents.read(href)
        except (OSError, StorageError) as error:
            raise SourceError(f"{href} cannot be read: {error}") from error

    def _catalog(self, href: str, content: Any, path: Path, start: tuple[Path, int] | None) -> Iterator[Found]:
        """What is in a catalog and below it; `start` is the path to a catalog below, and its items that are done."""
        if len(path) > _DEEPEST:
            raise SourceError(f"{href} is nested more than {_DEEPEST} deep: a catalog that has no end is not followed")
        links = content.get("links") if isinstance(content, dict) else None
        if not isinstance(links, list):
            raise SourceError(f"{href} is no STAC catalog: it has no links")
        items, children, problems = self._sorted(href, links)
        to_go = start[0] if start else ()
        if not to_go:
            yield from problems
            yield from _blocks(href, path, items, first=start[1] if start else 0)
        elif to_go[0] in children:
            children = children[children.index(to_go[0]) :]
        else:
            # the catalog was written anew; what was found before is known
            start = None
            yield from problems
            yield from _blocks(href, path, items, first=0)
        fresh = [child for child in children if child not in self._seen]
        self._seen.update(fresh)
        for child, document in zip(fresh, _ahead(self._pool, self._read, fresh), strict=True):
            inner = (to_go[1:], start[1]) if start and to_go and child == to_go[0] else None
            yield from self._catalog(child, document, (*path, child), inner)

    def _sorted(self, href: str, links: Sequence[Any]) -> tuple[list[str], list[str], list[Found]]:
        items: dict[str, None] = {}
        children: dict[str, None] = {}
        problems: list[Found] = []
        for link in links:
            rel = link.get("rel") if isinstance(link, dict) else None
            if rel not in ("item", "child") or not isinstance(link.get("href"), str):
                continue
            target = resolve(href, link["href"])
            problem = self._documents.problem(target)
            if problem is not None:
                problems.append(Found(item_id=target, source={"path": href, "href": target}, problem=problem))
            else:
                (items if rel == "item" else children)[target] = None
        return list(items), list(children), problems


def _blocks(href: str, path: Path, items: Sequence[str], *, first: int) -> Iterator[Found]:
    for start in range(first, len(items), _BLOCK_ITEMS):
        block = items[start : start + _BLOCK_ITEMS]
        base = _shared(block)
        source = {
            "reader": "catalog",
            "catalog": href,
            "base": base,
            "items": [item.removeprefix(base) for item in block],
        }
        place = {"path": list(path), "items": start + len(block)}
        yield Found(item_id=f"{href} from item {start + 1}", source=source, items=len(block), cursor={"catalog": place})


def _item(documents: Documents, href: str) -> bytes:
    try:
        return documents.absolute_hrefs(documents.read(href), href)
    except Unreadable as error:
        # one that is missing must not cost the others; this is no JSON, and refused with its text
        return str(error).encode()


def _ahead(pool: ThreadPoolExecutor, read: Callable[[str], Content], hrefs: Sequence[str]) -> Iterator[Content]:
    """What is behind hrefs in their order; a bounded number of them is asked for before it is their turn."""
    waiting: deque[Future[Content]] = deque()
    for href in hrefs:
        waiting.append(pool.submit(read, href))
        if len(waiting) > _ASKED_AT_ONCE:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _shared(hrefs: Sequence[str]) -> str:
    """What all hrefs begin with, up to a slash."""
    least, greatest = min(hrefs), max(hrefs)
    length = next((at for at, char in enumerate(least) if greatest[at : at + 1] != char), len(least))
    return least[: least.rfind("/", 0, length) + 1]
