"""Files into items, by the pattern and the assets of a recipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.sources.files import content_hash
from stacyard.ingestor.sources.found import Found

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass
class _Group:
    fields: dict[str, str]
    files: dict[str, Path] = field(default_factory=dict)


def safe_id(text: str) -> str:
    """An item id that is safe in URLs and object names: what is not a letter, digit, `.`, `_` or `-` becomes `-`."""
    return _UNSAFE.sub("-", text).strip("-.") or "-"


def group_images(paths: Iterable[Path], recipe: Recipe) -> Iterator[Found]:
    """Items of an imagery recipe, each as soon as all its assets were seen, incomplete ones at the end.

    Files that match no asset are passed over. A second file for the same asset of an item is found as a problem.

    Raises:
        SourceError: no file matches at all.
    """
    open_groups: dict[str, _Group] = {}
    done: set[str] = set()
    pattern = _pattern(recipe)
    for path in paths:
        match = pattern.fullmatch(path.name)
        asset = _asset_of(match, recipe) if match else None
        if match is None or asset is None:
            continue
        fields = _fields(match, path)
        item_id = _item_id(recipe, fields)
        group = open_groups.setdefault(item_id, _Group(fields))
        if item_id in done or asset in group.files:
            yield _second(item_id, asset, path)
            if item_id in done:
                del open_groups[item_id]
            continue
        group.files[asset] = path
        if len(group.files) == len(recipe.assets):
            yield _found(item_id, open_groups.pop(item_id), recipe)
            done.add(item_id)
    for item_id, group in open_groups.items():
        yield _found(item_id, group, recipe)
    if not done and not open_groups:
        raise _nothing(recipe)


def list_layers(paths: Iterable[Path], recipe: Recipe) -> Iterator[Found]:
    """Items of a vector recipe: one for each layer of each file.

    A second file for a table, which holds one layer, is found as a problem.

    Raises:
        SourceError: no file matches at all.
    """
    pattern = _pattern(recipe)
    count = 0
    tables: dict[str, Path] = {}
    for path in paths:
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        for number, layer in enumerate(recipe.layers):
            count += 1
            fields = _fields(match, path) | {"layer": layer.layer or path.stem}
            source = {"files": {"data": str(path)}, "fields": fields, "layer": number}
            content, problem = _hashes({"data": path, **_sidecars(path)})
            if layer.table and tables.setdefault(layer.table, path) != path:
                problem = (
                    f"{path} would replace what {tables[layer.table]} puts into the table {layer.table}: "
                    "ingest one of them, or leave `table:` out"
                )
            yield Found(item_id=_item_id(recipe, fields), source=source, content=content, problem=problem)
    if not count:
        raise _nothing(recipe)


def _pattern(recipe: Recipe) -> re.Pattern[str]:
    assert recipe.files is not None  # noqa: S101 - the recipe's own validation
    return re.compile(recipe.files.pattern)


def _fields(match: re.Match[str], path: Path) -> dict[str, str]:
    return {"stem": path.stem, **{name: value or "" for name, value in match.groupdict().items()}}


def _item_id(recipe: Recipe, fields: dict[str, str]) -> str:
    assert recipe.files is not None  # noqa: S101 - the recipe's own validation
    return safe_id(recipe.files.item.format_map(fields))


def _asset_of(match: re.Match[str], recipe: Recipe) -> str | None:
    fields = match.groupdict()
    for key, asset in recipe.assets.items():
        if all(fields.get(name) == value for name, value in asset.match.items()):
            return key
    return None


def _found(item_id: str, group: _Group, recipe: Recipe) -> Found:
    missing = [key for key, asset in recipe.assets.items() if asset.required and key not in group.files]
    content, problem = _hashes(group.files)
    if missing:
        there = ", ".join(str(path) for path in group.files.values())
        problem = f"asset {missing[0]!r} is missing: only {there} came; add the file or set `required: false`"
    files = {key: str(group.files[key]) for key in recipe.assets if key in group.files}
    return Found(item_id=item_id, source={"files": files, "fields": group.fields}, content=content, problem=problem)


def _sidecars(path: Path) -> dict[str, Path]:
    """The files without which a shapefile has neither attributes nor CRS."""
    if path.suffix.lower() != ".shp":
        return {}
    beside = {suffix: path.with_suffix(suffix) for suffix in (".dbf", ".shx", ".prj", ".cpg")}
    return {suffix: file for suffix, file in beside.items() if file.exists()}


def _hashes(files: dict[str, Path]) -> tuple[dict[str, str], str | None]:
    hashes = {}
    for key, path in files.items():
        try:
            hashes[key] = content_hash(path)
        except OSError as error:
            return {}, f"{path} cannot be read: {error.strerror}"
    return hashes, None


def _second(item_id: str, asset: str, path: Path) -> Found:
    problem = f"{path} is a second {asset!r} of item {item_id}: make files.item tell them apart, or remove one"
    return Found(item_id=item_id, source={"files": {asset: str(path)}}, problem=problem)


def _nothing(recipe: Recipe) -> SourceError:
    assert recipe.files is not None  # noqa: S101 - the recipe's own validation
    return SourceError(f"no file of the sources matches files.pattern {recipe.files.pattern!r} and an asset")
