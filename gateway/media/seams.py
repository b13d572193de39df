"""Where sound that came at 16 kHz meets sound that was brought to it, 2.75 ms late: no click at either end.

At the beginning of what was brought there its step is levelled out; what comes behind it fades in over it.
"""

from __future__ import annotations

import numpy as np

from gateway.media.jitter import Bools
from gateway.media.ports import Float32s, Int64s
from gateway.media.resample import Int16s

_CELL = 160
_LEVELLED = 80
"""Samples (5 ms) over which a step is levelled out."""

_FALLING = np.clip(1 - np.arange(_CELL, dtype=np.float32) / _LEVELLED, 0, 1)
_RISING = (np.arange(_CELL, dtype=np.float32) + 0.5) / _CELL


class Seams:
    """A stream of 16 kHz in each row, in frames of two cells of 10 ms."""

    def __init__(self, slots: int) -> None:
        self._late = np.zeros(slots, np.bool_)  # the cell before was brought to the rate
        self._last = np.zeros(slots, np.float32)  # its last sample

    def reset(self, row: int) -> None:
        self._late[row], self._last[row] = False, 0.0

    def concern(self, rows: Int64s, there: Bools) -> Bools:
        """Whose next frame, of which so much is `there` (rows, 2), needs what was brought to the rate."""
        needing: Bools = self._late[rows] | ~there.all(axis=1)
        return needing

    def pass_by(self, rows: Int64s, frames: Int16s) -> None:
        """These frames came whole after whole ones."""
        self._last[rows] = frames[:, -1]

    def join(self, rows: Int64s, wide: Int16s, there: Bools, late: Int16s) -> Int16s:
        """(rows, 320): of what came, `wide`, as much as is there, and of what was brought to the rate the rest."""
        joined = np.empty(wide.shape, np.float32)
        for half in (0, 1):
            here = slice(half * _CELL, half * _CELL + _CELL)
            joined[:, here] = self._cell(rows, wide[:, here], there[:, half], late[:, here].astype(np.float32))
        return np.clip(np.rint(joined), -32768, 32767).astype(np.int16)

    def _cell(self, rows: Int64s, wide: Int16s, came: Bools, late: Float32s) -> Float32s:
        was_late = self._late[rows]
        step = np.where(was_late, 0, self._last[rows] - late[:, 0])
        rising = np.where((was_late & (self._last[rows] != 0))[:, None], _RISING, 1)  # over silence there is no need to
        cell: Float32s = np.where(came[:, None], late * (1 - rising) + wide * rising, late + step[:, None] * _FALLING)
        self._late[rows], self._last[rows] = ~came, cell[:, -1]
        return cell
