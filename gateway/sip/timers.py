"""One heap for every timer of an endpoint, and the durations of RFC 3261's table 4."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

Owner = TypeVar("Owner")


class Timing(msgspec.Struct, frozen=True):
    """Seconds: T1 estimates the round trip, T2 bounds the intervals of repetition, T4 the life of a stray message."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0

    @property
    def patience(self) -> float:
        """64*T1: how long a transaction waits before it gives up."""
        return 64 * self.t1


class Timer(Generic[Owner]):
    """A running timer. `owner` is None once it was stopped, so that the heap keeps nothing alive."""

    __slots__ = ("due", "name", "owner")

    def __init__(self, due: float, owner: Owner, name: str) -> None:
        self.due = due
        self.owner: Owner | None = owner
        self.name = name


class Timers(Generic[Owner]):
    """Timers by due time; those due together go off in the order they were started."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer[Owner]]] = []
        self._started = 0
        self._stopped = 0

    def __len__(self) -> int:
        return len(self._heap) - self._stopped

    def start(self, due: float, owner: Owner, name: str) -> Timer[Owner]:
        timer = Timer(due, owner, name)
        self._started += 1
        heapq.heappush(self._heap, (due, self._started, timer))
        return timer

    def stop(self, timer: Timer[Owner] | None) -> None:
        """Harmless on None and on a timer that went off or was stopped before."""
        if timer is None or timer.owner is None:
            return
        timer.owner = None
        self._stopped += 1
        # Most timers never go off. Left in the heap they would outnumber the living.
        if self._stopped > 256 and self._stopped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].owner is not None]
            heapq.heapify(self._heap)
            self._stopped = 0

    def next_deadline(self) -> float | None:
        while self._heap:
            due, _, timer = self._heap[0]
            if timer.owner is not None:
                return due
            heapq.heappop(self._heap)
            self._stopped -= 1
        return None

    def expired(self, now: float) -> Iterator[tuple[Owner, str]]:
        """Take out what is due, one at a time: what one does may stop the next."""
        while (due := self.next_deadline()) is not None and due <= now:
            timer = heapq.heappop(self._heap)[2]
            owner, timer.owner = timer.owner, None
            if owner is not None:
                yield owner, timer.name
