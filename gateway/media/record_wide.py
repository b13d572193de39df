"""The sound of recordings at 16 kHz, of legs that carry wideband.

What came or left as narrowband meanwhile (concealed, in another codec, silence of a hold) is brought to twice its
rate, and lies 2.75 ms later than it should.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.media.history import FRAME
from gateway.media.jitter import Bools
from gateway.media.ports import Int64s
from gateway.media.record import Int16s
from gateway.media.resample import TAPS, double_rate
from gateway.media.seams import Seams


class Sound(NamedTuple):
    """A frame of some rows: (rows, 160) at 8 kHz, (rows, 320) at 16, and which halves of that are there, (rows, 2)."""

    narrow: Int16s
    wide: Int16s
    there: Bools


class Widener:
    """One side of each row."""

    def __init__(self, slots: int) -> None:
        self._past = np.zeros((slots, TAPS - 1), np.int16)
        self._seams = Seams(slots)

    def reset(self, row: int) -> None:
        self._past[row] = 0
        self._seams.reset(row)

    def feed(self, rows: Int64s, sound: Sound) -> Int16s:
        """The next frame of each row, (rows, 320)."""
        heard = np.concatenate([self._past[rows], sound.narrow], axis=1)
        self._past[rows] = heard[:, FRAME:]
        needing = self._seams.concern(rows, sound.there)
        if not needing.any():
            self._seams.pass_by(rows, sound.wide)
            return sound.wide
        self._seams.pass_by(rows[~needing], sound.wide[~needing])
        widened = sound.wide.copy()
        late = double_rate(heard[needing])
        widened[needing] = self._seams.join(rows[needing], sound.wide[needing], sound.there[needing], late)
        return widened
