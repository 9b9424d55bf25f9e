"""What is said of a run: figures that agree with a plain reckoning, a page that is safe and fits, and filters."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from selenium import webdriver

from stacyard.ingestor.commands import failed_tasks, list_runs, report_run
from stacyard.ingestor.errors import NothingToRetry
from stacyard.ingestor.ledger import Counts, Run, State
from stacyard.ingestor.pace import Pace, bytes_in_words, in_words
from stacyard.ingestor.report import Reporter, print_report
from stacyard.ingestor.reports.data import (
    MOST_POINTS,
    Point,
    ReasonGroup,
    RuleCount,
    RunReport,
    SlowTask,
    Stage,
    course,
    point_width,
    without_secrets,
)
from stacyard.ingestor.reports.page import page, write_page

from .conftest import DEMO, Hire, Yard, found, recipe_of
from .test_items import ITEM
from .test_pipeline import NDVI_DATES, ndvi

BEGUN = datetime(2026, 5, 1, 8, tzinfo=UTC)
# by words that only reasons of the kind have
REASONS = {
    "the bbox has": "line {n} of /data/{item}.ndjson: the bbox has {n} numbers",
    "are nodata": "{item}: 100% of the pixels are nodata, at most {n}.5% may be",
    "timeout": "s3://bucket/{item}/b4_{n}.tif could not be read: timeout after {n} s",
    "'red'": "asset 'red' is missing\\n",
}


# -- figures


@st.composite
def tasks(draw: st.DrawFn) -> dict[str, Any]:
    """A task as the ledger may have it."""
    state = draw(st.sampled_from(["discovered", "running", "loaded", "rejected", "failed"]))
    items = draw(st.integers(0, 500))
    report = draw(
        st.none()
        | st.fixed_dictionaries(
            {"seconds": st.dictionaries(st.sampled_from(["read", "convert", "load"]), st.floats(0, 1e4), max_size=3)},
            optional={
                "bytes_in": st.integers(0, 2**40),
                "bytes_out": st.integers(0, 2**40),
                "layer": st.fixed_dictionaries({"read": st.integers(0, 9), "written": st.integers(0, 9)}),
                "verdicts": st.lists(
                    st.fixed_dictionaries(
                        {
                            "rule": st.sampled_from(["cloud", "nodata"]),
                            "passed": st.booleans(),
                            "severity": st.sampled_from(["warn", "reject"]),
                        }
                    ),
                    max_size=3,
                ),
            },
        )
    )
    return {
        "state": state,
        "items": items,
        "unchanged": draw(st.integers(0, items)) if state == "loaded" else 0,
        "reason": draw(st.sampled_from(list(REASONS.values()))) if state in ("rejected", "failed") else None,
        "number": draw(st.integers(0, 99)),
        "attempts": draw(st.integers(0, 3)),
        "report": report,
        "after": draw(st.floats(0, 1e6)),
    }


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(tasks(), max_size=12))
def test_the_figures_agree_with_a_plain_reckoning(rows: list[dict[str, Any]], yard: Yard) -> None:
    collection = yard.collection_id("figures")
    [opened] = yard.query(
        "INSERT INTO stacyard.ingest_run (collection, recipe, recipe_hash, sources, started_at) "
        "VALUES (%s, '', %s, '[]', %s) RETURNING id",
        collection,
        collection,
        BEGUN,
    )
    run = int(str(opened["id"]))
    with yard.connect() as connection:
        for place, row in enumerate(rows):
            row["item"] = f"{collection}-item-{place}"
            row["reason"] = row["reason"] and row["reason"].format(n=row["number"], item=row["item"])
            connection.execute(
                "INSERT INTO stacyard.ingest_task (run_id, key, collection, item_id, source, items, state, unchanged, "
                "reason, attempts, report, changed_at) VALUES (%s, %s, %s, %s, '{}', %s, %s, %s, %s, %s, %s, %s)",
                (
                    *(run, str(place), collection, row["item"], row["items"], row["state"], row["unchanged"]),
                    *(row["reason"], row["attempts"], row["report"] and orjson.dumps(row["report"]).decode()),
                    BEGUN + timedelta(seconds=row["after"]),
                ),
            )
    report = report_run(run, platform=yard.platform)
    document = json.loads(json.dumps(report.to_json()))

    def items(*states: str) -> int:
        return sum(row["items"] for row in rows if row["state"] in states)

    reports = [row["report"] for row in rows if row["report"] is not None]
    assert report.counts.add_up
    assert (report.counts.discovered, report.counts.loaded) == (sum(row["items"] for row in rows), items("loaded"))
    assert (report.tasks, report.measured) == (len(rows), len(reports))
    assert report.retried == sum(row["attempts"] > 1 for row in rows)
    assert report.bytes_in == sum(each.get("bytes_in", 0) for each in reports)
    assert report.bytes_out == sum(each.get("bytes_out", 0) for each in reports)

    seconds: dict[str, list[float]] = defaultdict(list)
    for each in reports:
        for stage, value in each["seconds"].items():
            seconds[stage].append(value)
    assert {stage.name: (stage.tasks, stage.longest) for stage in report.stages} == {
        name: (len(values), max(values)) for name, values in seconds.items()
    }
    for stage in report.stages:
        assert stage.seconds == pytest.approx(sum(seconds[stage.name]), abs=1e-4)
        values = sorted(seconds[stage.name])
        assert stage.p95 == values[math.ceil(0.95 * len(values)) - 1]
    assert [stage.seconds for stage in report.stages] == sorted((s.seconds for s in report.stages), reverse=True)

    verdicts = [verdict for each in reports for verdict in each.get("verdicts", [])]
    results = Counter((each["rule"], "passed" if each["passed"] else each["severity"]) for each in verdicts)
    assert {rule.rule: (rule.passed, rule.warned, rule.rejected) for rule in report.rules} == {
        rule: (results[rule, "passed"], results[rule, "warn"], results[rule, "reject"])
        for rule in {each["rule"] for each in verdicts}
    }
    layers = [each["layer"] for each in reports if "layer" in each]
    assert report.features == (
        {name: sum(each[name] for each in layers) for name in ("read", "written")} if layers else {}
    )

    slow = sorted((sum(each["seconds"].values()) for each in reports if each["seconds"]), reverse=True)[:10]
    assert [task.seconds for task in report.slowest] == pytest.approx(slow, abs=1e-4)

    points = document["throughput"]["points"]
    assert len(points) <= MOST_POINTS + 1
    for state in ("loaded", "rejected", "failed"):
        assert sum(point[state] for point in points) == items(state) == document["counts"][state]
    assert sum(point["unchanged"] for point in points) == sum(row["unchanged"] for row in rows)

    told = {words: {row["state"] for row in rows if row["reason"] and words in row["reason"]} for words in REASONS}
    assert report.reason_groups == len(report.reasons) == sum(map(len, told.values())), "one group a kind and state"
    assert sum(reason.items for reason in report.reasons) == items("rejected", "failed")
    # the pattern of a group, given as --reason, finds that group and no other
    for reason in report.reasons:
        kept = failed_tasks(run, platform=yard.platform, states=[reason.state], reason=reason.pattern)
        [words] = {words for words in REASONS for each in kept if words in each.reason}
        wanted = [row for row in rows if row["state"] == reason.state and row["reason"] and words in row["reason"]]
        assert sorted(each.item_id for each in kept) == sorted(row["item"] for row in wanted)
        assert reason.items == sum(row["items"] for row in wanted)
        assert words in reason.example


@given(seconds=st.floats(0, 1e9))
def test_a_run_of_any_length_has_a_bounded_number_of_points(seconds: float) -> None:
    width = point_width(seconds)
    assert seconds / width <= MOST_POINTS
    points = course(BEGUN, width, {int(seconds // width): {"loaded": 1}})
    assert len(points) <= MOST_POINTS + 1
    assert points[-1].at <= BEGUN + timedelta(seconds=seconds)
    assert [point.done for point in points] == [0] * (len(points) - 1) + [1]


# -- from end to end


def run_command(yard: Yard, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stacyard.ingestor.cli", "runs", *arguments],
        env=os.environ | yard.environment() | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_run_of_images_is_reported_with_bytes_stages_and_what_went_wrong(yard: Yard, tmp_path: Path) -> None:
    collection, source = yard.collection_id("report"), ndvi(tmp_path)
    for path in source.glob(f"*_{NDVI_DATES[0]}.tif"):
        shutil.copy(path, source / path.name.replace(NDVI_DATES[0], "20170901T100536"))
    os.truncate(source / "S2_NDVI_20170901T100536.tif", 500)
    summary = yard.ingest(recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml"), source)
    run = str(summary.run.id)
    assert (summary.counts.loaded, summary.counts.rejected) == (3, 1)

    done = run_command(yard, "report", run, "--json", "--html", str(tmp_path / "run.html"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["counts"] == run_command_json(yard, "show", run)["counts"]
    assert report["bytes"]["in"] == sum(path.stat().st_size for path in source.iterdir())
    stored = [asset["file:size"] for item in yard.items(collection).values() for asset in item["assets"].values()]
    assert report["bytes"]["out"] == sum(stored)
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert {"fetch", "check", "convert", "inspect", "quality", "publish", "describe", "load"} == set(stages)
    assert (stages["fetch"]["tasks"], stages["load"]["tasks"]) == (4, 3)
    assert all(stage["seconds"] > 0 for name, stage in stages.items() if name != "fetch")
    assert report["tasks"] == {"all": 4, "measured": 4, "retried": 0}
    [reason] = report["reasons"]
    assert (reason["items"], reason["state"]) == (1, "rejected")
    assert len(report["slowest"]) == 4
    assert report["seconds"] > 0

    html = (tmp_path / "run.html").read_text()
    assert collection in html
    assert not list(tmp_path.glob(".*partial"))
    shown = run_command(yard, "report", run)
    assert "convert" in shown.stdout
    assert "1 rejected" in shown.stdout

    nowhere = run_command(yard, "report", run, "--html", str(tmp_path / "none" / "run.html"))
    assert nowhere.returncode == 2
    assert "cannot be written: No such file or directory" in nowhere.stderr

    listed = [run["run"] for run in run_command_json(yard, "list", "--collection", collection, "--state", "finished")]
    assert listed == [int(run)]
    assert run_command_json(yard, "list", "--collection", collection, "--state", "unfinished") == []
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    assert run_command_json(yard, "list", "--since", tomorrow) == []
    rejected = run_command_json(yard, "failed", run, "--state", "rejected", "--item", "20170901")
    assert [each["state"] for each in rejected] == ["rejected"]
    assert run_command_json(yard, "failed", run, "--state", "failed") == []
    assert run_command_json(yard, "failed", run, "--item", "2017_901") == [], "no wildcard but …"


def run_command_json(yard: Yard, *arguments: str) -> Any:
    done = run_command(yard, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_runs_of_layers_and_of_ready_made_items_are_measured_too(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("layer")
    recipe = recipe_of(
        "parcels", collection, tmp_path / "recipe.yaml", **{"table: parcels": f"table: {collection.replace('-', '_')}"}
    )
    layer = report_run(yard.ingest(recipe, DEMO / "parcels").run.id, platform=yard.platform)
    assert layer.features["read"] == layer.features["written"] > 0
    assert {"read", "convert", "publish", "describe", "table", "load"} <= {stage.name for stage in layer.stages}
    assert min(layer.bytes_in, layer.bytes_out) > 0

    collection = yard.collection_id("block")
    lines = b"".join(orjson.dumps({**ITEM, "id": f"i{number}"}) + b"\n" for number in range(30))
    (tmp_path / "items.ndjson").write_bytes(lines + b"{}\n")
    (tmp_path / "items.yaml").write_text(
        f"collection: {{id: {collection}, title: t, description: d, license: other}}\nkind: items\n"
    )
    block = report_run(yard.ingest(tmp_path / "items.yaml", tmp_path / "items.ndjson").run.id, platform=yard.platform)
    assert (block.counts.loaded, block.counts.rejected) == (30, 1)
    assert abs(block.bytes_in - len(lines)) < 40
    assert {stage.name for stage in block.stages} == {"read", "check", "load"}
    print_report(block, Console(file=(output := io.StringIO()), width=120))
    assert "30 loaded, 1 rejected" in output.getvalue()


def test_only_what_failed_for_the_reason_is_tried_again(yard: Yard, hire: Hire) -> None:
    worker, collection = hire("one"), yard.collection_id("reasons")
    run = worker.open_run(collection, *found("a", "b", "c", "d"))
    reasons = ("storage is away for 3 s", "Storage is away for 50 s", "100% nodata", "100 nodata")
    for task, reason in zip(worker.queue.claim(run, limit=4), reasons, strict=True):
        worker.ledger.failed(task.id, reason, retry=False, report={"seconds": {"publish": math.nan}, "note": "\0"})
    worker.ledger.finish(run)
    with pytest.raises(NothingToRetry, match=f"nothing failed in run {run} .* 'database'.*runs failed {run}"):
        worker.ledger.retry(run, reason="database")
    assert worker.ledger.run(run).finished_at is not None, "nothing was touched"
    assert worker.ledger.retry(run, reason="0% NODATA") == 1
    assert worker.ledger.retry(run, reason="away for … s") == 2
    assert (worker.ledger.counts(run).waiting, worker.ledger.counts(run).failed) == (3, 1)
    [(listed, _)] = list_runs(platform=yard.platform, collection=collection, finished=False)
    assert listed.id == run


# -- what a person sees while it works


def test_progress_is_a_line_every_five_seconds_with_speed_and_what_is_left_once_that_is_known() -> None:
    now, output = 0.0, io.StringIO()
    console = Console(file=output, width=300, force_terminal=False)
    with Reporter(console, "fields", clock=lambda: now) as report:
        for done in range(41):
            now = done * 0.5
            report(Counts(discovered=100, loaded=done, waiting=100 - done, complete=now >= 10))
        # nothing changes, and nothing is said
        for _ in range(20):
            now += 1.0
            report(Counts(discovered=100, loaded=40, waiting=60, complete=True))
    assert output.getvalue().splitlines() == [
        "fields: 0 of 100 found so far done, 0 loaded",
        "fields: 10 of 100 found so far done, 10 loaded, 2.0 items/s",
        "fields: 20 of 100 done, 20 loaded, 2.0 items/s, 40 s left",
        "fields: 30 of 100 done, 30 loaded, 2.0 items/s, 35 s left",
        "fields: 40 of 100 done, 40 loaded, 2.0 items/s, 30 s left",
    ]


@given(speeds=st.lists(st.floats(0.5, 1000), min_size=1, max_size=5), pause=st.floats(0.1, 20))
def test_the_speed_is_that_of_the_last_minute(speeds: list[float], pause: float) -> None:
    pace, at, done = Pace(), 0.0, 0.0
    for speed in speeds:
        for _ in range(math.ceil(90 / pause)):
            pace.note(int(done), at)
            at, done = at + pause, done + pause * speed
    shown = pace.per_second
    assert shown is not None
    assert shown == pytest.approx(speeds[-1], abs=1 / 25 + 1e-9), "whole items over some half a minute at least"
    pace.note(0, at)
    assert pace.per_second is None, "after a retry it begins anew"


def test_times_and_sizes_in_words() -> None:
    assert [in_words(each) for each in (0.2, 59.4, 59.6, 3569, 3600, 7500, 100_000)] == [
        *("0 s", "59 s", "1 min", "59 min", "1 h", "2 h 5 min", "1 d 3 h"),
    ]
    assert [bytes_in_words(each) for each in (0, 999, 1000, 999_960, 2.5e15)] == [
        *("0 B", "999 B", "1.0 kB", "1.0 MB", "2.5 PB"),
    ]


# -- the page

HOSTILE = st.text(min_size=1, max_size=40) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><style>", "</title><b>", "&amp;", "]]>"]
)


def report_of(text: str, *, points: int = 40) -> RunReport:
    """A report with a text in all places where one can come from outside."""
    run = Run(
        id=7,
        collection=text,
        recipe="",
        recipe_hash="",
        sources=[text, "/fields/north/2026"],
        mode="upsert",
        cursor=None,
        started_at=BEGUN,
        discovery_finished_at=BEGUN,
        finished_at=BEGUN + timedelta(seconds=10 * points),
    )
    course_points = [
        Point(
            at=BEGUN + timedelta(seconds=10 * place),
            loaded=int(400 + 300 * math.sin(place / 4)),
            unchanged=60 if place < 5 else 0,
            rejected=25 if place % 7 == 3 else 0,
            failed=1 if place == 12 else 0,
        )
        for place in range(points)
    ]
    total = {name: sum(getattr(each, name) for each in course_points) for name in ("loaded", "rejected", "failed")}
    stages = [("convert", 400.0), ("publish", 120.0), ("quality", 66.0), ("fetch", 31.0), ("load", 12.0), (text, 0.4)]
    return RunReport(
        run=run,
        counts=Counts(discovered=sum(total.values()), unchanged=300, complete=True, **total),
        read_at=BEGUN + timedelta(hours=1),
        tasks=sum(total.values()),
        measured=12_345,
        retried=17,
        bytes_in=812_345_678_901,
        bytes_out=312_345_678_901,
        stages=[Stage(name=name, tasks=12_345, seconds=each, p95=each / 50, longest=each / 9) for name, each in stages],
        rules=[
            RuleCount(rule="cloud", passed=14_000, warned=300, rejected=60),
            RuleCount(rule=text, passed=0, warned=0, rejected=1),
        ],
        features={"read": 120_000, text: 3},
        reason_groups=60,
        reasons=[
            ReasonGroup(
                pattern="cloud cover is … %, at most … % may be",
                state=State.REJECTED,
                items=130,
                example_item="S2_20170725",
                example="cloud cover is 91.3 %, at most 80 % may be",
            ),
            ReasonGroup(pattern=text, state=State.FAILED, items=1, example_item=text, example=text),
        ],
        slowest=[
            SlowTask(item=text, state=State.LOADED, items=1, seconds=42.0, stages={"convert": 40.0, text: 2.0}),
            SlowTask(item="S2_20170730", state=State.LOADED, items=1, seconds=30.0, stages={"convert": 30.0}),
        ],
        point_seconds=10,
        points=course_points,
    )


class Elements(HTMLParser):
    """Tags, attributes and text of a page; fails on elements that do not close."""

    void = frozenset({"meta", "link", "rect", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[tuple[str, str | None]] = set()
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= set(attrs)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def elements(text: str) -> Elements:
    parser = Elements()
    parser.feed(page(report_of(text, points=14)))
    parser.close()
    assert not parser.open
    return parser


@settings(max_examples=50)
@given(text=HOSTILE)
def test_nothing_that_comes_from_outside_becomes_markup(text: str) -> None:
    plain, hostile = elements("fields"), elements(text)
    assert hostile.tags == plain.tags
    assert {name for name, _ in hostile.attributes} == {name for name, _ in plain.attributes}
    assert "".join(without_secrets(text).split()) in "".join(hostile.text.split())
    loading = {value for name, value in hostile.attributes if name in ("src", "href", "srcset", "action")}
    assert loading == {"data:,"}


def test_what_may_be_a_secret_is_not_shown() -> None:
    text = "https://me:word@host/a.tif?X-Amz-Signature=abc and s3://key@bucket/x 'https://h/y?token=1'"
    assert without_secrets(text) == "https://…@host/a.tif?… and s3://…@bucket/x 'https://h/y?…'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    profile = tmp_path_factory.mktemp("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver") or "/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_a_screen_and_a_phone_and_breaks_no_rule_of_its_own(
    width: int, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    path = tmp_path / "run.html"
    write_page(report_of("north-field-with-a-name-that-is-rather-long-and-has-no-spaces"), path)
    device = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    browser.get(path.as_uri())
    assert browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [width, width]
    assert not browser.get_log("browser"), "nothing was refused or missing"
    heights = browser.execute_script(
        "return [...document.querySelectorAll('.course rect')].map(r => r.getBBox().height)"
    )
    assert len(heights) > 40
