"""How far a number stands out from the others of its series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median

#: Scores are cut here, so that a series without any spread still gives a number.
MOST_SCORE = 1000.0

# for a normal distribution the median absolute deviation is 0.6745 standard deviations, the mean one 0.7979
_MAD_SHARE = 0.6745
_MEAN_SHARE = math.sqrt(2 / math.pi)
_DAYS_OF_A_YEAR = 365.25


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A statistic of one item and the item's time."""

    time: datetime
    value: float


def robust_z(value: float, series: Sequence[float]) -> float:
    """The modified z-score, 0.6745 (x - median) / MAD, of a value that is not in the series itself.

    Where more than half of a series is the same number, MAD is 0 and the mean absolute deviation takes its place; where
    all of it is, anything else scores `MOST_SCORE`. From Iglewicz and Hoaglin, "How to Detect and Handle Outliers"
    (ASQC 1993), who advise 3.5 as the limit.

    Raises:
        ValueError: the series is empty.
    """
    middle = median(series)
    deviations = [abs(each - middle) for each in series]
    spread = median(deviations) / _MAD_SHARE or fmean(deviations) / _MEAN_SHARE
    if value == middle:
        return 0.0
    score = (value - middle) / spread if spread else math.copysign(MOST_SCORE, value - middle)
    return max(-MOST_SCORE, min(MOST_SCORE, score))


def days_of_year_between(first: datetime, second: datetime) -> float:
    """How far apart two times are in the year, whatever year: 31 December and 1 January are a day apart."""
    apart = abs(first.timetuple().tm_yday - second.timetuple().tm_yday)
    return min(apart, _DAYS_OF_A_YEAR - apart)


def anomaly_score(
    seen: Observation, series: Sequence[Observation], *, min_count: int, season_days: int | None = None
) -> float | None:
    """The robust z-score of an observation against those of the same season; None if they are fewer than asked for.

    Args:
        seen: what is judged.
        series: the others of its place, in any order.
        min_count: how many of the season it takes.
        season_days: how far from the day of the year the season reaches on either side; None: the whole year.
    """
    season = [
        each.value
        for each in series
        if season_days is None or days_of_year_between(each.time, seen.time) <= season_days
    ]
    return robust_z(seen.value, season) if len(season) >= min_count else None
