"""How punctual the media workers are: warnings when the 20 ms tick runs late, and the percentiles at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import TypedDict

import structlog

from gateway.media.wire import WorkerPulse

log = structlog.get_logger()

LATE_MS = 20.0
"""A tick later than this delays a packet by more than its ptime: callers begin to hear it."""
WARN_EVERY_S = 30.0

_LASTS_S = 3.0
"""How long a worker counts as overloaded from its last bad second on; one that has no calls left says nothing more."""


class Lateness(TypedDict):
    ticks: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class TickWatch:
    """Keeps a histogram in steps of 0.1 ms, so that a month of ticks costs no memory."""

    def __init__(self, now: Callable[[], float], *, refuse_ms: float) -> None:
        """`now` is on the clock of the pulses. A worker more than half of whose ticks in a second are later than
        `refuse_ms` is overloaded; 0: none ever is."""
        self._now, self._refuse_ms = now, refuse_ms
        self._tenths: Counter[int] = Counter()
        self._warned_at = float("-inf")
        self._overloaded_at = float("-inf")
        self._usual_ms = 0.0  # how late, then

    def observe(self, worker: int, pulse: WorkerPulse) -> None:
        """Takes each worker's pulse; see `MediaPool.on_pulse`."""
        self._tenths.update(late_us // 100 for late_us in pulse.late_us)
        worst_ms = max(pulse.late_us, default=0) / 1000
        if worst_ms > LATE_MS and pulse.at - self._warned_at >= WARN_EVERY_S:
            self._warned_at = pulse.at
            log.warning("media.tick_late", worker=worker, worst_ms=round(worst_ms, 1), legs=pulse.legs)
        usual_ms = median(pulse.late_us) / 1000 if pulse.late_us else 0.0
        if 0 < self._refuse_ms < usual_ms:
            if not self.overload():
                log.warning("media.overloaded", worker=worker, usual_ms=round(usual_ms, 1), legs=pulse.legs)
            self._overloaded_at, self._usual_ms = pulse.at, usual_ms

    def overload(self) -> str:
        """Why there should be no further call just now; empty when there may."""
        if self._now() >= self._overloaded_at + _LASTS_S:
            return ""
        return f"the audio of live calls is {self._usual_ms:.0f} ms late"

    def lateness(self) -> Lateness:
        return Lateness(
            ticks=self._tenths.total(),
            p50_ms=self._percentile(0.5),
            p99_ms=self._percentile(0.99),
            p999_ms=self._percentile(0.999),
            max_ms=self._percentile(1.0),
        )

    def _percentile(self, part: float) -> float:
        """The upper edge of the step in which the `part` of all ticks is reached; 0 without any."""
        left = self._tenths.total() * part
        for tenth in sorted(self._tenths):
            left -= self._tenths[tenth]
            if left <= 0:
                return round((tenth + 1) / 10, 1)
        return 0.0
