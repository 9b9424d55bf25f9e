"""The report of a run as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from stacyard.ingestor.pace import bytes_in_words, in_words, rate_in_words
from stacyard.ingestor.reports.charts import bar, course_chart
from stacyard.ingestor.reports.data import Point, RunReport
from stacyard.ingestor.times import instant, utc

_MOST_SOURCES = 10
_MOST_STAGES_OF_A_TASK = 3


def write_page(report: RunReport, path: Path) -> None:
    """Write the page; what was there is replaced in one step.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(page(report), encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def page(report: RunReport) -> str:
    """The page as HTML. Whatever comes from sources stands in it as text."""
    run = report.run
    title = escape(f"Run {run.id}: {run.collection}")
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    sections = (_outcome, _course, _stages, _rules, _features, _reasons, _slowest)
    body = "\n".join(filter(None, (section(report) for section in sections)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n'
        f"{_head(report)}\n{body}\n"
        f"<footer>From the ledger as it was at {_time(report)}.</footer>\n</main>\n</body>\n</html>\n"
    )


def _head(report: RunReport) -> str:
    run = report.run
    sources = report.sources
    shown = "".join(f"<li><code>{escape(source)}</code></li>" for source in sources[:_MOST_SOURCES])
    if len(sources) > _MOST_SOURCES:
        shown += f"<li>and {len(sources) - _MOST_SOURCES} more</li>"
    state = "finished" if run.finished_at else "not finished"
    speed, flow = report.items_per_second, report.bytes_in_per_second
    tiles = [
        ("Items found", f"{report.counts.discovered:,}", "" if report.counts.complete else "so far"),
        ("Took", in_words(report.seconds), rate_in_words(speed) if speed else ""),
        ("Read", bytes_in_words(report.bytes_in), f"{bytes_in_words(flow)}/s" if flow else ""),
        ("Stored", bytes_in_words(report.bytes_out), ""),
        ("Tried again", f"{report.retried:,}", f"of {report.tasks:,} tasks"),
    ]
    drawn = "".join(
        f"<div><dt>{name}</dt><dd>{value}{f' <small>{more}</small>' if more else ''}</dd></div>"
        for name, value, more in tiles
    )
    return (
        f"<header><p>Run {run.id}, {state}</p><h1>{escape(run.collection)}</h1>"
        f'<p>Begun <time datetime="{instant(run.started_at)}">{utc(run.started_at):%d %B %Y, %H:%M:%S} UTC</time>, '
        f"mode {escape(run.mode)}, from</p><ul>{shown}</ul></header>"
        f'<dl class="tiles">{drawn}</dl>'
    )


def _outcome(report: RunReport) -> str:
    counts = report.counts
    numbers = {
        "loaded": counts.loaded - counts.unchanged,
        "unchanged": counts.unchanged,
        "rejected": counts.rejected,
        "failed": counts.failed,
        "waiting": counts.waiting,
    }
    whole = counts.discovered or 1
    legend = "".join(
        f'<li><svg class="key" viewBox="0 0 1 1" aria-hidden="true"><rect class="{name}" width="1" height="1"/></svg> '
        f"{number:,} {name if name != 'loaded' else 'loaded anew'}</li>"
        for name, number in numbers.items()
        if number or name == "loaded"
    )
    drawn = bar({name: number / whole for name, number in numbers.items()})
    return _section("What became of it", f'<div class="outcome">{drawn}</div><ul class="legend">{legend}</ul>')


def _course(report: RunReport) -> str:
    if not any(point.done for point in report.points):
        return ""

    def row(point: Point) -> list[str]:
        numbers = (point.loaded, point.unchanged, point.rejected, point.failed)
        return [f"{utc(point.at):%Y-%m-%d %H:%M:%S}", *(f"{number:,}" for number in numbers)]

    table = _table(
        f"Items in each {in_words(report.point_seconds)}",
        ("Begins (UTC)", "Loaded", "of which unchanged", "Rejected", "Failed"),
        [row(point) for point in report.points if point.done],
    )
    return _section(
        "Throughput",
        f"{course_chart(report.points, report.point_seconds)}<details><summary>As a table</summary>{table}</details>",
    )


def _stages(report: RunReport) -> str:
    if not report.stages:
        return ""
    whole = sum(stage.seconds for stage in report.stages) or 1.0
    rows = [
        [
            escape(stage.name),
            bar({"part": stage.seconds / whole}),
            f"{stage.seconds / whole:.0%}",
            f"{stage.seconds:,.1f}",
            f"{stage.tasks:,}",
            f"{stage.p95:,.2f}",
            f"{stage.longest:,.2f}",
        ]
        for stage in report.stages
    ]
    names = ("Stage", "", "Share", "Seconds", "Tasks", "p95 s", "Longest s")
    note = f"<p>Seconds of all processes together, of {report.measured:,} tasks that were worked on.</p>"
    return _section("Stages", note + _table("Where the time went", names, rows, drawn=1))


def _rules(report: RunReport) -> str:
    rows = []
    for rule in report.rules:
        whole = rule.passed + rule.warned + rule.rejected or 1
        shares = {"loaded": rule.passed / whole, "warned": rule.warned / whole, "rejected": rule.rejected / whole}
        numbers = (rule.passed, rule.warned, rule.rejected)
        rows.append([escape(rule.rule), bar(shares), *(f"{number:,}" for number in numbers)])
    names = ("Rule", "", "Passed", "Warned", "Rejected")
    return _section("Quality", _table("How often each rule was held, and how it went", names, rows, drawn=1))


def _features(report: RunReport) -> str:
    rows = [[escape(name), f"{number:,}"] for name, number in report.features.items()]
    return _section("Features", _table("Features of vector layers", ("What became of them", "Features"), rows))


def _reasons(report: RunReport) -> str:
    most = max((reason.items for reason in report.reasons), default=1) or 1
    rows = [
        [
            f'{escape(reason.pattern)}<details><summary>for example</summary><p class="example">'
            f"{escape(reason.example_item)}: {escape(reason.example)}</p></details>",
            bar({str(reason.state): reason.items / most}),
            str(reason.state),
            f"{reason.items:,}",
        ]
        for reason in report.reasons
    ]
    table = _table(
        "Reasons of a kind together; … stands for what differs", ("Reason", "", "State", "Items"), rows, drawn=1
    )
    rest = report.reason_groups - len(report.reasons)
    more = f"<p>And {rest:,} rarer reasons: <code>stacyard runs failed {report.run.id}</code>.</p>" if rest else ""
    return _section("Why something was not loaded", table + more if table else "")


def _slowest(report: RunReport) -> str:
    rows = []
    most = max((task.seconds for task in report.slowest), default=1.0) or 1.0
    for task in report.slowest:
        stages = sorted(task.stages.items(), key=lambda stage: -stage[1])[:_MOST_STAGES_OF_A_TASK]
        told = ", ".join(f"{escape(name)} {seconds:,.2f} s" for name, seconds in stages)
        drawn = bar({"part": task.seconds / most})
        rows.append([f"<code>{escape(task.item)}</code>", drawn, f"{task.seconds:,.2f}", f"{task.items:,}", told])
    names = ("Item or block", "", "Seconds", "Items", "Most of it in")
    return _section("Slowest tasks", _table("Seconds of one attempt", names, rows, drawn=1))


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{heading}</h2>{content}</section>" if content else ""


def _table(caption: str, names: Sequence[str], rows: Sequence[Sequence[str]], *, drawn: int | None = None) -> str:
    """A table of cells that are HTML; the first names the row, and that at `drawn` is a drawing of its numbers."""
    if not rows:
        return ""
    # of a column of numbers the heading stands over them
    kinds = [
        "drawn" if place == drawn else "number" if place and all(row[place][:1].isdigit() for row in rows) else ""
        for place in range(len(names))
    ]
    head = "".join(
        _cell("th" if name else "td", name, kind, ' scope="col"' if name else "")
        for name, kind in zip(names, kinds, strict=True)
    )
    body = "".join(f"<tr>{_row(row, kinds)}</tr>" for row in rows)
    label = escape(caption)
    return (
        f'<div class="wide" role="region" aria-label="{label}" tabindex="0"><table><caption>{label}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: Sequence[str], kinds: Sequence[str]) -> str:
    first, *others = cells
    return _cell("th", first, "", ' scope="row"') + "".join(
        _cell("td", cell, kind) for cell, kind in zip(others, kinds[1:], strict=True)
    )


def _cell(tag: str, content: str, kind: str, attributes: str = "") -> str:
    class_name = f' class="{kind}"' if kind else ""
    return f"<{tag}{attributes}{class_name}>{content}</{tag}>"


def _time(report: RunReport) -> str:
    at = report.read_at
    return f'<time datetime="{instant(at)}">{utc(at):%d %B %Y, %H:%M:%S} UTC</time>'
