"""What was queued on a leg and is not over, and about where its playout is: enough to go on with it elsewhere.

The plane tells when a clip begins and when it is over; what lies between is reckoned by the clock. (Keys that we send
make the playout wait; that is not reckoned with, and repeats less than it might.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np

from gateway.media.commands import ClipFinished, ClipStarted, QueueAudio
from gateway.media.history import FRAME

_LOOK_BACK = 30 * FRAME
"""Samples (0.6 s) before the break in which a pause between two words is looked for."""


@dataclass(slots=True)
class _Clip:
    """Counted in samples. `begins_at` is where in the clip the audio begins that the present plane was given."""

    number: int
    pieces: list[bytes] = field(default_factory=list)
    wide: list[bytes] = field(default_factory=list)
    """The same at 16 kHz, where the leg was given it."""
    queued: int = 0
    last: bool = False
    told: bool = False
    """Its beginning was."""
    dropped: bool = False
    played: float = 0.0
    begins_at: int = 0
    known: int = 0
    """As much had left when it broke off."""

    def rest(self) -> bytes:
        return b"".join(self.pieces)[2 * self.begins_at :]

    def wide_rest(self) -> bytes:
        """At 16 kHz; none where a piece came without."""
        wide = b"".join(self.wide)
        return wide[4 * self.begins_at :] if len(wide) == 4 * self.queued else b""

    def go_back(self, to_s: float | None) -> None:
        """To the latest pause, so that no word is taken up in its middle; or to where it is said."""
        self.known = max(self.known, round(self.played))
        self.begins_at = self._latest_pause() if to_s is None else min(round(8000 * to_s), self.queued)
        self.played = float(self.begins_at)

    def _latest_pause(self) -> int:
        """Behind the quietest frame of the last ones; the very break where there was none yet."""
        end = self.known // FRAME * FRAME
        begin = max(self.begins_at, end - _LOOK_BACK)
        heard = np.frombuffer(b"".join(self.pieces), "<i2")[begin:end].astype(np.float64)
        energies = np.square(heard[: len(heard) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1)
        return end - int(np.argmin(energies[::-1])) * FRAME if len(energies) else self.known


class Unplayed:
    """Times are those of `now` and of the reports."""

    def __init__(self, leg: str) -> None:
        self._leg = leg
        self._clips: list[_Clip] = []
        self._playing: _Clip | None = None
        self._reckoned_to = 0.0
        self._paused = False
        self._sends = True

    def queue(self, command: QueueAudio, now: float) -> None:
        self._reckon(now)
        clip = self._clips[-1] if self._clips else None
        if clip is None or clip.number != command.clip or clip.last:
            clip = _Clip(command.clip)
            self._clips.append(clip)
        whole = len(command.pcm) // 2 * 2
        clip.pieces.append(command.pcm[:whole])
        if command.wide:
            clip.wide.append(command.wide)
        clip.queued += whole // 2
        clip.last = command.last

    def pause(self, now: float) -> None:
        self._reckon(now)
        self._paused = True

    def resume(self, now: float) -> None:
        self._reckon(now)
        self._paused = False

    def send(self, sends: bool, now: float) -> None:
        """Whether the leg sends at all: the playout waits while it does not."""
        self._reckon(now)
        self._sends = sends

    def drop(self, now: float) -> None:
        """Nothing of it is wanted any more; how much of it was played, the plane says."""
        self.resume(now)
        for clip in self._clips:
            clip.dropped = True

    def started(self, report: ClipStarted) -> ClipStarted | None:
        """The report, unless the clip had begun before it broke off."""
        self._reckon(report.at)
        clip = self._find(report.clip)
        if clip is None:
            return report
        self._playing = clip
        told, clip.told = clip.told, True
        return None if told else report

    def finished(self, report: ClipFinished) -> ClipFinished:
        """The report, for all of the clip."""
        clip = self._find(report.clip)
        if clip is None:
            return report
        self._reckon(report.at)
        self._clips.remove(clip)
        if clip is self._playing:
            self._playing = None
        if not (clip.begins_at or clip.known):
            return report
        played = max(clip.known, clip.begins_at + round(report.played_s * 8000))
        return msgspec.structs.replace(report, played_s=played / 8000)

    # A break

    def break_off(self, at: float, goes_on_at_s: float | None = None) -> float | None:
        """Nothing leaves from now on. At which second the clip that was being played will go on, in its last pause
        unless it is said where; None when none was."""
        self._reckon(at)
        broken, self._playing = self._playing, None
        if broken is None or broken.dropped:
            return None
        broken.go_back(goes_on_at_s)
        return broken.begins_at / 8000

    def give_up(self, now: float, *, dropped_only: bool = False) -> list[ClipFinished]:
        """What nobody will play any more is over, with as much of it as had left."""
        over = [clip for clip in self._clips if clip.dropped or not dropped_only]
        self._clips = [clip for clip in self._clips if clip not in over]
        return [
            ClipFinished(now, self._leg, clip.number, max(clip.known, round(clip.played)) / 8000, False)
            for clip in over
        ]

    def again(self) -> Iterator[QueueAudio]:
        """What is still to be played."""
        for clip in self._clips:
            yield QueueAudio(self._leg, clip.number, clip.rest(), clip.last, clip.wide_rest())

    @property
    def paused(self) -> bool:
        return self._paused

    def _find(self, number: int) -> _Clip | None:
        return next((clip for clip in self._clips if clip.number == number), None)

    def _reckon(self, now: float) -> None:
        """How far the clip that is being played has come by `now`; never farther than there was audio."""
        passed, self._reckoned_to = max(0.0, now - self._reckoned_to), max(now, self._reckoned_to)
        playing = self._playing
        if playing is not None and self._sends and not self._paused:
            playing.played = min(playing.played + 8000 * passed, float(playing.queued))
