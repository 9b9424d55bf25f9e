"""Ready-made items from files of any form and size, in blocks: what is found, read again, and loaded."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stacyard.ingestor import blocks
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources import itemfiles
from stacyard.ingestor.sources.found import Found, Line
from stacyard.ingestor.sources.itemfiles import BlockReader, find_file
from stacyard.ingestor.sources.local import SourceFile
from stacyard.ingestor.stages.items import Adopted, adopt_all

from .conftest import Yard, recipe_of
from .test_items import ITEM

Item = dict[str, Any]


def find_items(path: Path) -> list[Found]:
    return list(find_file(SourceFile(uri=str(path))) or ())


def items(count: int, **more: Any) -> list[Item]:
    return [{**ITEM, "id": f"i{number}", **more} for number in range(count)]


def lines(found: Sequence[Item]) -> bytes:
    return b"\n".join(map(orjson.dumps, found)) + b"\n"


FORMS: dict[str, Callable[[list[Item]], bytes]] = {
    "a.ndjson": lines,
    "a.jsonl.gz": lambda found: gzip.compress(lines(found)),
    "a.ndjson.zst": lambda found: zstandard.compress(lines(found)),
    "a.json": orjson.dumps,
    "a.geojson.gz": lambda found: gzip.compress(orjson.dumps({"type": "FeatureCollection", "features": found})),
    "a.json.zst": lambda found: zstandard.compress(json.dumps({"features": found}, indent=1).encode()),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("at_once", [True, False], ids=["small", "streamed"])
def test_blocks_of_every_form_hold_all_items_and_are_read_again_in_any_order(
    name: str, at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itemfiles, "_BLOCK_ITEMS", 7)
    if not at_once:
        monkeypatch.setattr(itemfiles, "_AT_ONCE", 1)
    path = tmp_path / name
    wanted = items(30)
    path.write_bytes(FORMS[name](wanted))
    found = find_items(path)
    assert [each.items for each in found] == [7, 7, 7, 7, 2]
    reader = BlockReader()
    for order in ([0, 1, 2, 3, 4], [4, 2, 3, 0, 1, 1]):
        read = [[orjson.loads(line.data) for line in reader.read(found[block].source)] for block in order]
        assert read == [wanted[7 * block : 7 * block + 7] for block in order]
    reader.close()


def test_a_file_that_has_changed_since_it_was_listed_is_not_taken_for_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines(items(3)))
    [block] = find_items(path)
    path.write_bytes(lines(items(3, bbox=[0, 0, 1, 1])))
    reader = BlockReader()
    with pytest.raises(ValueError, match="its content is another"):
        reader.read(block.source)
    reader.close()


@given(data=st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line), max_size=30))
def test_no_line_is_lost_or_read_twice_whatever_is_in_it(
    data: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.ndjson"
    path.write_bytes(b"\n".join(data))
    reader = BlockReader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(itemfiles, "_BLOCK_ITEMS", 4)
        read = [line for block in find_items(path) for line in reader.read(block.source)]
    reader.close()
    assert [(line.place, line.data) for line in read] == [
        (f"line {number}", line) for number, line in enumerate(data, start=1) if line.strip()
    ]


def test_a_line_that_is_too_long_is_named_and_the_others_are_loaded(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("long")
    recipe = recipe_of("naip", collection, tmp_path / "recipe.yaml")
    path = tmp_path / "items.ndjson"
    first, second, third = items(3)
    second["properties"] = {**second["properties"], "text": "x" * (200 * 2**20)}
    path.write_bytes(lines([first, second, third]))
    summary = yard.ingest(recipe, path)
    assert (summary.counts.loaded, summary.counts.rejected) == (2, 1)
    assert "line 2" in summary.outcomes[0].reason
    assert "200 MB; items of up to 16 MB are read" in summary.outcomes[0].reason
    path.unlink()


HUNGRY = """
import sys
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.itemfiles import find_file
from stacyard.ingestor.sources.local import SourceFile
try:
    print(sum(found.items for found in find_file(SourceFile(uri=sys.argv[1]))))
except SourceError as error:
    print(error)
# what getrusage says of a child includes the peak of its parent
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("single", [True, False], ids=["a single item", "a collection"])
def test_a_document_of_200_mb_needs_no_memory_of_its_size(single: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    padding = "x" * 20_000
    with path.open("w") as file:
        file.write('{"type": "FeatureCollection", "features": [' if not single else '{"type": "Feature", "x": [')
        for number in range(10_000):
            file.write(("," if number else "") + json.dumps({"id": f"i{number}", "padding": padding}))
        file.write("]}")
    done = subprocess.run([sys.executable, "-c", HUNGRY, path], capture_output=True, text=True, check=True)
    said, kilobytes = done.stdout.splitlines()
    path.unlink()
    assert int(kilobytes) < 300_000
    if single:
        assert "of more than 16 MB: leave out what no client reads" in said
    else:
        assert said == "10000"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b"{", "is no JSON"),
        ("a.ndjson.gz", gzip.compress(b"{}\n")[:-4], "cannot be read"),
        ("a.ndjson.gz", b"no gzip", "cannot be read"),
        ("a.ndjson.zst", b"no zstd", "cannot be read"),
        ("a.ndjson.zst", zstandard.compress(lines(items(99)))[:-9], "cannot be read: it is cut off"),
    ],
)
def test_a_file_that_cannot_be_read_stops_with_its_name(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"{name} {reason}"):
        find_items(path)


def test_many_blocks_are_loaded_by_processes_and_counted_to_the_item(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itemfiles, "_BLOCK_ITEMS", 100)
    collection = yard.collection_id("many")
    recipe = recipe_of("naip", collection, tmp_path / "recipe.yaml")
    path = tmp_path / "items.ndjson.gz"
    wanted = items(2500)
    broken = [b"{" if number % 500 == 3 else orjson.dumps(item) for number, item in enumerate(wanted)]
    # one comes again as it was, one with another content
    again = [orjson.dumps(wanted[7]), orjson.dumps({**wanted[8], "bbox": [0, 0, 2, 2]})]
    path.write_bytes(gzip.compress(b"\n".join([*broken, *again])))
    summary = yard.ingest(recipe, path)
    assert (summary.counts.discovered, summary.counts.loaded, summary.counts.rejected) == (2502, 2496, 6)
    assert summary.counts.unchanged == 1
    assert sum("came twice in this run" in outcome.reason for outcome in summary.outcomes) == 1
    assert len(yard.items(collection)) == 2495
    again_summary = yard.ingest(recipe, path)
    assert again_summary.counts.unchanged == again_summary.counts.loaded == 2496


def test_of_a_block_only_what_changed_is_looked_at_and_counts_add_up(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = yard.collection_id("ahead")
    recipe = recipe_of("naip", collection, tmp_path / "recipe.yaml")
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    known = items(20)
    first.write_bytes(lines(known))
    assert yard.ingest(recipe, first).counts.loaded == 20
    looked_at: list[int] = []
    monkeypatch.setattr(
        blocks, "adopt_all", lambda part, *rest, **more: count_and_adopt(looked_at, part, *rest, **more)
    )
    # one is new, one changed, one comes again as it is, one again with another content, and one cannot be used
    changed = {**known[3], "bbox": [0, 0, 2, 2]}
    second.write_bytes(
        lines([*known[:3], changed, *known[4:], {**ITEM, "id": "new"}, known[5], {**known[6], "bbox": [0, 0, 3, 3]}])
        + b'{"id": 7}\n'
    )
    summary = yard.ingest(recipe, second)
    assert (summary.counts.discovered, summary.counts.loaded, summary.counts.rejected) == (24, 22, 2)
    # twenty but the changed one, and the one that came again
    assert summary.counts.unchanged == 20
    assert sum("came twice in this run" in outcome.reason for outcome in summary.outcomes) == 1
    assert looked_at == [7], "lines that say what the catalog has were taken apart"
    kept = yard.items(collection)
    assert kept.keys() == {f"i{number}" for number in range(20)} | {"new"}
    assert {name: item["bbox"] for name, item in kept.items() if item["bbox"] != ITEM["bbox"]} == {"i3": [0, 0, 2, 2]}


def count_and_adopt(looked_at: list[int], part: Sequence[Line], *rest: Any, **more: Any) -> Adopted:
    looked_at.append(len(part))
    return adopt_all(part, *rest, **more)
