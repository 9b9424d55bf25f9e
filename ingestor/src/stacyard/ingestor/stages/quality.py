"""Hold what is known of an item against the recipe's rules. Nothing here reads a file or a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import shapely
from shapely.geometry import shape

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import AnomalyRule, Asset, CloudRule, FootprintRule, Quality, ValueRange
from stacyard.ingestor.stages.anomalies import Observation, anomaly_score
from stacyard.ingestor.stages.inspect import RasterReport
from stacyard.ingestor.verdicts import Verdict

# an asset without any valid pixel has no footprint: it fails even where no share is asked for
_LEAST_VALID_PERCENT = 0.1


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the catalog has near an item: other items of the same scene, as collection/id, and its place's series."""

    duplicates: tuple[str, ...] = ()
    series: tuple[Observation, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was found of an item that may be loaded. `cloud_cover` in percent."""

    verdicts: tuple[Verdict, ...] = ()
    cloud_cover: float | None = None
    anomaly_score: float | None = None

    @property
    def properties(self) -> dict[str, Any]:
        """What an item says of it; docs/quality.md names the properties."""
        if not self.verdicts:
            return {}
        properties: dict[str, Any] = {
            "stacyard:quality": [
                {
                    name: value
                    for name, value in (
                        ("rule", verdict.rule),
                        ("asset", verdict.asset),
                        ("passed", verdict.passed),
                        ("value", verdict.value),
                        ("limit", verdict.limit),
                    )
                    if value is not None
                }
                for verdict in self.verdicts
            ],
            "stacyard:warnings": sorted({verdict.rule for verdict in self.verdicts if not verdict.passed}),
        }
        if self.anomaly_score is not None:
            properties["stacyard:anomaly_score"] = self.anomaly_score
        if self.cloud_cover is not None:
            properties["eo:cloud_cover"] = self.cloud_cover
        return properties


def judge(
    *,
    reports: Mapping[str, RasterReport],
    assets: Mapping[str, Asset],
    rules: Quality,
    seen: Observation | None = None,
    cloud_cover: float | None = None,
    surroundings: Surroundings | None = None,
) -> Judgement:
    """Hold an item against all rules.

    Args:
        reports: of its assets.
        assets: what the recipe says of them.
        rules: the recipe's.
        seen: the statistic that the anomaly rule asks for; None if the item has it not.
        cloud_cover: in percent, if known.
        surroundings: what the catalog has near it, if a rule needs that.

    Raises:
        Rejected: rules are broken that do not merely warn; the message has each value and its limit.
    """
    around = surroundings or Surroundings()
    score = _score(seen, around.series, rules.anomaly, cloud_cover) if rules.anomaly else None
    found = [
        *(verdict for key, report in reports.items() for verdict in _of_asset(key, report, assets[key], rules)),
        *([_footprint(main_report(reports, assets).footprint, rules.footprint)] if rules.footprint else []),
        *([_cloud(cloud_cover, rules.cloud)] if rules.cloud else []),
        *([_duplicate(around.duplicates, rules)] if rules.duplicate and surroundings else []),
        *([_anomaly(score, rules.anomaly)] if rules.anomaly and surroundings else []),
    ]
    # what is as it should be needs no sentence
    verdicts = [replace(each, message="") if each.passed and each.value is not None else each for each in found]
    broken = [verdict for verdict in verdicts if not verdict.passed and verdict.severity == "reject"]
    if broken:
        raise Rejected("; ".join(verdict.message for verdict in broken), verdicts=verdicts)
    return Judgement(verdicts=tuple(verdicts), cloud_cover=cloud_cover, anomaly_score=score)


def main_report(reports: Mapping[str, RasterReport], assets: Mapping[str, Asset]) -> RasterReport:
    """The report that gives an item its geometry: of the first asset with the role `data`, else of the first."""
    return reports[next((key for key in reports if "data" in assets[key].roles), next(iter(reports)))]


def statistic_of(reports: Mapping[str, RasterReport], rule: AnomalyRule) -> float | None:
    """The statistic that an anomaly rule asks for, in the file's own numbers; None if the item has it not."""
    report = reports.get(rule.asset)
    if report is None or rule.band > len(report.bands):
        return None
    return report.bands[rule.band - 1].statistics.get(rule.statistic)


def _of_asset(key: str, report: RasterReport, asset: Asset, rules: Quality) -> Iterator[Verdict]:
    yield Verdict(rule="readable", asset=key, passed=True, value=True, limit=True)
    if rules.crs is not None:
        yield Verdict(
            rule="crs",
            asset=key,
            passed=report.crs in rules.crs.codes,
            value=report.crs,
            limit=rules.crs.codes,
            message=f"asset {key!r} is in {report.crs or 'a CRS without a code'}; quality.crs asks for "
            f"{' or '.join(rules.crs.codes)}: reproject it, or add the code",
            severity=rules.crs.severity,
        )
    if "data" in asset.roles:
        least = max(rules.min_valid_percent, _LEAST_VALID_PERCENT)
        # of a huge raster a few pixels are less than the least, and yet data
        enough = report.footprint is not None and report.valid_percent >= rules.min_valid_percent
        yield Verdict(
            rule="valid",
            asset=key,
            passed=enough,
            value=round(report.valid_percent, 3),
            limit=rules.min_valid_percent,
            message=f"asset {key!r} has {report.valid_percent:.1f} % valid pixels; at least {least:g} % are asked for "
            "by quality.min_valid_percent",
        )
    if key in rules.values:
        yield _values(key, report, rules.values[key])


def _values(key: str, report: RasterReport, wanted: ValueRange) -> Verdict:
    """One verdict over all bands: the first value that is out of its range, or else that all are in theirs."""
    checks = (
        ("the value", "minimum", "below", wanted.min),
        ("the value", "maximum", "above", wanted.max),
        ("the mean", "mean", "below", wanted.min_mean),
        ("the mean", "mean", "above", wanted.max_mean),
        ("the standard deviation", "stddev", "below", wanted.min_stddev),
        ("the standard deviation", "stddev", "above", wanted.max_stddev),
    )
    for band in report.bands:
        for words, name, side, limit in checks:
            value = band.statistics.get(name)
            if value is None or limit is None or not (value < limit if side == "below" else value > limit):
                continue
            return Verdict(
                rule="values",
                asset=key,
                passed=False,
                value=value,
                limit=limit,
                message=f"asset {key!r} has {words} {value:g}, {side} the {limit:g} of quality.values",
                severity=wanted.severity,
            )
    return Verdict(rule="values", asset=key, passed=True, severity=wanted.severity)


def _footprint(footprint: Any, rule: FootprintRule) -> Verdict:
    inside = covered = 0.0
    if footprint is not None:
        outline, box = shape(footprint), _box(rule.within)
        common = outline.intersection(box).area
        inside, covered = (round(100 * common / part.area, 2) if part.area else 0.0 for part in (outline, box))
    west, south, east, north = rule.within
    return Verdict(
        rule="footprint",
        passed=inside >= rule.min_inside_percent and covered >= rule.min_covered_percent,
        value={"inside_percent": inside, "covered_percent": covered},
        limit={"inside_percent": rule.min_inside_percent, "covered_percent": rule.min_covered_percent},
        message=f"{inside:g} % of the footprint is inside {west:g}, {south:g}, {east:g}, {north:g} and covers "
        f"{covered:g} % of it; quality.footprint asks for {rule.min_inside_percent:g} % and "
        f"{rule.min_covered_percent:g} %: see that the CRS and the georeference are right",
        severity=rule.severity,
    )


def _box(within: tuple[float, float, float, float]) -> Any:
    west, south, east, north = within
    if west < east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


def _cloud(cover: float | None, rule: CloudRule) -> Verdict:
    return Verdict(
        rule="cloud",
        passed=cover is None or cover <= rule.max_percent,
        value=cover,
        limit=rule.max_percent,
        message="nothing tells how cloudy it is"
        if cover is None
        else f"{cover:g} % is cloud; at most {rule.max_percent:g} % are allowed by quality.cloud",
        severity=rule.severity,
    )


def _duplicate(others: Sequence[str], rules: Quality) -> Verdict:
    assert rules.duplicate is not None  # noqa: S101 - the caller looked
    return Verdict(
        rule="duplicate",
        passed=not others,
        value=list(others),
        limit=[],
        message=f"the catalog has this scene as {', '.join(others)}: leave one of them out, "
        "or change quality.duplicate",
        severity=rules.duplicate.severity,
    )


def _anomaly(score: float | None, rule: AnomalyRule) -> Verdict:
    return Verdict(
        rule="anomaly",
        asset=rule.asset,
        passed=score is None or abs(score) <= rule.threshold,
        value=score,
        limit=rule.threshold,
        message="too few items of its place, or it is too cloudy, to say what is usual"
        if score is None
        else f"the {rule.statistic} of asset {rule.asset!r} has the robust z-score {score:g} in the series of its "
        f"place; up to {rule.threshold:g} either way is usual by quality.anomaly: look at it",
        severity=rule.severity,
    )


def _score(
    seen: Observation | None, series: Sequence[Observation], rule: AnomalyRule, cloud_cover: float | None
) -> float | None:
    if seen is None or (cloud_cover or 0.0) > rule.max_cloud_percent:
        return None
    score = anomaly_score(seen, series, min_count=rule.min_count, season_days=rule.season_days)
    return None if score is None else round(score, 3)
