"""Named looks of a collection or item, from the STAC render extension, as parameters that the tiler understands."""

from __future__ import annotations

from typing import Any

# https://github.com/stac-extensions/render: members that describe a render and are no parameters of a tile
_DESCRIPTIONS = ("title", "tilematrixsets", "minmax_zoom")


def tile_parameters(renders: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Tile parameters by render name; zoom limits become `minzoom` and `maxzoom`."""
    return {name: _parameters(render) for name, render in (renders or {}).items() if isinstance(render, dict)}


def _parameters(render: dict[str, Any]) -> dict[str, Any]:
    parameters = {key: value for key, value in render.items() if key not in _DESCRIPTIONS and value is not None}
    zooms = render.get("minmax_zoom")
    if isinstance(zooms, list) and len(zooms) == 2:
        parameters |= {"minzoom": zooms[0], "maxzoom": zooms[1]}
    return parameters
