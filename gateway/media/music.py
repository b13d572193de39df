"""Music on hold and sounds behind the voice: a clip that goes round, under what is said or while nothing is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.history import FRAME
from gateway.media.ports import Float32s, Int64s
from gateway.media.resample import TAPS, double_rate
from gateway.media.voice import WideFrames

Int16s: TypeAlias = npt.NDArray[np.int16]

SILENT_DB = -96.0
"""And below: not at all."""

_AHEAD = (TAPS - 1) // 2
_LINGERS = 15
"""Frames (0.3 s) after speech before the music comes back: it does not pump between words."""


def factor(db: float) -> float:
    return 0.0 if db <= SILENT_DB else float(10 ** (min(db, 40.0) / 20))


@dataclass(slots=True)
class _Music:
    pcm: Int16s
    wide: Int16s | None
    """The same at 16 kHz, where it was given."""

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

    def play(self, row: int, pcm: Int16s, gain_db: float, under_db: float, wide: Int16s | None = None) -> None:
        """Go round `pcm` at `gain_db`, and at `under_db` while something is said; in place of what played so far.

        `wide` is the same at 16 kHz; where it is wanted and not there, it is made of `pcm`.
        """
        before = self._playing.get(row)
        music = _Music(pcm, wide, factor(gain_db), factor(under_db))
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

    def mix(self, rows: Int64s, frames: Int16s, wide: WideFrames | None = None) -> None:
        """Into what each of `rows` says in this tick, (rows, 160), and into `wide` of those that are there, too."""
        for row in [*self._gains.keys(), *(self._playing.keys() - self._gains.keys())]:
            k = int(np.searchsorted(rows, row))
            if k < len(rows) and rows[k] == row:
                self._mix(row, frames[k], wide.of(row) if wide is not None else None)

    def _mix(self, row: int, frame: Int16s, wide: Int16s | None) -> None:
        spoken = frame.any()
        said = [one.astype(np.float32) for one in (frame, wide) if one is not None]
        if row in self._gains:
            now, wanted = self._gains[row]
            for one in said:
                one *= _ramp(now, wanted, len(one))
            if wanted == 1.0:
                del self._gains[row]
            else:
                self._gains[row] = wanted, wanted
        if (music := self._playing.get(row)) is not None:
            music.spoken = _LINGERS if spoken else max(0, music.spoken - 1)
            for one, played in zip(said, _next_frame(music, wide is not None), strict=True):
                one += played
            if music.ends:
                del self._playing[row]
        for one, into in zip(said, (frame, wide), strict=False):
            assert into is not None, "as many as there are"
            into[:] = np.clip(np.rint(one), -32768, 32767)


def _next_frame(music: _Music, wide: bool) -> list[Float32s]:
    """At 8 kHz, and where it is wanted at 16 kHz."""
    wanted = 0.0 if music.ends else music.under if music.spoken else music.alone
    found = [_round_and_round(music.pcm, music.position, FRAME)]
    if wide and music.wide is not None:
        found.append(_round_and_round(music.wide, 2 * music.position, 2 * FRAME))
    elif wide:
        # All of it is there, round and round: what is interpolated looks ahead, and comes no later.
        around = _round_and_round(music.pcm, music.position - _AHEAD, FRAME + 2 * _AHEAD)
        found.append(double_rate(around[None])[0])
    levelled = [one * _ramp(music.level, wanted, len(one)) for one in found]
    music.position = (music.position + FRAME) % len(music.pcm)
    music.level = wanted
    return levelled


def _round_and_round(pcm: Int16s, start: int, length: int) -> Int16s:
    found: Int16s = pcm[(start + np.arange(length)) % len(pcm)]
    return found


_STEPS = {length: (np.arange(length, dtype=np.float32) + 1) / length for length in (FRAME, 2 * FRAME)}


def _ramp(start: float, end: float, length: int) -> Float32s:
    return (start + (end - start) * _STEPS[length]).astype(np.float32)
