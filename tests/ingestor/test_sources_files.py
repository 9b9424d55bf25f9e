"""Where files come from: links, globs, lists, and a search that goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.recipe import parse_recipe
from stacyard.ingestor.sources.files import absolute, walk
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.sources.grouping import group_images
from stacyard.ingestor.sources.local import SourceFile

RECIPE = parse_recipe(
    r"""
collection: {id: c, title: t, description: d, license: other}
kind: imagery
files: {pattern: '(?P<scene>\w+)_(?P<band>B\d)\.tif', item: '{scene}'}
time: {datetime: 2024-01-01T00:00:00Z}
assets: {one: {match: {band: B1}}, two: {match: {band: B2}}}
""",
    "recipe",
)


def names(*sources: object) -> list[str]:
    return [file.uri for file in walk([str(source) for source in sources])]


def test_links_lead_to_files_and_never_round_in_circles(tmp_path: Path) -> None:
    yard = tmp_path / "yard"
    (yard / "fields").mkdir(parents=True)
    (yard / "fields" / "a.tif").write_bytes(b"a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.tif").write_bytes(b"b")
    (yard / "round").symlink_to(yard)
    (yard / "fields" / "round").symlink_to(yard)
    (yard / "link.tif").symlink_to(elsewhere / "b.tif")
    (yard / "broken.tif").symlink_to(tmp_path / "nowhere")
    (yard / "directory").symlink_to(elsewhere)
    os.mkfifo(yard / "pipe.tif")
    inside = [str(yard / name) for name in ("broken.tif", "link.tif", "fields/a.tif")]
    assert names(yard) == inside
    assert sorted(names(yard / "**")) == sorted(inside)
    assert names(yard / "**" / "*.tif") == [str(yard / name) for name in ("broken.tif", "link.tif", "fields/a.tif")]
    # a link that is named, or matched by other than `**`, is meant
    assert names(yard / "directory") == [str(yard / "directory" / "b.tif")]
    assert names(yard / "dir*" / "b.*") == [str(yard / "directory" / "b.tif")]
    problems = {found.item_id: found.problem for found in group_images(broken_scene(yard), RECIPE)}
    assert str(problems["broken"]).endswith("cannot be read: No such file or directory")


def broken_scene(yard: Path) -> list[SourceFile]:
    (yard / "broken_B1.tif").symlink_to("nowhere")
    (yard / "broken_B2.tif").write_bytes(b"2")
    return [SourceFile(uri=str(yard / name)) for name in ("broken_B1.tif", "broken_B2.tif")]


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(SourceError, match="does not exist"):
        names(loop)
    with pytest.raises(SourceError, match="no file matches"):
        names(tmp_path / "*.jp2")
    with pytest.raises(SourceError, match=r"(?s)https://example.org/fields is neither .* static catalog"):
        absolute("https://example.org/fields")


def test_a_name_that_is_no_text_is_a_problem_of_its_item(tmp_path: Path) -> None:
    name = os.fsdecode(b"sc\xffne_B1.tif")
    recipe = RECIPE.model_copy(
        update={"files": RECIPE.files.model_copy(update={"pattern": r"(?P<scene>.+)_(?P<band>B\d)\.tif"})}  # type: ignore[union-attr]
    )
    (tmp_path / name).write_bytes(b"1")
    [found] = group_images(walk([str(tmp_path)]), recipe)
    assert found.problem is not None
    assert found.key("c", "h"), "the ledger can keep it"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "uri\na.tif\n\n/fields/b.tif\ns3://bucket/c d.tif\n"),
        ("list.csv", "\ufeffid,HREF,note\n1,a.tif,\n2,/fields/b.tif,x\n3,s3://bucket/c d.tif,\n"),
        ("list.csv", "a.tif\n/fields/b.tif\r\ns3://bucket/c d.tif"),
        ("list.ndjson", '"a.tif"\n{"href": "file:///fields/b.tif"}\n{"uri": "s3://bucket/c d.tif", "size": 1}\n'),
    ],
)
def test_a_manifest_lists_files_and_goes_on_at_a_line(tmp_path: Path, name: str, content: str) -> None:
    manifest = tmp_path / name
    manifest.write_text(content, encoding="utf-8", newline="")
    source = absolute(f"@{manifest}")
    files = list(walk([source]))
    assert [file.uri for file in files] == [str(tmp_path / "a.tif"), "/fields/b.tif", "s3://bucket/c d.tif"]
    assert list(walk([source], cursor=files[0].cursor)) == files[1:]
    manifest.write_text("uri\nother.tif\n")
    if name.endswith(".csv"):
        assert [file.uri for file in walk([source], cursor=files[1].cursor)] == [str(tmp_path / "other.tif")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("l.csv", "name,size\na.tif,1\n", "has 2 columns: name the one of the files `uri`"),
        ("l.csv", "uri,size\na.tif,1\n,2\n", "line 3 .* names no file"),
        ("l.csv", "uri\nhttps://example.org/a.tif\n", "line 2 .* list files"),
        ("l.csv", "uri\ns3://bucket/prefix/\n", "line 2 .* list files"),
        ("l.ndjson", '"a.tif"\n{broken\n', "line 2 .* is no JSON"),
        ("l.ndjson", "7\n", "line 1 .* names no file"),
        ("l.ndjson", f'"{"x" * 70000}"\n', "line 1 .* more than 65536 bytes"),
        ("l.xlsx", "", "no known suffix"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=reason):
        names(f"@{tmp_path / name}")


scenes = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["B1", "B2", "B9"])), max_size=14)


@given(scenes, st.data())
def test_a_search_that_is_cut_off_anywhere_finds_the_same_as_one_that_is_not(
    files: list[tuple[int, str]], data: st.DataObject
) -> None:
    listed = [
        SourceFile(uri=f"s3://b/{number}/scene{scene}_{band}.tif", version="v", cursor={"after": number})
        for number, (scene, band) in enumerate(files)
    ]
    whole = found_in(listed)
    seen: list[Found] = whole[: data.draw(st.integers(0, len(whole)))]
    cursor = next((each.cursor for each in reversed(seen) if each.cursor is not None), None)
    rest = found_in(listed[cursor["after"] + 1 :] if cursor else listed)
    # a second file of an item that was written down is the ledger's to refuse
    twice = {each.item_id for each in whole if each.problem and "is a second" in each.problem}
    assert told(whole, but=twice) == told([*seen, *rest], but=twice)


def found_in(files: Sequence[SourceFile]) -> list[Found]:
    return list(group_images(files, RECIPE, resumed=True))


def told(found: Sequence[Found], *, but: set[str]) -> set[tuple[str, str | None]]:
    return {(each.key("c", "h"), each.problem) for each in found if each.item_id not in but}
