"""Renders of the STAC extension as parameters of a tile."""

from __future__ import annotations

from stacyard.raster.renders import tile_parameters


def test_descriptions_are_left_out_and_zoom_limits_become_parameters() -> None:
    renders = {
        "ndvi": {
            "title": "NDVI",
            "assets": ["ndvi"],
            "rescale": [[-0.2, 0.9]],
            "colormap_name": "rdylgn",
            "minmax_zoom": [8, 16],
            "tilematrixsets": {"WebMercatorQuad": [8, 16]},
            "nodata": None,
        },
        "broken": "not a render",
    }
    assert tile_parameters(renders) == {
        "ndvi": {
            "assets": ["ndvi"],
            "rescale": [[-0.2, 0.9]],
            "colormap_name": "rdylgn",
            "minzoom": 8,
            "maxzoom": 16,
        }
    }
    assert tile_parameters(None) == {}
