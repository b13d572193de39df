"""Quiet callers brought to a usual level, for recognisers alone: what is recorded, detected or sent back is as it came.

A level follows each caller's loudest 20 ms: up at once, down by 3 dB a second, and only where speech was found, so
that pauses and noise never raise the gain. A stretch of speech, with the preroll before it, has one gain: what is told
within an utterance by loudness stays as it was, and nothing pumps. From stretch to stretch it grows by 6 dB at most and
falls at once; within one it falls only where it would clip. It never attenuates.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.ports import Float64s, Int64s

Bools: TypeAlias = npt.NDArray[np.bool_]
Int16s: TypeAlias = npt.NDArray[np.int16]

_TARGET = (32768 * 10 ** (-14 / 20)) ** 2
"""Mean square of a usual caller's loudest 20 ms: 6 dB above active speech at -20 dBFS."""

_ONSET = 4.0
"""The beginning of a caller's first speech is taken to be 6 dB below what follows."""

_MOST = 10 ** (30 / 20)
_RISE = 2.0
_CLIPS = 30000.0
_FALL = 10 ** (-0.3 / 10)
"""What the level falls by in a piece of 100 ms that is fainter."""

_FRAME = 160


class GainControl:
    def __init__(self, slots: int) -> None:
        self._level = np.zeros(slots, np.float32)  # 0: never heard
        self._gain = np.ones(slots, np.float32)

    def reset(self, row: int) -> None:
        self._level[row], self._gain[row] = 0.0, 1.0

    def begin(self, row: int, onset: Int16s) -> None:
        """A stretch of speech begins, and this is what there is of it."""
        known = float(self._level[row])
        if not known and len(onset) >= _FRAME:
            self._level[row] = _ONSET * _loudest(onset[None])[0]
        level = float(self._level[row])
        wanted = min(max(math.sqrt(_TARGET / level), 1.0), _MOST) if level else 1.0
        self._gain[row] = min(wanted, float(self._gain[row]) * _RISE) if known else wanted

    def apply(self, rows: Int64s, pcm: Int16s, speech: Bools) -> Int16s:
        """The next piece of each row, (rows, samples), raised. `speech` tells those that hold some."""
        self._follow(rows[speech], pcm[speech])
        samples = pcm.astype(np.float32)
        before = self._gain[rows]
        self._gain[rows] = gain = np.minimum(before, np.maximum(_CLIPS / (np.abs(samples).max(axis=1) + 1), 1.0))
        samples *= gain[:, None]
        raised: Int16s = np.rint(samples).astype(np.int16)
        return raised

    def _follow(self, rows: Int64s, pcm: Int16s) -> None:
        if len(rows) and pcm.shape[1] >= _FRAME:
            self._level[rows] = np.maximum(_loudest(pcm), self._level[rows] * _FALL)


def _loudest(pcm: Int16s) -> Float64s:
    """(rows,): mean square of the loudest 20 ms (10 at 16 kHz). In doubles no sum is rounded, on no machine."""
    whole = pcm[:, : pcm.shape[1] // _FRAME * _FRAME].astype(np.float64)
    loudest: Float64s = np.square(whole).reshape(len(pcm), -1, _FRAME).mean(axis=2).max(axis=1)
    return loudest
