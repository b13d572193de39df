"""Music on hold and sounds behind the voice: a clip that goes round, under what is said or while nothing is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.history import FRAME
from gateway.media.ports import Float32s, Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]

SILENT_DB = -96.0
"""And below: not at all."""

_LINGERS = 15
"""Frames (0.3 s) after speech before the music comes back: it does not pump between words."""


def factor(db: float) -> float:
    return 0.0 if db <= SILENT_DB else float(10 ** (min(db, 40.0) / 20))


@dataclass(slots=True)
class _Music:
    pcm: Float32s
    alone: float
    under: float
    position: int = 0
    level: float = 0.0
    spoken: int = 0
    """Frames for which it still holds that somebody speaks."""

    ends: bool = False


class Music:
    """By row. Levels change over a frame, so that nothing clicks."""

    def __init__(self) -> None:
        self._playing: dict[int, _Music] = {}
        self._gains: dict[int, tuple[float, float]] = {}  # of the voice: now, and to be

    def reset(self, row: int) -> None:
        self._playing.pop(row, None)
        self._gains.pop(row, None)

    def play(self, row: int, pcm: Int16s, gain_db: float, under_db: float) -> None:
        """Go round `pcm` at `gain_db`, and at `under_db` while something is said; in place of what played so far."""
        before = self._playing.get(row)
        music = _Music(pcm.astype(np.float32), factor(gain_db), factor(under_db))
        if before is not None:
            music.spoken = before.spoken
        self._playing[row] = music

    def stop(self, row: int) -> None:
        """Fade out with the next frame."""
        if row in self._playing:
            self._playing[row].ends = True

    def set_gain(self, row: int, db: float) -> None:
        """Of everything said from the next frame on."""
        now, _ = self._gains.get(row, (1.0, 1.0))
        self._gains[row] = now, factor(db)

    @property
    def idle(self) -> bool:
        return not (self._playing or self._gains)

    def mix(self, rows: Int64s, frames: Int16s) -> None:
        """Into what each of `rows` says in this tick, (rows, 160)."""
        for row in [*self._gains.keys(), *(self._playing.keys() - self._gains.keys())]:
            k = int(np.searchsorted(rows, row))
            if k < len(rows) and rows[k] == row:
                self._mix(row, frames[k])

    def _mix(self, row: int, frame: Int16s) -> None:
        said = frame.astype(np.float32)
        if row in self._gains:
            now, wanted = self._gains[row]
            said *= _ramp(now, wanted)
            if wanted == 1.0:
                del self._gains[row]
            else:
                self._gains[row] = wanted, wanted
        if (music := self._playing.get(row)) is not None:
            music.spoken = _LINGERS if frame.any() else max(0, music.spoken - 1)
            said += _next_frame(music)
            if music.ends:
                del self._playing[row]
        frame[:] = np.clip(np.rint(said), -32768, 32767)


def _next_frame(music: _Music) -> Float32s:
    wanted = 0.0 if music.ends else music.under if music.spoken else music.alone
    places = (music.position + np.arange(FRAME)) % len(music.pcm)
    music.position = (music.position + FRAME) % len(music.pcm)
    found: Float32s = np.multiply(music.pcm[places], _ramp(music.level, wanted), dtype=np.float32)
    music.level = wanted
    return found


_STEPS = (np.arange(FRAME, dtype=np.float32) + 1) / FRAME


def _ramp(start: float, end: float) -> Float32s:
    return (start + (end - start) * _STEPS).astype(np.float32)
