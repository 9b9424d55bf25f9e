"""How fast work goes, and when it will be done."""

from __future__ import annotations

from collections import deque

_WINDOW_SECONDS = 60.0
_LEAST_SECONDS = 2.0
_MOST_NOTES = 256


class Pace:
    """The speed over the last minute, from counts that were noted now and then."""

    def __init__(self) -> None:
        self._notes: deque[tuple[float, int]] = deque(maxlen=_MOST_NOTES)

    def note(self, done: int, at: float) -> None:
        """So much was done at this time, in seconds of any clock that only goes forward."""
        if self._notes and done < self._notes[-1][1]:
            # a retry has put some back to work
            self._notes.clear()
        self._notes.append((at, done))
        while len(self._notes) > 2 and self._notes[1][0] <= at - _WINDOW_SECONDS:
            self._notes.popleft()

    @property
    def per_second(self) -> float | None:
        """None while too little was seen to tell."""
        if not self._notes:
            return None
        (since, before), (until, now) = self._notes[0], self._notes[-1]
        return (now - before) / (until - since) if until - since >= _LEAST_SECONDS else None

    def seconds_left(self, rest: int) -> float | None:
        """How long the rest takes at this speed; None if nobody can tell."""
        speed = self.per_second
        return rest / speed if speed else None


def in_words(seconds: float) -> str:
    """A time as a person says it: "12 s", "3 min", "2 h 5 min", "4 d 3 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def rate_in_words(per_second: float) -> str:
    """A speed in items per second, or per minute if it is slow."""
    if per_second >= 100:
        return f"{per_second:,.0f} items/s"
    return f"{per_second:.1f} items/s" if per_second >= 1 else f"{60 * per_second:.1f} items/min"


def bytes_in_words(number: float) -> str:
    """Bytes in the decimal units of disks and networks."""
    if number < 1000:
        return f"{number:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        number /= 1000
        # 999.96 would be written as 1000.0
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} PB"
