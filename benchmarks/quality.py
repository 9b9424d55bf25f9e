"""How often the quality rules are right, on real data whose truth is known: `python -m benchmarks.quality`.

Clouds: what thresholds on NDVI alone call cloud, against the cloud masks that came with 68 Sentinel-2 dates. Anomalies:
faults of three kinds are planted, one at a time, into every clear date of the same series; the dates as they are count
as the ones that should pass. Nothing here is chosen by looking at the outcome: thresholds of the literature are shown,
beside the one that does best on 2015 and 2016 and is measured on 2017, which it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from stacyard.ingestor.recipe import CloudRule, CloudThreshold
from stacyard.ingestor.stages.anomalies import Observation, anomaly_score
from stacyard.ingestor.stages.clouds import cloud_mask

SERIES = Path(__file__).parents[1] / "demo" / "sentinel2_ndvi"
NDVI_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4)
SCALE = 10_000
NO_DATA = -32768
LEARNT_BEFORE = datetime(2017, 1, 1, tzinfo=UTC)
#: Percent from which an item counts as cloudy.
CLOUDY = 50.0
#: A date is clear enough to be part of the series up to here, as the anomaly rule's default has it.
CLEAR = 20.0
MIN_COUNT = 8
SCORE = 3.5


@dataclass(frozen=True, kw_only=True)
class Date:
    """One acquisition: NDVI x 10,000 and what is truly cloud, both of shape (rows, columns)."""

    time: datetime
    ndvi: NDArray[np.int16]
    cloud: NDArray[np.bool_]

    @property
    def cover(self) -> float:
        """Cloud in percent, by the mask."""
        return 100 * float(self.cloud.mean())


@dataclass(frozen=True, kw_only=True)
class Hits:
    """How a decision fared against the truth."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Of what was called out, the share that truly was."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else float("nan")

    @property
    def recall(self) -> float:
        """Of what truly was, the share that was called out."""
        return self.right / (self.right + self.missed) if self.right + self.missed else float("nan")


def read_series(directory: Path = SERIES) -> list[Date]:
    """All dates, the oldest first."""
    dates = []
    for path in sorted(directory.glob("S2_NDVI_*.tif")):
        with rasterio.open(path) as ndvi, rasterio.open(path.with_name(path.name.replace("NDVI", "CLM"))) as mask:
            time = datetime.strptime(path.stem[-15:], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
            dates.append(Date(time=time, ndvi=ndvi.read(1), cloud=mask.read(1) == 1))
    return dates


def hits(called: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Hits:
    """Decisions against the truth, one for one."""
    return Hits(
        right=int(np.count_nonzero(called & truth)),
        wrong=int(np.count_nonzero(called & ~truth)),
        missed=int(np.count_nonzero(~called & truth)),
    )


def by_threshold(dates: Sequence[Date], below: float) -> tuple[Hits, Hits]:
    """What is called cloud because its NDVI is so low: by pixel, and by date."""
    rule = CloudRule(kind="threshold", thresholds={"ndvi": CloudThreshold(max=below * SCALE)})
    called = [cloud_mask({"ndvi": (date.ndvi, date.ndvi != NO_DATA)}, rule)[0] for date in dates]
    covers = np.array([100 * mask.mean() for mask in called])
    truth = np.array([date.cover for date in dates])
    return hits(np.stack(called), np.stack([date.cloud for date in dates])), hits(covers >= CLOUDY, truth >= CLOUDY)


def learnt_threshold(dates: Sequence[Date]) -> float:
    """The threshold, to two digits, whose harmonic mean of precision and recall by pixel is best on these dates."""

    def harmonic(below: float) -> float:
        pixels, _ = by_threshold(dates, below)
        return 2 * pixels.right / (2 * pixels.right + pixels.wrong + pixels.missed)

    return max((round(step / 100, 2) for step in range(2, 60)), key=harmonic)


def clear_series(dates: Sequence[Date]) -> list[Date]:
    """The dates that the anomaly rule compares with each other."""
    return [date for date in dates if date.cover <= CLEAR]


def shifted(dates: Sequence[Date], number: int) -> NDArray[np.float64]:
    """A calibration that is off: NDVI 0.3 too high."""
    raised: NDArray[np.float64] = np.asarray(dates[number].ndvi + 0.3 * SCALE, dtype="float64")
    return raised


def half_empty(dates: Sequence[Date], number: int) -> NDArray[np.float64]:
    """A transfer that broke off and left 0 in the lower half."""
    ndvi = dates[number].ndvi.astype("float64")
    ndvi[ndvi.shape[0] // 2 :] = 0
    return ndvi


def misdated(dates: Sequence[Date], number: int) -> NDArray[np.float64]:
    """The picture of another season under this date: of the clear date that is half a year away as nearly as any."""

    def from_half_a_year(other: Date) -> float:
        days = abs((other.time - dates[number].time).days) % 365
        return abs(min(days, 365 - days) - 182.5)

    return min(dates, key=from_half_a_year).ndvi.astype("float64")


PLANTED: dict[str, Callable[[Sequence[Date], int], NDArray[np.float64]]] = {
    "NDVI 0.3 too high": shifted,
    "lower half 0": half_empty,
    "picture of another season": misdated,
}


def anomalies(dates: Sequence[Date], *, season_days: int | None) -> Iterator[tuple[str, int, Hits]]:
    """Each kind of fault, planted into every date in turn, how many dates can be judged, and how it fared.

    A date without enough others in its season is not judged: its fault counts as missed.
    """
    series = [Observation(time=date.time, value=float(date.ndvi.mean())) for date in dates]

    def score(number: int, value: float) -> float | None:
        others = [*series[:number], *series[number + 1 :]]
        seen = Observation(time=series[number].time, value=value)
        return anomaly_score(seen, others, min_count=MIN_COUNT, season_days=season_days)

    judged = [number for number, each in enumerate(series) if score(number, each.value) is not None]
    false = sum(abs(score(number, series[number].value) or 0) > SCORE for number in judged)
    for kind, plant in PLANTED.items():
        found = sum(abs(score(number, float(plant(dates, number).mean())) or 0) > SCORE for number in judged)
        yield kind, len(judged), Hits(right=found, wrong=false, missed=len(dates) - found)


def cloud_table(dates: Sequence[Date]) -> Table:
    """Precision and recall of thresholds, of all dates, and of the learnt one on the dates it has not seen."""
    table = Table(title=f"cloud by an NDVI threshold, {len(dates)} dates")
    for name in ("cloud below", "dates", "precision, pixels", "recall, pixels", "precision, dates", "recall, dates"):
        table.add_column(name, justify="right")
    learnt = learnt_threshold([date for date in dates if date.time < LEARNT_BEFORE])
    unseen = [date for date in dates if date.time >= LEARNT_BEFORE]
    rows = [(f"{below:g}", below, list(dates)) for below in NDVI_THRESHOLDS]
    for label, below, among in [*rows, (f"{learnt:g}, learnt on 2015 and 2016", learnt, unseen)]:
        pixels, items = by_threshold(among, below)
        figures = (pixels.precision, pixels.recall, items.precision, items.recall)
        table.add_row(label, str(len(among)), *(f"{figure:.3f}" for figure in figures))
    return table


def anomaly_table(dates: Sequence[Date]) -> Table:
    """Precision and recall of planted faults, as many as true dates."""
    clear = clear_series(dates)
    table = Table(title=f"planted anomalies in {len(clear)} clear dates, one at a time")
    for name in ("fault", "season", "judged", "found", "false alarms", "precision", "recall", "recall, judged"):
        table.add_column(name, justify="right")
    for season_days in (None, 60, 45, 30):
        for kind, judged, each in anomalies(clear, season_days=season_days):
            season = "whole year" if season_days is None else f"{season_days} days"
            shares = (each.precision, each.recall, each.right / judged)
            counts = (judged, each.right, each.wrong)
            table.add_row(kind, season, *map(str, counts), *(f"{share:.3f}" for share in shares))
    return table


if __name__ == "__main__":
    everything = read_series()
    console = Console(width=120)
    console.print(cloud_table(everything))
    console.print(anomaly_table(everything))
