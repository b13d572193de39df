"""The last 1.3 s of every leg's audio, so that anything which looks back needs no buffer of its own.

Concealment, detection and preroll all read here. Positions count samples on the plane's own clock, the same for all
rows, so that one index serves a whole batch. The ring's first frames are kept a second time behind its end: every
stretch up to `LONGEST` samples is contiguous, and reading a batch of them is one copy a row.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.ports import Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]

FRAME = 160
"""Samples in 20 ms at 8 kHz: one tick's audio of one leg."""

_FRAMES = 64
_MIRRORED = 8

DEPTH = _FRAMES * FRAME
"""Samples held of each row."""

LONGEST = _MIRRORED * FRAME
"""The longest stretch that can be read at once."""


class AudioHistory:
    def __init__(self, slots: int, scale: int = 1) -> None:
        """With `scale` 2 it is all twice as long: a history at 16 kHz, with positions that count its own samples."""
        self._frame, self._depth, self._longest = scale * FRAME, scale * DEPTH, scale * LONGEST
        self._width = self._depth + self._longest
        self._samples = np.zeros((slots, self._width), np.int16)
        self._stretches: dict[int, Int16s] = {}  # by length: every stretch of it, as an overlapping view

    def write(self, rows: Int64s, position: int, frames: Int16s) -> None:
        """One frame for each row; `position`, of its first sample, is a multiple of FRAME."""
        start = position % self._depth
        self._samples[rows, start : start + self._frame] = frames
        if start < self._longest:
            self._samples[rows, self._depth + start : self._depth + start + self._frame] = frames

    def read(self, rows: Int64s, ends: Int64s | int, length: int) -> Int16s:
        """(rows, length): the samples before position `ends`. Only the last DEPTH samples are there to be read."""
        stretches = self._stretches.get(length)
        if stretches is None:
            stretches = self._stretches[length] = _stretches(self._samples, length)
        starts = (ends - length) % self._depth
        found: Int16s = stretches[rows * self._width + starts]
        return found

    def clear(self, row: int) -> None:
        self._samples[row] = 0


def _stretches(samples: Int16s, length: int) -> Int16s:
    flat = samples.reshape(-1)
    return np.lib.stride_tricks.as_strided(flat, (flat.size - length + 1, length), (2, 2), writeable=False)
