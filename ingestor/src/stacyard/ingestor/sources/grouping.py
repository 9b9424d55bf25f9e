"""Files into items, by the pattern and the assets of a recipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.sources.buckets import Buckets
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.sources.local import SourceFile, as_text
from stacyard.ingestor.sources.versions import Known, sidecars, versioned

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass
class _Group:
    fields: dict[str, str]
    files: dict[str, Known] = field(default_factory=dict)


def safe_id(text: str) -> str:
    """An item id that is safe in URLs and object names: what is not a letter, digit, `.`, `_` or `-` becomes `-`."""
    return _UNSAFE.sub("-", text).strip("-.") or "-"


def group_images(
    files: Iterable[SourceFile], recipe: Recipe, *, buckets: Buckets | None = None, resumed: bool = False
) -> Iterator[Found]:
    """Items of an imagery recipe, each as soon as all its assets were seen, incomplete ones at the end.

    Files that match no asset are passed over. A second file for the same asset of an item is found as a problem. The
    cursor moves on only where no item is incomplete, so that none is torn when the search goes on there; `resumed`
    says that it does.

    Raises:
        SourceError: no file matches at all.
    """
    open_groups: dict[str, _Group] = {}
    done: set[str] = set()
    cursor: Mapping[str, Any] | None = None
    pattern = _pattern(recipe)
    fitting = (file for file in files if (match := pattern.fullmatch(file.name)) and _assets_of(match, recipe))
    for known in versioned(fitting, buckets or Buckets()):
        match = pattern.fullmatch(known.file.name)
        assert match is not None  # noqa: S101 - others were passed over
        assets = _assets_of(match, recipe)
        fields = _fields(match, known.file)
        item_id = _item_id(recipe, fields)
        group = open_groups.setdefault(item_id, _Group(fields))
        second = item_id in done or not group.files.keys().isdisjoint(assets)
        if second and item_id in done:
            del open_groups[item_id]
        elif not second:
            group.files |= dict.fromkeys(assets, known)
        complete = not second and len(group.files) == len(recipe.assets)
        if complete:
            del open_groups[item_id]
            done.add(item_id)
        cursor = cursor if open_groups else known.file.cursor
        if second:
            yield _second(item_id, assets[0], known.file, cursor)
        elif complete:
            yield _found(item_id, group, recipe, cursor)
    for item_id, group in open_groups.items():
        yield _found(item_id, group, recipe, None)
    if not done and not open_groups and not resumed:
        raise _nothing(recipe)


def list_layers(
    files: Iterable[SourceFile], recipe: Recipe, *, buckets: Buckets | None = None, resumed: bool = False
) -> Iterator[Found]:
    """Items of a vector recipe: one for each layer of each file.

    A second file for a table, which holds one layer, is found as a problem. `resumed` says that the search goes on at
    a cursor.

    Raises:
        SourceError: no file matches at all.
    """
    pattern = _pattern(recipe)
    buckets = buckets or Buckets()
    count = 0
    tables: dict[str, str] = {}
    for known in versioned((file for file in files if pattern.fullmatch(file.name)), buckets):
        file, problem = known.file, known.problem
        match = pattern.fullmatch(file.name)
        assert match is not None  # noqa: S101 - others were passed over
        content = {"data": known.version} if known.version is not None else {}
        for beside in versioned(sidecars(file, buckets), buckets):
            problem = problem or beside.problem
            content[beside.file.suffix] = beside.version or ""
        for number, layer in enumerate(recipe.layers):
            count += 1
            fields = _fields(match, file) | {"layer": layer.layer or file.stem}
            if layer.table and tables.setdefault(layer.table, file.uri) != file.uri:
                problem = (
                    f"{file.uri} would replace what {tables[layer.table]} puts into the table {layer.table}: "
                    "ingest one of them, or leave `table:` out"
                )
            yield Found(
                item_id=_item_id(recipe, fields),
                source={"files": {"data": known.text}, "fields": fields, "layer": number},
                content={} if known.problem else content,
                problem=problem,
                # the layers of a file are found together or again
                cursor=file.cursor if number + 1 == len(recipe.layers) else None,
            )
    if not count and not resumed:
        raise _nothing(recipe)


def _pattern(recipe: Recipe) -> re.Pattern[str]:
    assert recipe.files is not None  # noqa: S101 - the recipe's own validation
    return re.compile(recipe.files.pattern)


def _fields(match: re.Match[str], file: SourceFile) -> dict[str, str]:
    fields = {"stem": file.stem, **{name: value or "" for name, value in match.groupdict().items()}}
    return {name: as_text(value) for name, value in fields.items()}


def _item_id(recipe: Recipe, fields: dict[str, str]) -> str:
    assert recipe.files is not None  # noqa: S101 - the recipe's own validation
    return safe_id(recipe.files.item.format_map(fields))


def _assets_of(match: re.Match[str], recipe: Recipe) -> list[str]:
    """The assets that a file gives: the first that it matches, and those of the same rule that are parts of a file."""
    fields = match.groupdict()
    first = next(
        (
            asset
            for asset in recipe.assets.values()
            if all(fields.get(name) == value for name, value in asset.match.items())
        ),
        None,
    )
    return [
        key
        for key, asset in recipe.assets.items()
        if first is not None
        and (asset is first or (asset.match == first.match and (asset.subdataset is not None or asset.indexes)))
    ]


def _found(item_id: str, group: _Group, recipe: Recipe, cursor: Mapping[str, Any] | None) -> Found:
    missing = [key for key, asset in recipe.assets.items() if asset.required and key not in group.files]
    problem = next((known.problem for known in group.files.values() if known.problem), None)
    content = {} if problem else {key: known.version or "" for key, known in group.files.items()}
    if missing:
        there = ", ".join(known.text for known in group.files.values())
        problem = f"asset {missing[0]!r} is missing: only {there} came; add the file or set `required: false`"
    files = {key: group.files[key].text for key in recipe.assets if key in group.files}
    source = {"files": files, "fields": group.fields}
    return Found(item_id=item_id, source=source, content=content, problem=problem, cursor=cursor)


def _second(item_id: str, asset: str, file: SourceFile, cursor: Mapping[str, Any] | None) -> Found:
    uri = as_text(file.uri)
    problem = f"{uri} is a second {asset!r} of item {item_id}: make files.item tell them apart, or remove one"
    return Found(item_id=item_id, source={"files": {asset: uri}}, problem=problem, cursor=cursor)


def _nothing(recipe: Recipe) -> SourceError:
    assert recipe.files is not None  # noqa: S101 - the recipe's own validation
    return SourceError(f"no file of the sources matches files.pattern {recipe.files.pattern!r} and an asset")
