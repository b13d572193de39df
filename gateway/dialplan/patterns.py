"""Patterns for numbers and names: `1000` (exactly), `49*` (begins so), `*` (anything), `/regex/` (found anywhere).

Only a star at the end is a wildcard, so that feature codes such as `*72` can be written as they are dialled.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

ANONYMOUS = "anonymous"
"""Matches a withheld caller, which is the empty string everywhere else."""


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A test for values. Raises `ValueError` with what would be right."""
    if pattern.startswith("/"):
        return _regex(pattern)
    if pattern.endswith("*"):
        prefix = pattern[:-1]
        return lambda value: value.startswith(prefix)
    if pattern == ANONYMOUS:
        return lambda value: value in ("", ANONYMOUS)
    return lambda value: value == pattern


def _regex(pattern: str) -> Callable[[str], bool]:
    body, closed, flags = pattern[1:].rpartition("/")
    if not closed or flags not in ("", "i"):
        raise ValueError("a regular expression between slashes, as in /^1[0-9]{2}$/ or /word/i")
    try:
        search = re.compile(body, re.IGNORECASE if flags else 0).search
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"a regular expression that compiles ({error})") from None
    return lambda value: search(value) is not None


def matches(pattern: str, value: str) -> bool:
    return compile_pattern(pattern)(value)


def covers(wide: str, narrow: str) -> bool:
    """True only when certainly every value that `narrow` matches is matched by `wide`."""
    if wide in ("*", narrow):
        return True
    if narrow.startswith("/"):
        return False
    if narrow.endswith("*"):
        return not wide.startswith("/") and wide.endswith("*") and narrow[:-1].startswith(wide[:-1])
    values = ("", ANONYMOUS) if narrow == ANONYMOUS else (narrow,)
    return all(matches(wide, value) for value in values)
