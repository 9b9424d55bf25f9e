"""What a recipe makes of the sources of a run, as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.sources.files import walk
from stacyard.ingestor.sources.found import Found


def discover(recipe: Recipe, sources: Sequence[str], *, cursor: Mapping[str, Any] | None = None) -> Iterator[Found]:
    """Everything the recipe makes of the sources, or what comes after a cursor that an earlier search has left.

    Raises:
        SourceError: a source cannot be read, or has nothing for this recipe.
    """
    if recipe.kind == "items":
        from stacyard.ingestor.sources.itemfiles import find_file
        from stacyard.ingestor.sources.places import find_blocks

        return find_blocks(sources, find_file=find_file, cursor=cursor)
    from stacyard.ingestor.sources.grouping import group_images, list_layers

    group = group_images if recipe.kind == "imagery" else list_layers
    return group(walk(sources, cursor=cursor), recipe, resumed=cursor is not None)
