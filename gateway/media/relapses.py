"""When to stop opening a worker's calls again: one that dies again and again would take them through it each time."""

from __future__ import annotations

from collections import deque

MOST = 3
WITHIN_S = 60.0
"""A worker's calls end with its death when that is the third in a minute."""


class Relapses:
    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=MOST)

    def died(self, now: float) -> None:
        self._deaths.append(now)

    @property
    def first(self) -> bool:
        """There was no other death lately."""
        return len(self._deaths) < 2 or self._deaths[-1] - self._deaths[-2] > WITHIN_S

    @property
    def hopeless(self) -> bool:
        return len(self._deaths) == MOST and self._deaths[-1] - self._deaths[0] <= WITHIN_S
