"""Keys by their sound, for peers that send no events: the dual tones of ITU-T Q.23, by the limits of Q.24.

Every 5 ms, the last 20 ms of each row are taken apart at the eight frequencies, all rows at once. A window holds a key
when one low and one high tone are nearly all there is in it, loud enough, not too unlike in level, and truly of those
frequencies, which the advance of their phases from the last window shows to a few hertz. Speech has such windows now
and then; four in a row it hardly has. From 40 ms on a tone has at least five of them, below 23 ms at most three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media import tones
from gateway.media.history import FRAME
from gateway.media.ports import Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]
Bools: TypeAlias = npt.NDArray[np.bool_]
Float32s: TypeAlias = npt.NDArray[np.float32]

_WINDOW, _HOP = 160, 40
_STEPS = FRAME // _HOP
_STEP_MS = 5
_BEGINS, _ENDS = 4, 7
"""Windows in a row that make a press, and without its key that end it: 10 ms of interruption do not, 40 ms do."""

_EDGES_MS = 12
"""A press lasts longer than its windows are apart, by the part of them that it need not fill."""

_QUIETEST_DBM0 = -34.0
"""Of each tone; Q.24 has -25 dBm and louder recognised."""

_MOST_ABOVE_DB, _MOST_BELOW_DB = 6.0, 10.0
"""By how much the high tone may be louder or fainter than the low one: Q.24's 4 and 8 dB, with room for both."""

_PURE = 0.84
"""Share of a window's energy in the two tones: a signal-to-noise ratio of 8 dB."""

_OFF = 0.025
"""Deviation from the nominal frequencies: 1.5 % must be recognised, 3.5 % must not be."""

_FREQUENCIES = np.array([697, 770, 852, 941, 1209, 1336, 1477, 1633], np.float64)
_KEYS = "123A456B789C*0#D"

_WEIGHTS = np.hanning(_WINDOW + 2)[1:-1]
_TURNS = np.exp(-2j * np.pi * np.arange(_WINDOW)[:, None] * _FREQUENCIES / tones.RATE)
_PROBES = (_WEIGHTS[:, None] * np.concatenate([_TURNS.real, _TURNS.imag], axis=1)).astype(np.float32)
_SUM, _SQUARES = float(_WEIGHTS.sum()), float((_WEIGHTS**2).sum())
_TURNS_OFF = np.exp(
    -2j * np.pi * np.minimum(np.arange(tones.RATE // (2 * _HOP) + 1), 60)[:, None] * np.arange(_WINDOW) / tones.RATE
)
_RESPONSE = (np.abs(_TURNS_OFF @ _WEIGHTS / _SUM) ** 2).astype(np.float32)
"""What a filter leaves of the power of a tone so many hertz beside its middle; 60 stand for all beyond."""

_QUIETEST = tones.amplitude(_QUIETEST_DBM0, 0) ** 2
_ADVANCE = 2 * np.pi * _HOP * _FREQUENCIES / tones.RATE
_MOST_ADVANCE = (_OFF * _ADVANCE).astype(np.float32)
_NONE = -1


@dataclass(slots=True)
class Pressed:
    row: int
    digit: str
    duration_ms: int


@dataclass(slots=True)
class _Line:
    """What one row's windows amount to."""

    candidate: int = _NONE
    hits: int = 0
    misses: int = 0
    pressed: int = _NONE
    steps: int = 0
    """Since the press began."""


class ToneListener:
    """Rows listen from `listen` to `ignore`."""

    def __init__(self, slots: int) -> None:
        self._past = np.zeros((slots, _WINDOW - _HOP), np.int16)
        self._phases = np.zeros((slots, 8), np.complex64)  # of each row's latest window
        self._lines: dict[int, _Line] = {}
        self.rows: Int64s = np.zeros(0, np.int64)

    def listen(self, row: int) -> None:
        if row not in self._lines:
            self._lines[row] = _Line()
            self._past[row], self._phases[row] = 0, 0
            self.rows = np.array(sorted(self._lines), np.int64)

    def ignore(self, row: int) -> None:
        if self._lines.pop(row, None) is not None:
            self.rows = np.array(sorted(self._lines), np.int64)

    def hear(self, frames: Int16s) -> list[Pressed]:
        """The next 20 ms of all listening `rows`, (rows, 160). A press is told when it has ended."""
        rows = self.rows
        heard = np.concatenate([self._past[rows], frames], axis=1)
        self._past[rows] = heard[:, FRAME:]
        keys = self._keys(rows, heard)
        pressed: list[Pressed] = []
        for k in np.flatnonzero((keys != _NONE).any(axis=1) | self._busy(rows)):
            line = self._lines[int(rows[k])]
            over = [_step(line, key) for key in keys[k].tolist()]
            pressed += [Pressed(int(rows[k]), *one) for one in over if one is not None]
        return pressed

    def _busy(self, rows: Int64s) -> Bools:
        return np.array([self._lines[row].hits > 0 or self._lines[row].pressed != _NONE for row in rows.tolist()])

    def _keys(self, rows: Int64s, heard: Int16s) -> Int64s:
        """(rows, 4): the key in each window, or none."""
        windows = np.lib.stride_tricks.sliding_window_view(heard.astype(np.float32), _WINDOW, axis=1)[:, ::_HOP]
        probed = windows @ _PROBES
        found = (probed[..., :8] + 1j * probed[..., 8:]).astype(np.complex64)
        before = np.concatenate([self._phases[rows][:, None], found[:, :-1]], axis=1)
        self._phases[rows] = found[:, -1]
        squares = 4 / _SUM**2 * (found.real**2 + found.imag**2)  # of the amplitudes
        low, high = squares[..., :4].argmax(axis=-1), squares[..., 4:].argmax(axis=-1) + 4
        loud = np.minimum(_pick(squares, low), _pick(squares, high)) >= _QUIETEST / 2
        if not loud.any():
            return np.full(loud.shape, _NONE)
        off = np.angle(found * np.conj(before) * np.exp(-1j * _ADVANCE))
        good = loud
        for tone in (low, high):
            good &= np.abs(_pick(off, tone)) <= _MOST_ADVANCE[tone]
        # A tone beside the middle of its filter is louder than it came out.
        squares /= _RESPONSE[np.abs(np.rint(off * (tones.RATE / (2 * np.pi * _HOP)))).astype(np.int64)]
        lows, highs = _pick(squares, low), _pick(squares, high)
        energy = ((windows * _WEIGHTS.astype(np.float32)) ** 2).sum(axis=-1)
        good &= np.minimum(lows, highs) >= _QUIETEST
        good &= (lows + highs) * (_SQUARES / 2) >= _PURE * energy
        good &= (highs <= lows * 10 ** (_MOST_ABOVE_DB / 10)) & (lows <= highs * 10 ** (_MOST_BELOW_DB / 10))
        keys: Int64s = np.where(good, 4 * low + high - 4, _NONE)
        return keys


def _pick(values: Float32s, places: Int64s) -> Float32s:
    picked: Float32s = np.take_along_axis(values, places[..., None], axis=-1)[..., 0]
    return picked


def _step(line: _Line, key: int) -> tuple[str, int] | None:
    """5 ms on. The press that is over with it, and how long it was."""
    line.hits = line.hits + 1 if key != _NONE and key == line.candidate else int(key != _NONE)
    line.candidate = key
    over = None
    if line.pressed != _NONE:
        line.steps += 1
        line.misses = 0 if key == line.pressed else line.misses + 1
        if line.misses >= _ENDS or (line.hits >= _BEGINS and key != line.pressed):
            over = _KEYS[line.pressed], (line.steps - line.misses) * _STEP_MS + _EDGES_MS
            line.pressed = _NONE
    if line.pressed == _NONE and line.hits >= _BEGINS:
        line.pressed, line.steps, line.misses = key, _BEGINS, 0
    return over
