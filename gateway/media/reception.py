"""How well each leg receives: RFC 3550's counting of losses (A.3) and jitter (A.8), and the E-model's opinion."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.ports import Float64s, Int64s
from gateway.media.rtcp import Block

Bools: TypeAlias = npt.NDArray[np.bool_]

_RATE = 8000
_ENOUGH = 50
"""Packets (a second) before an opinion of the quality is worth having."""

_JUMP = _RATE
"""A change of transit time beyond a second is a stepped clock, not jitter."""

_DROPOUT, _MISORDER = 3000, 100
"""RFC 3550 A.1: how far ahead of the highest sequence number, or behind it, a packet of the same stream may be."""


class Reception:
    """Arrays by row. `reset` for a new leg and for a new source of the same leg."""

    def __init__(self, slots: int) -> None:
        self.received = np.zeros(slots, np.int64)
        self.stray = np.zeros(slots, np.int64)
        """Packets whose sequence number was none of the stream's."""

        self._copies = np.zeros(slots, np.int64)  # of packets that had come already
        self._missing: dict[int, set[int]] = {}  # unwrapped numbers that may still come, by row
        self._expected_before = np.zeros(slots, np.int64)  # of sources that were replaced
        self._first = np.full(slots, -1, np.int64)
        self._highest = np.zeros(slots, np.int64)  # unwrapped
        self._anew = np.full(slots, -1, np.int64)  # the sequence number that would confirm that the stream began anew
        self._received_of_source = np.zeros(slots, np.int64)
        self._transit = np.full(slots, np.inf)
        self._jitter = np.zeros(slots, np.float64)
        self._reported = np.zeros((slots, 2), np.int64)  # expected and received at the last report

    def reset(self, row: int) -> None:
        self.received[row] = self.stray[row] = self._copies[row] = self._expected_before[row] = 0
        self._forget_source(row)

    def change_source(self, row: int) -> None:
        self._expected_before[row] = self._expected(row)
        self._forget_source(row)

    def _forget_source(self, row: int) -> None:
        self._first[row] = self._anew[row] = -1
        self._highest[row] = self._received_of_source[row] = 0
        self._missing.pop(row, None)
        self._transit[row], self._jitter[row] = np.inf, 0.0
        self._reported[row] = 0

    def of_source(self, row: int) -> int:
        """Packets that came of the row's source."""
        return int(self._received_of_source[row])

    def count(self, rows: Int64s, sequences: Int64s) -> Bools:
        """Packets of any kind came, one for each of `rows`. Gives which of them are of the stream: one whose sequence
        number is far from all others is not, unless the next one follows on it (RFC 3550 A.1)."""
        new = self._first[rows] < 0
        if np.count_nonzero(new):
            self._first[rows[new]], self._highest[rows[new]] = sequences[new], sequences[new] - 1
        highest = self._highest[rows]
        ahead = (sequences - highest + _MISORDER) % 0x10000
        good: Bools = ahead < _MISORDER + _DROPOUT
        if np.count_nonzero(good) < len(good):
            for k in np.flatnonzero(~good):
                good[k] = self._begins_anew(int(rows[k]), int(sequences[k]))
                ahead[k], highest[k] = _MISORDER + 1, self._highest[rows[k]]
            rows, ahead, highest = rows[good], ahead[good], highest[good]
        follows = ahead == _MISORDER + 1
        if np.count_nonzero(follows) < len(follows):
            for k in np.flatnonzero(~follows):
                self._miss_or_find(int(rows[k]), int(highest[k]), int(highest[k] + ahead[k]) - _MISORDER)
        self._highest[rows] = np.maximum(highest, highest + ahead - _MISORDER)
        self.received[rows] += 1
        self._received_of_source[rows] += 1
        return good

    def _begins_anew(self, row: int, sequence: int) -> bool:
        if sequence != self._anew[row]:
            self._anew[row] = sequence + 1 & 0xFFFF
            self.stray[row] += 1
            return False
        self.change_source(row)
        self._first[row], self._highest[row] = sequence, sequence - 1
        return True

    def _miss_or_find(self, row: int, highest: int, number: int) -> None:
        """A packet came that is not the next one."""
        missing = self._missing.setdefault(row, set())
        if number > highest:
            within = number - _MISORDER
            self._missing[row] = {old for old in missing if old > within}.union(range(max(highest, within) + 1, number))
        elif number in missing:
            missing.remove(number)
        else:
            self._copies[row] += 1

    def time(self, rows: Int64s, positions: Int64s, arrivals: Float64s) -> None:
        """Audio packets at unwrapped sample `positions` came at `arrivals` (s)."""
        transit = arrivals * _RATE - positions
        change = np.abs(transit - self._transit[rows])
        self._transit[rows] = transit
        self._jitter[rows] += np.where(change < _JUMP, change - self._jitter[rows], 0.0) / 16

    def _expected(self, row: int) -> int:
        if self._first[row] < 0:
            return int(self._expected_before[row])
        return int(self._expected_before[row] + self._highest[row] - self._first[row] + 1)

    def lost(self, row: int) -> int:
        return max(0, self._expected(row) - int(self.received[row] - self._copies[row]))

    def jitter_ms(self, row: int) -> float:
        return float(self._jitter[row]) / 8

    def block(self, row: int, ssrc: int, last_report: int, delay_s: float | None) -> Block:
        """A report block on the row's source; what it says is counted from here on in the next one."""
        expected = int(self._highest[row] - self._first[row] + 1) if self._first[row] >= 0 else 0
        received = int(self._received_of_source[row])
        expected_now, received_now = expected - int(self._reported[row, 0]), received - int(self._reported[row, 1])
        self._reported[row] = expected, received
        missing = max(0, expected_now - received_now)
        fraction = min(255, 256 * missing // expected_now) if expected_now > 0 else 0
        lost = min(max(expected - received, -0x800000), 0x7FFFFF)
        # A report may arrive within the very tick that answers it: its age is then below zero by our reckoning.
        delay = 0 if delay_s is None else max(0, min(int(delay_s * 65536), 0xFFFFFFFF))
        highest = int(self._highest[row]) & 0xFFFFFFFF
        return Block(ssrc, fraction, lost, highest, min(int(self._jitter[row]), 0xFFFFFFFF), last_report, delay)

    def mos(self, row: int, delay_ms: float, late: int = 0, recovered: int = 0) -> float | None:
        """Mean opinion score (1 to 4.4) for the caller's audio as the bot gets it; None before a second of it. What
        came too `late`, or broken, was missing as if it had been lost; what was missing and `recovered` is as good as
        any."""
        expected = self._expected(row)
        if int(self.received[row]) < _ENOUGH:
            return None
        return mean_opinion(max(0, self.lost(row) + late - recovered) / max(expected, 1), delay_ms)


def mean_opinion(loss: float, delay_ms: float) -> float:
    """ITU-T G.107 for G.711 with concealment (G.113: Ie 0, Bpl 25.1) at `loss` 0..1 and one-way `delay_ms`."""
    impaired_by_delay = 0.024 * delay_ms + 0.11 * max(0.0, delay_ms - 177.3)
    impaired_by_loss = 95.0 * (100 * loss) / (100 * loss + 25.1)
    r = min(100.0, max(0.0, 93.2 - impaired_by_delay - impaired_by_loss))
    return 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r)
