"""Deaths of media workers: when to stop opening one's calls again, and how many there were.

A worker that dies again and again would take its calls through it each time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.media.commands import LegRestored, MediaDied
from gateway.media.ports import Said

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


@dataclass
class Losses:
    """Of all workers since the start, and what became of the legs they carried."""

    worker_deaths: int = 0
    legs_restored: int = 0
    legs_given_up: int = 0

    def count(self, news: Iterable[Said]) -> None:
        for said in news:
            self.legs_restored += isinstance(said, LegRestored)
            self.legs_given_up += isinstance(said, MediaDied)
