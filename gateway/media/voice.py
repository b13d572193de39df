"""The samples of what is to be said, at one rate: the next two seconds of each row, and how they fall silent.

Positions and counts are of 8 kHz, whatever the rate: where one ring is, there is the other.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.history import FRAME
from gateway.media.ports import Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]

RING = 1 << 14
"""Samples of 8 kHz that it holds of each row."""

_FADE = 40
"""Samples (5 ms) over which playout falls silent when held or dropped, and comes back."""


class VoiceRing:
    def __init__(self, slots: int, scale: int) -> None:
        """At `scale` times 8 kHz. Rows that are never written take up no memory."""
        self._scale, self._size, self._frame = scale, scale * RING, scale * FRAME
        self._width = self._size + self._frame  # the first frame again behind the end: every read is contiguous
        self._ring = np.zeros((slots, self._width), np.int16)
        flat = self._ring.reshape(-1)
        shape = flat.size - self._frame + 1, self._frame
        self._frames = np.lib.stride_tricks.as_strided(flat, shape, (2, 2), writeable=False)  # one from every sample on
        self._fade = scale * _FADE
        self._falling = 1 - (np.arange(self._fade, dtype=np.float32) + 1) / self._fade
        self._tails: dict[int, Int16s] = {}  # rows that fall silent with the next frame, and how
        self._fading_in: set[int] = set()

    def reset(self, row: int) -> None:
        self._tails.pop(row, None)
        self._fading_in.discard(row)

    def append(self, row: int, position: int, pcm: Int16s) -> None:
        """From `position` on; as much as there is room for."""
        start = self._scale * position % self._size
        first = min(len(pcm), self._size - start)
        ring = self._ring[row]
        ring[start : start + first] = pcm[:first]
        ring[: len(pcm) - first] = pcm[first:]
        ring[self._size :] = ring[: self._frame]

    def stretch(self, row: int, begin: int, end: int) -> Int16s:
        """What stands there now."""
        found: Int16s = self._ring[row, np.arange(self._scale * begin, self._scale * end) % self._size]
        return found

    def fall_silent(self, row: int, position: int, left: int) -> None:
        """Keep the next few milliseconds, of `left` samples at most, faded, to be sent instead of a click."""
        length = min(self._fade, self._scale * left)
        start = self._scale * position % self._size
        self._tails[row] = np.rint(self._ring[row, start : start + length] * self._falling[:length]).astype(np.int16)

    def fade_in(self, row: int) -> None:
        """With the next frame, unless it had not begun to fall silent."""
        self._fading_in.add(row)

    def keeps_speaking(self, row: int) -> bool:
        """Take back `fall_silent`; false when it is too late for that."""
        return self._tails.pop(row, None) is not None

    def stop_fading_in(self, row: int) -> None:
        self._fading_in.discard(row)

    def take(self, rows: Int64s, positions: Int64s, available: Int64s, frames: Int16s) -> None:
        """Write 20 ms of `rows` into `frames`, which hold silence: of each, `available` samples from its position."""
        playing = available.nonzero()[0]
        if len(playing):
            self._copy(rows[playing], positions[playing], available[playing], playing, frames)
        if self._tails:
            self._play_tails(rows, frames)

    def _copy(self, rows: Int64s, positions: Int64s, available: Int64s, at: Int64s, frames: Int16s) -> None:
        frames[at] = self._frames[rows * self._width + self._scale * positions % self._size]
        for k in (available < FRAME).nonzero()[0]:
            frames[at[k], self._scale * available[k] :] = 0
        if self._fading_in:
            for k in np.flatnonzero(np.isin(rows, list(self._fading_in))):
                frames[at[k], : self._fade] = np.rint(frames[at[k], : self._fade] * self._falling[::-1])
                self._fading_in.discard(int(rows[k]))

    def _play_tails(self, rows: Int64s, frames: Int16s) -> None:
        for k in np.flatnonzero(np.isin(rows, list(self._tails))):
            tail = self._tails.pop(int(rows[k]))
            mixed = frames[k, : len(tail)].astype(np.int32) + tail
            frames[k, : len(tail)] = np.clip(mixed, -32768, 32767)


class WideFrames:
    """What rows with a wideband codec say in a tick: `pcm` is (rows, 320), silence at first."""

    def __init__(self, rows: Int64s) -> None:
        self.rows = rows
        self.pcm = np.zeros((len(rows), 2 * FRAME), np.int16)

    def of(self, row: int) -> Int16s | None:
        """A row's own frame, to be written; None when it is none of them."""
        k = int(np.searchsorted(self.rows, row))
        return self.pcm[k] if k < len(self.rows) and self.rows[k] == row else None

    def among(self, rows: Int64s) -> tuple[Int64s, Int64s]:
        """Where ours stand that are among `rows`: here, and there."""
        if not len(rows):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        there = np.minimum(np.searchsorted(rows, self.rows), len(rows) - 1)
        here = np.flatnonzero(rows[there] == self.rows)
        return here, there[here]
