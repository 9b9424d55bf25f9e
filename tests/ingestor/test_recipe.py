"""Errors of a recipe name the file, the line and the remedy; the demo's recipes have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacyard.ingestor.errors import RecipeError
from stacyard.ingestor.recipe import load_recipe, parse_recipe

from .conftest import DEMO

GOOD = """\
collection: {id: a, title: t, description: d, license: other}
kind: imagery
files:
  pattern: '(?P<date>\\d{8})_(?P<band>\\w+)\\.tif'
  item: '{date}'
time: {group: date, format: '%Y%m%d'}
assets:
  red:
    match: {band: red}
    bands:
      - {name: red}
renders:
  grey:
    assets: [red]
"""


@pytest.mark.parametrize("product", ["landsat8", "sentinel2_ndvi", "parcels", "naip"])
def test_the_recipes_of_the_demo_are_good(product: str) -> None:
    assert load_recipe(DEMO / product / "recipe.yaml").collection.title


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    bands:", "    bandz:", "r.yaml:10: unknown key 'bandz' under assets.red; did you mean 'bands'?"),
        ("renders:", "render:", "r.yaml:12: unknown key 'render' at the top; did you mean 'renders'?"),
        ("{name: red}", "{nome: red}", "r.yaml:11: unknown key 'nome' under assets.red.bands.0; did you mean 'name'?"),
        ("kind: imagery", "kind: images", "r.yaml:2: kind is 'images': input should be 'imagery', 'vector' or 'items'"),
        (", license: other", "", "r.yaml:1: key 'license' is missing under collection"),
        ("(?P<date>", "(?P<date", "r.yaml:4: files.pattern: '(?P<date\\\\d{8})_(?P<band>"),
        ("item: '{date}'", "item: '{dote}'", "r.yaml:1: 'dote' is no field of files.pattern; it has band, date, stem"),
        ("assets: [red]", "assets: [rot]", "r.yaml:1: 'rot' is used but not among assets, which has red"),
        (", format: '%Y%m%d'", "", "r.yaml:6: time: group needs a format, for example '%Y%m%d'"),
        ("kind: imagery", "kind: [", "this is not YAML"),
        ("kind: imagery", "kind: imagery\nkind: items", "r.yaml:3: this is not YAML: found duplicate key"),
    ],
)
def test_an_error_names_line_and_remedy(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    parse_recipe(GOOD, "r.yaml")
    with pytest.raises(RecipeError) as caught:
        parse_recipe(GOOD.replace(old, new, 1), "r.yaml")
    assert expected in str(caught.value)


def test_every_error_is_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(GOOD.replace("bands:", "bandz:").replace("title: t", "titel: t"), "r.yaml")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("table", ["Parcels", "1st", "a-b", "a; DROP TABLE x", "a" * 64])
def test_a_table_must_have_a_plain_name(table: str) -> None:
    text = (DEMO / "parcels" / "recipe.yaml").read_text().replace("table: parcels", f"table: '{table}'")
    with pytest.raises(RecipeError, match="is no table name"):
        parse_recipe(text, "r.yaml")


def test_a_recipe_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")
