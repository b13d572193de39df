"""Times of the week and dates: `mon-fri 09:00-17:30`, `sat,sun`, `22:00-06:00`, `2026-12-24`, `12-24..12-26`.

A window that ends before it begins runs past midnight and belongs to the day it began on. Ends are exclusive.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import lru_cache

import msgspec

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EXPECTED = "a time window such as mon-fri 09:00-17:30, sat,sun or 22:00-06:00"
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_DAYS = re.compile(r"[a-z]+(?:-[a-z]+)?(?:,[a-z]+(?:-[a-z]+)?)*")
_DATE = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})")
_DAY_MINUTES = 24 * 60


class WeekWindow(msgspec.Struct, frozen=True):
    """Days count from Monday = 0; minutes from midnight, `until` up to 1440."""

    days: frozenset[int]
    begin: int
    until: int

    def holds(self, at: datetime) -> bool:
        minute, today = at.hour * 60 + at.minute, at.weekday()
        if self.begin < self.until:
            return today in self.days and self.begin <= minute < self.until
        evening = today in self.days and minute >= self.begin
        small_hours = (today - 1) % 7 in self.days and minute < self.until
        return evening or small_hours


@lru_cache(maxsize=1024)
def read_window(text: str) -> WeekWindow:
    """Raises `ValueError` with what is expected."""
    words = text.lower().split()
    days, begin, until = frozenset(range(7)), 0, _DAY_MINUTES
    if words and _DAYS.fullmatch(words[0]):
        days = _read_days(words.pop(0))
    elif len(words) != 1:
        raise ValueError(_EXPECTED)
    if words:
        begin, until = _read_clock(words.pop(0))
    if words:
        raise ValueError(_EXPECTED)
    return WeekWindow(days, begin, until)


def _read_days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _day(first), _day(last or first)
        days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(days)


def _day(text: str) -> int:
    for number, name in enumerate(WEEKDAYS):
        if len(text) >= 3 and name.startswith(text):
            return number
    raise ValueError(f"{_EXPECTED} ({text!r} is no weekday)")


def _read_clock(text: str) -> tuple[int, int]:
    found = _CLOCK.fullmatch(text)
    if not found:
        raise ValueError(_EXPECTED)
    hour, minute, last_hour, last_minute = (int(part) for part in found.groups())
    begin, until = hour * 60 + minute, last_hour * 60 + last_minute
    if minute > 59 or last_minute > 59 or begin >= _DAY_MINUTES or until > _DAY_MINUTES or begin == until:
        raise ValueError(f"{_EXPECTED} ({text} is no span of a day)")
    return begin, until


class DateSpan(msgspec.Struct, frozen=True):
    """Both ends inclusive, as (year or 0, month, day); without a year it comes round every year."""

    first: tuple[int, int, int]
    last: tuple[int, int, int]

    def holds(self, at: datetime) -> bool:
        if self.first[0]:
            return self.first <= (at.year, at.month, at.day) <= self.last
        today = (0, at.month, at.day)
        if self.first <= self.last:
            return self.first <= today <= self.last
        return today >= self.first or today <= self.last


@lru_cache(maxsize=1024)
def read_dates(text: str) -> DateSpan:
    """Raises `ValueError` with what is expected."""
    first, ranged, last = text.strip().partition("..")
    begin = _read_date(first)
    end = _read_date(last) if ranged else begin
    if bool(begin[0]) != bool(end[0]) or (begin[0] and end < begin):
        raise ValueError("a date or a span of dates, first to last, both with the year or both without")
    return DateSpan(begin, end)


def _read_date(text: str) -> tuple[int, int, int]:
    found = _DATE.fullmatch(text.strip())
    expected = "a date such as 2026-12-24 or 12-24, or a span such as 12-24..12-26"
    if not found:
        raise ValueError(expected)
    year, month, day = int(found[1] or 0), int(found[2]), int(found[3])
    try:
        date(year or 2024, month, day)  # 2024: 29 February exists where no year is given
    except ValueError:
        raise ValueError(f"{expected} ({text} does not exist)") from None
    return year, month, day
