"""Loss concealment in the manner of ITU-T G.711 Appendix I: what is missing goes on as what was there.

The stretch that ended most like the audio ends now, 5 to 15 ms ago (a pitch period of voiced speech), is repeated,
falling to silence over 80 ms; what comes next fades in over its continuation. Two things differ from the Appendix
because they sound better by PESQ at every rate of loss: 4 ms are compared to find the stretch, not 20, and it is
repeated alone instead of growing. No sample is held back: the step at the start is levelled out.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.history import FRAME, AudioHistory
from gateway.media.ports import Float32s, Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]
Bools: TypeAlias = npt.NDArray[np.bool_]

CELL = FRAME // 2
_SHORTEST, _LONGEST = 40, 120
"""Lengths of the repeated stretch in samples: pitches of 200 down to 66 Hz."""

_COMPARED = 32
_PAST = 2 * _LONGEST
_SILENT = 8
"""After so many cells of 10 ms nothing is left of the past."""

_RAMP = np.arange(CELL, dtype=np.float32)


class Concealer:
    def __init__(self, slots: int, history: AudioHistory) -> None:
        self._history = history
        self._lost = np.full(slots, _SILENT, np.int64)  # cells concealed in a row
        self._past = np.zeros((slots, _PAST), np.float32)
        self._lag = np.full(slots, _LONGEST, np.int64)
        self._phase = np.zeros(slots, np.int64)  # place in the repeated stretch
        self._step = np.zeros(slots, np.float32)  # jump between the past and its continuation

    def reset(self, row: int) -> None:
        self._lost[row] = _SILENT

    def conceal(self, rows: Int64s, position: int, pcm: Int16s, have: Bools) -> None:
        """Fill in place what `have` (rows, 2) misses of `pcm` (rows, 160), the frame at `position` of the history."""
        whole = have[:, 0] & have[:, 1]
        lost = self._lost[rows]
        troubled = (~whole | ((lost > 0) & (lost < _SILENT))).nonzero()[0]
        for half in (0, 1) if len(troubled) else ():
            self._half(rows[troubled], position, pcm, troubled, have[troubled, half], half)
        self._lost[rows[whole]] = 0

    def _half(self, rows: Int64s, position: int, pcm: Int16s, at: Int64s, have: Bools, half: int) -> None:
        """10 ms of those rows that lack something, or lacked something just before; they stand in `pcm` at `at`."""
        there = slice(half * CELL, half * CELL + CELL)
        lost = self._lost[rows]
        missing = ~have
        if (began := missing & (lost == 0)).any():
            past = self._history.read(rows[began], position, _PAST)
            if half:
                past = np.concatenate([past[:, CELL:], pcm[at[began], :CELL]], axis=1)
            self._begin(rows[began], past)
        if missing.any():
            pcm[at[missing], there] = _to_pcm(self._go_on(rows[missing]))
        if (ending := have & (lost > 0) & (lost < _SILENT)).any():
            pcm[at[ending], there] = _to_pcm(self._fade_over(rows[ending], pcm[at[ending], there]))
        self._lost[rows] = np.where(have, 0, np.minimum(lost + 1, _SILENT))

    def _begin(self, rows: Int64s, past: Int16s) -> None:
        self._past[rows] = past
        self._lag[rows] = lag = _most_alike(past)
        self._phase[rows] = 0
        self._step[rows] = past[:, -1].astype(np.float32) - past[np.arange(len(rows)), _PAST - 1 - lag]

    def _go_on(self, rows: Int64s) -> Float32s:
        """The next 10 ms of the falling continuation; moves on."""
        lost = self._lost[rows]
        if (lost >= _SILENT).all():
            return np.zeros((len(rows), CELL), np.float32)
        synthetic = self._repeat(rows)
        levelled = np.clip(1 - _RAMP / (self._lag[rows, None] / 4), 0, 1) * self._step[rows, None]
        synthetic += np.where(lost[:, None] == 0, levelled, 0)
        self._phase[rows] += CELL
        return synthetic * _gain(lost)

    def _repeat(self, rows: Int64s) -> Float32s:
        """The stretch, round and round, from the phase each row is at."""
        lag = self._lag[rows, None]
        place = (self._phase[rows, None] + np.arange(CELL)) % lag
        past = self._past[rows]
        plain = np.take_along_axis(past, _PAST - lag + place, axis=1)
        # Its end turns into what precedes its start, so that going round is seamless.
        quarter = lag // 4
        rising = np.clip((place - (lag - quarter)) / quarter, 0, 1).astype(np.float32)
        before = np.take_along_axis(past, np.maximum(_PAST - 2 * lag + place, 0), axis=1)
        seamless: Float32s = plain * (1 - rising) + before * rising
        return seamless

    def _fade_over(self, rows: Int64s, fresh: Int16s) -> Float32s:
        """The first good audio after a loss, faded in over 4 ms and longer after longer losses."""
        lost = self._lost[rows]
        synthetic = self._go_on(rows)
        width = np.minimum(self._lag[rows] // 4 + 32 * lost, CELL)
        rising = np.clip(_RAMP / width[:, None], 0, 1).astype(np.float32)
        faded: Float32s = synthetic * (1 - rising) + fresh * rising
        return faded


def _most_alike(past: Int16s) -> Int64s:
    """How many samples ago the audio was most like its last 4 ms, by normalised correlation.

    Of a steady tone every period is alike. So that all machines choose the same one, the sums are exact: of 32 products
    of 30 bits, in doubles.
    """
    heard = past.astype(np.float64)
    recent = heard[:, -_COMPARED:]
    reach = heard[:, -_COMPARED - _LONGEST : _PAST - _SHORTEST]
    windows = np.lib.stride_tricks.sliding_window_view(reach, _COMPARED, axis=1)  # the longest lag first
    likeness = np.einsum("rlk,rk->rl", windows, recent)
    energy = np.einsum("rlk,rlk->rl", windows, windows)
    score = likeness / np.sqrt(np.maximum(energy, 1.0))
    return np.asarray(_LONGEST - np.argmax(score, axis=1), np.int64)


def _gain(lost: Int64s) -> Float32s:
    """A line from 1 to 0 over `_SILENT` cells, for each sample of the cell after `lost` of them."""
    gain: Float32s = np.clip(1.0 - (lost[:, None] + _RAMP / CELL) / _SILENT, 0.0, 1.0).astype(np.float32)
    return gain


def _to_pcm(samples: Float32s) -> Int16s:
    pcm: Int16s = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return pcm
