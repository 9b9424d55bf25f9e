"""Brings imagery, vector layers and ready-made STAC items into a stacyard.

From the top down: `commands` and `report`, then `run` (a run from discovery to its end), `pipeline` (the stages of one
task in their order) with `sources/` and `stages/`, then `load`, `ledger` and `recipe`. Every import points down.
"""
