"""Loss concealment in the manner of ITU-T G.711 Appendix I: what is missing goes on as what was there.

The last pitch period is repeated (two periods after 10 ms, three after 20 ms, which sounds less like a buzz), fading
by a fifth every 10 ms and silent after 60 ms; what comes next fades in over its continuation. Other than the
Appendix no sample is held back for a seamless start: the step at the start is levelled out instead.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.history import FRAME, AudioHistory
from gateway.media.ports import Float32s, Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]
Bools: TypeAlias = npt.NDArray[np.bool_]

CELL = 80
_SHORTEST, _LONGEST = 40, 120
"""Pitch periods in samples: 200 down to 66 Hz."""

_COMPARED = 160
_PAST = 3 * _LONGEST + _LONGEST // 4
_SILENT = 6
"""After so many cells of 10 ms nothing is left of the past."""

_RAMP = np.arange(CELL, dtype=np.float32)


class Concealer:
    def __init__(self, slots: int, history: AudioHistory) -> None:
        self._history = history
        self._lost = np.full(slots, _SILENT, np.int64)  # cells concealed in a row
        self._past = np.zeros((slots, _PAST), np.float32)
        self._pitch = np.full(slots, _LONGEST, np.int64)
        self._phase = np.zeros(slots, np.int64)  # place in the repeated stretch
        self._step = np.zeros(slots, np.float32)  # jump between the past and its continuation

    def reset(self, row: int) -> None:
        self._lost[row] = _SILENT

    def conceal(self, rows: Int64s, position: int, pcm: Int16s, have: Bools) -> None:
        """Fill in place what `have` (rows, 2) misses of `pcm` (rows, 160), the frame at `position` of the history."""
        troubled = ~have.all(axis=1) | ((self._lost[rows] > 0) & (self._lost[rows] < _SILENT))
        if not troubled.any():
            self._lost[rows] = 0
            return
        self._lost[rows[~troubled]] = 0
        for half in (0, 1):
            self._half(rows[troubled], position, pcm, np.flatnonzero(troubled), have[troubled, half], half)

    def _half(self, rows: Int64s, position: int, pcm: Int16s, at: Int64s, have: Bools, half: int) -> None:
        there = slice(half * CELL, half * CELL + CELL)
        lost = self._lost[rows]
        began = ~have & (lost == 0)
        if began.any():
            past = self._history.read(rows[began], position, _PAST)
            if half:
                past = np.concatenate([past[:, CELL:], pcm[at[began], :CELL]], axis=1)
            self._begin(rows[began], past.astype(np.float32))
        missing = ~have
        if missing.any():
            pcm[at[missing], there] = _to_pcm(self._go_on(rows[missing]))
        resumed = have & (lost > 0)
        ending = resumed & (lost < _SILENT)
        if ending.any():
            pcm[at[ending], there] = _to_pcm(self._fade_over(rows[ending], pcm[at[ending], there]))
        self._lost[rows] = np.where(have, 0, np.minimum(lost + 1, _SILENT))

    def _begin(self, rows: Int64s, past: Float32s) -> None:
        self._past[rows] = past
        self._pitch[rows] = pitch = _pitch(past)
        self._phase[rows] = 0
        self._step[rows] = past[:, -1] - past[np.arange(len(rows)), _PAST - 1 - pitch]

    def _go_on(self, rows: Int64s) -> Float32s:
        """The next 10 ms of the faded continuation; moves on."""
        lost = self._lost[rows]
        if (lost >= _SILENT).all():
            return np.zeros((len(rows), CELL), np.float32)
        synthetic = self._repeat(rows, np.minimum(lost, 2) + 1)
        changed = (lost == 1) | (lost == 2)
        if changed.any():
            # The stretch that repeats has grown: pass from the old one to the new one over a quarter period.
            old = self._repeat(rows[changed], lost[changed])
            over = np.clip(_RAMP / (self._pitch[rows[changed], None] / 4), 0, 1)
            synthetic[changed] = old * (1 - over) + synthetic[changed] * over
        levelled = np.clip(1 - _RAMP / (self._pitch[rows, None] / 4), 0, 1) * self._step[rows, None]
        synthetic += np.where(lost[:, None] == 0, levelled, 0)
        self._phase[rows] += CELL
        return synthetic * _gain(lost)

    def _repeat(self, rows: Int64s, periods: Int64s) -> Float32s:
        """The last `periods` pitch periods, round and round, from the phase each row is at."""
        pitch, phase = self._pitch[rows, None], self._phase[rows, None]
        length = pitch * periods[:, None]
        place = (phase + np.arange(CELL)) % length
        past = self._past[rows]
        plain = np.take_along_axis(past, _PAST - length + place, axis=1)
        # The end of the stretch turns into what precedes its start, so that going round is seamless.
        quarter = pitch // 4
        rising = np.clip((place - (length - quarter)) / quarter, 0, 1).astype(np.float32)
        before = np.take_along_axis(past, np.maximum(_PAST - 2 * length + place, 0), axis=1)
        seamless: Float32s = plain * (1 - rising) + before * rising
        return seamless

    def _fade_over(self, rows: Int64s, fresh: Int16s) -> Float32s:
        """The first good audio after a loss, faded in over 4 ms and longer after longer losses."""
        lost = self._lost[rows]
        synthetic = self._go_on(rows)
        width = np.minimum(self._pitch[rows] // 4 + 32 * lost, CELL)
        rising = np.clip(_RAMP / width[:, None], 0, 1).astype(np.float32)
        faded: Float32s = synthetic * (1 - rising) + fresh * rising
        return faded


def _pitch(past: Float32s) -> Int64s:
    """The lag between _SHORTEST and _LONGEST at which the last 20 ms are most like what came before them."""
    recent = past[:, -_COMPARED:]
    reach = past[:, -_COMPARED - _LONGEST : past.shape[1] - _SHORTEST]
    windows = np.lib.stride_tricks.sliding_window_view(reach, _COMPARED, axis=1)  # lag _LONGEST first
    likeness = np.einsum("rlk,rk->rl", windows, recent)
    energy = np.einsum("rlk,rlk->rl", windows, windows)
    score = likeness / np.sqrt(np.maximum(energy, 1.0))
    return np.asarray(_LONGEST - np.argmax(score, axis=1), np.int64)


def _gain(lost: Int64s) -> Float32s:
    """A line from 1 at 10 ms to 0 at 60 ms, for each sample of the cell after `lost` cells."""
    gain: Float32s = np.clip(1.0 - (lost[:, None] - 1 + _RAMP / CELL) / 5, 0.0, 1.0).astype(np.float32)
    return gain


def _to_pcm(samples: Float32s) -> Int16s:
    pcm: Int16s = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return pcm


assert FRAME == 2 * CELL
