"""The caller's speech, cut into pieces for a recogniser: preroll, then 100 ms at a time, to the end of the stretch."""

from __future__ import annotations

from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.media import g711
from gateway.media.commands import AudioFormat
from gateway.media.gain import GainControl
from gateway.media.history import DEPTH, FRAME, AudioHistory
from gateway.media.options import PlaneOptions
from gateway.media.ports import Int64s
from gateway.media.resample import TAPS
from gateway.media.wide_receive import WideReceiver

_OLDEST = DEPTH - FRAME - TAPS
"""How far back a piece may begin, so that its filter's past is still there."""

_ONSET = 6 * FRAME
"""As much of a stretch's beginning as its gain is chosen by, at most."""

_NEVER = np.iinfo(np.int64).max


class Piece(NamedTuple):
    row: int
    position: int
    audio: bytes
    speech: bool
    last: bool


class SpeechCutter:
    """Cuts stretches of speech out of the history, in each row's format. No sample goes out twice."""

    def __init__(self, slots: int, history: AudioHistory, options: PlaneOptions, wide: WideReceiver) -> None:
        self._history, self._wide = history, wide
        self._gain = GainControl(slots) if options.gain_control else None
        self._piece = 8 * options.piece_ms
        self._preroll = 8 * options.preroll_ms
        self._formats: list[AudioFormat | None] = [None] * slots
        self._speech_began = np.zeros(slots, np.int64)
        self._first = np.zeros(slots, np.int64)  # nothing before this was kept for us, or was not sent already
        self._next = np.full(slots, _NEVER, np.int64)  # first sample of the next piece; _NEVER between stretches

    def reset(self, row: int, position: int) -> None:
        if self._gain is not None:
            self._gain.reset(row)
        self._formats[row] = None
        self._first[row] = position
        self._next[row] = _NEVER

    def listen(self, row: int, audio_format: AudioFormat | None) -> None:
        self._formats[row] = audio_format
        if audio_format is None:
            self._stop(row)

    def begin(self, row: int, began: int, now: int) -> None:
        """Speech began at `began` (or began there before anybody listened); audio is there up to `now`."""
        if self._formats[row] is None or self._next[row] != _NEVER:
            return
        self._speech_began[row] = began
        self._next[row] = max(began - self._preroll, int(self._first[row]), now - _OLDEST)
        if self._gain is not None:
            there = max(0, min(now - began, _ONSET))
            self._gain.begin(row, self._history.read(np.array([row]), now, there)[0])

    def cut(self, rows: Int64s, now: int) -> list[Piece]:
        """Every whole piece there is up to `now`."""
        pieces: list[Piece] = []
        while len(ready := rows[now - self._next[rows] >= self._piece]):
            pieces += self._pieces(ready, self._piece)
        return pieces

    def finish(self, row: int, ended: int, now: int) -> list[Piece]:
        """The stretch is over (its speech ended at `ended`): what is left up to `now`, perhaps no sample at all."""
        start = int(self._next[row])
        if start == _NEVER:
            return []
        rows, length = np.array([row]), now - start
        audio = self._audio(rows, np.array([start]), length)[0] if length else b""
        self._next[row] = now
        self._stop(row)
        return [Piece(row, start, audio, speech=start < ended, last=True)]

    def _stop(self, row: int) -> None:
        if self._next[row] != _NEVER:
            self._first[row], self._next[row] = self._next[row], _NEVER

    def _pieces(self, rows: Int64s, length: int) -> list[Piece]:
        starts = self._next[rows]
        self._next[rows] = starts + length
        speech = (starts + length > self._speech_began[rows]).tolist()
        audio = self._audio(rows, starts, length)
        return list(map(Piece, rows.tolist(), starts.tolist(), audio, speech, repeat(False)))

    def _audio(self, rows: Int64s, starts: Int64s, length: int) -> list[bytes]:
        """The stretches from `starts` on, each in its row's format."""
        formats = [self._formats[row] for row in rows.tolist()]
        if formats.count(formats[0]) == len(formats):
            return _in_pieces(self._encode(rows, starts + length, length, formats[0]))
        found = [b""] * len(rows)
        for audio_format in set(formats):
            chosen = np.array([k for k, f in enumerate(formats) if f == audio_format])
            encoded = self._encode(rows[chosen], starts[chosen] + length, length, audio_format)
            for k, audio in zip(chosen.tolist(), _in_pieces(encoded), strict=True):
                found[k] = audio
        return found

    def _encode(
        self, rows: Int64s, ends: Int64s, length: int, audio_format: AudioFormat | None
    ) -> npt.NDArray[np.int16] | npt.NDArray[np.uint8]:
        if audio_format == "pcm_16k":
            pcm = self._wide.read(rows, ends, length)
        else:
            pcm = self._history.read(rows, ends, length)
        if self._gain is not None:
            pcm = self._gain.apply(rows, pcm, ends > self._speech_began[rows])
        return g711.encode(pcm) if audio_format == "ulaw_8k" else pcm


def _in_pieces(encoded: npt.NDArray[np.int16] | npt.NDArray[np.uint8]) -> list[bytes]:
    """Each row's octets."""
    octets, size = encoded.tobytes(), encoded.shape[1] * encoded.itemsize
    return [octets[start : start + size] for start in range(0, len(octets), size)]
