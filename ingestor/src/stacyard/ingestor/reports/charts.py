"""The drawings of a run's page: bars as inline SVG that stretches, with all words beside them in HTML.

Words within the SVG would shrink with it on a phone. A drawing is hidden from screen readers where a number stands
beside it, and described in words where none does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape

from stacyard.ingestor.pace import in_words, rate_in_words
from stacyard.ingestor.reports.data import Point
from stacyard.ingestor.times import utc

_HEIGHT = 100
_GAP = 0.12
# of a hundred; less is not seen
_LEAST = 0.8


def bar(shares: Mapping[str, float]) -> str:
    """A lying bar of parts, each a share of 1 in the colour of its name, one after the other."""
    # what is there must be seen, so that one failure among thousands is
    widths = {name: max(100 * share, _LEAST) for name, share in shares.items() if share > 0}
    scale = min(1.0, 100 / (sum(widths.values()) or 1))
    parts, left = [], 0.0
    for name, width in widths.items():
        parts.append(f'<rect class="{escape(name)}" x="{left:.2f}" width="{width * scale:.2f}" height="1"/>')
        left += width * scale
    drawn = "".join(parts)
    return f'<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'


def course_chart(points: Sequence[Point], seconds: int) -> str:
    """Standing bars of how many items came to an end in each stretch of so many seconds, by what they became."""
    top = nice_ceiling(max(point.done for point in points))
    busiest = max(points, key=lambda point: point.done)
    summary = (
        f"Items that came to an end in each {in_words(seconds)}: at most {rate_in_words(busiest.done / seconds)}, "
        f"at {clock(busiest.at, points)} UTC"
    )
    drawn = "".join(_column(place, point, top, points) for place, point in enumerate(points))
    begin, end = points[0].at, points[-1].at + timedelta(seconds=seconds)
    return (
        '<figure class="course">'
        f'<div class="scale" aria-hidden="true"><span>{rate_in_words(top / seconds)}</span>'
        f"<span>{rate_in_words(top / 2 / seconds)}</span><span>0</span></div>"
        f'<svg viewBox="0 0 {len(points)} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(summary)}">'
        f'<path class="grid" d="M0 0.5H{len(points)}M0 {_HEIGHT / 2}H{len(points)}"/>{drawn}</svg>'
        f'<div class="times" aria-hidden="true"><span>{clock(begin, points)}</span>'
        f"<span>{clock(begin + (end - begin) / 2, points)}</span><span>{clock(end, points)}</span></div>"
        f"<figcaption>{escape(summary)}.</figcaption></figure>"
    )


def nice_ceiling(value: float) -> float:
    """The least of 1, 2, 4, 5, 6, 8 times a power of ten that is not less; 1 for what is not above 0."""
    if value <= 0:
        return 1
    power = float(10 ** math.floor(math.log10(value)))
    return next(factor * power for factor in (1, 2, 4, 5, 6, 8, 10) if factor * power >= value)


def clock(at: datetime, points: Sequence[Point]) -> str:
    """A time in UTC as short as the span of the points allows."""
    span = (points[-1].at - points[0].at).total_seconds()
    return f"{utc(at):%d %b %H:%M}" if span >= 86400 else f"{utc(at):%H:%M:%S}" if span < 3600 else f"{utc(at):%H:%M}"


def _column(place: int, point: Point, top: float, points: Sequence[Point]) -> str:
    numbers = {
        "loaded": point.loaded - point.unchanged,
        "unchanged": point.unchanged,
        "rejected": point.rejected,
        "failed": point.failed,
    }
    parts, bottom = [], float(_HEIGHT)
    for name, number in numbers.items():
        if number:
            height = _HEIGHT * number / top
            bottom -= height
            seen, width = max(height, _LEAST), 1 - 2 * _GAP
            parts.append(
                f'<rect class="{name}" x="{place + _GAP}" y="{max(0.0, bottom - seen + height):.2f}" '
                f'width="{width}" height="{seen:.2f}"/>'
            )
    if not parts:
        return ""
    told = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    return f"<g><title>{clock(point.at, points)} UTC: {told}</title>{''.join(parts)}</g>"
