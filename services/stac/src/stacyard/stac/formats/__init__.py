"""The forms in which the items of a search can go out, besides pages of GeoJSON."""
