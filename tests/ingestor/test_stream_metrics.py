"""What a streaming worker did, Prometheus reads; nothing is served that nobody asked for."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stacyard.core.errors import StacyardError
from stacyard.ingestor.recipe import load_recipe
from stacyard.ingestor.session import Session
from stacyard.ingestor.stream import worker
from stacyard.ingestor.stream.messages import TableMessages
from stacyard.ingestor.stream.serve import serve_stream
from stacyard.local.ports import free_port

from .conftest import recipe_of
from .test_items import ITEM
from .test_streaming import NAMES, NDVI, Stream, here, stream  # noqa: F401

Figures = dict[tuple[str, str], float]


def scrape(port: int) -> Figures:
    """Samples by name and the values of their labels."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {
        (sample.name.removeprefix("stacyard_stream_"), " ".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def served(stream: Stream, *recipes: Path, **changes: Any) -> tuple[Figures, Figures, Any]:  # noqa: F811
    """What is read before the first message and after the last, and the tally."""
    port = free_port()
    scraped: list[Figures] = []
    deadline = time.monotonic() + 100

    def stop() -> bool:
        assert time.monotonic() < deadline, stream.said
        scraped.append(scrape(port))
        return stream.waiting == 0

    tally = serve_stream(
        [(load_recipe(recipe), recipe.read_text()) for recipe in recipes],
        platform=stream.yard.platform,
        settings=stream.settings(metrics_port=port, **changes.pop("settings", {})),
        stop=stop,
        say=stream.said.append,
        **changes,
    )
    with pytest.raises(httpx.ConnectError):
        scrape(port)
    return scraped[0], scraped[-1], tally


def test_prometheus_reads_what_became_of_messages_and_items_and_how_long_they_took(
    stream: Stream,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "_COUNT_SECONDS", 0)
    rasters, items = stream.yard.collection_id("measured"), stream.yard.collection_id("measured-items")
    recipes = [
        recipe_of("sentinel2_ndvi", rasters, tmp_path / "rasters.yaml"),
        recipe_of("naip", items, tmp_path / "items.yaml"),
    ]
    # one item of two files, another whose files are broken, and a file with three good items and a bad one
    paths = [Path(shutil.copy(NDVI / name, stream.inbox)) for name in NAMES[:2]]
    bad = [stream.inbox / name for name in NAMES[2:]]
    for path in bad:
        path.write_bytes(b"II*\0")
    several = stream.inbox / "several.json"
    several.write_bytes(orjson.dumps([{**ITEM, "id": name} for name in "abc"] + [{**ITEM, "id": ""}]))
    session = Session(stream.yard.database.url("ingest"), patience_seconds=1)
    TableMessages(session).send([{"hello": "world"}])
    assert TableMessages(session).count() == 1
    session.close()
    (stream.inbox / "folder.json").mkdir()
    others = [stream.inbox / name for name in ("folder.json", "nobody.txt", "gone.json")]
    stream.notify(*paths, *bad, several, *others)
    stream.yard.query("UPDATE stacyard.ingest_message SET sent_at = now() - interval '1 hour' RETURNING id")
    first, last, tally = served(stream, *recipes)

    assert first["messages_received_total", ""] == 0
    assert ("queue_messages", "") not in first
    assert first["event_to_commit_seconds_count", ""] == 0
    messages = {name: last[f"messages_{name}_total", ""] for name in ("received", "done", "returned", "refused")}
    assert messages == {"received": 9, "done": 9, "returned": 0, "refused": 1}
    assert messages == {name: getattr(tally, name) for name in messages}
    objects = {name: last[f"objects_{name}_total", ""] for name in ("unmatched", "removed", "incomplete")}
    assert objects == {"unmatched": 1, "removed": 1, "incomplete": 0}
    assert {key[1]: value for key, value in last.items() if key[0] == "items_total"} == {
        f"{rasters} loaded": 1,
        f"{rasters} rejected": 1,
        f"{rasters} failed": 0,
        f"{items} loaded": 3,
        f"{items} rejected": 2,
        f"{items} failed": 0,
    }
    # the two files of the item, and the file of items; all that ended within the hour and a minute
    assert last["event_to_commit_seconds_count", ""] == 3
    assert last["event_to_commit_seconds_bucket", "3600.0"] == 0
    assert last["event_to_commit_seconds_bucket", "21600.0"] == last["event_to_commit_seconds_bucket", "+Inf"] == 3
    assert 3 * 3600 < last["event_to_commit_seconds_sum", ""] < 3 * 3660
    assert last["queue_messages", ""] == 0
    assert last["tasks_pruned_total", ""] == 0


def test_a_port_that_another_has_ends_the_worker_with_a_sentence_and_by_default_there_is_none(
    stream: Stream,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert stream.settings().metrics_port is None
    recipe = recipe_of("naip", stream.yard.collection_id("port"), tmp_path / "recipe.yaml")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StacyardError, match=rf"127\.0\.0\.1:{port} .*choose another STACYARD_STREAM_METRICS_PORT"):
            stream.drain(recipe, metrics_port=port)
