"""What is still to be said to each caller: clips in order, a pointer that moves 160 samples a tick, and what it passes.

The next two seconds of each row stand in a ring, so that a tick reads all rows at once; longer speech waits behind as
it came. Pausing holds the pointer; flushing moves the end to it. Python looks at a row only when its pointer reaches
a mark (a clip's first sample or its end). Rows that speak wideband have a second ring, at 16 kHz, to the same pointer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.history import FRAME
from gateway.media.ports import Int64s
from gateway.media.resample import TAPS, double_rate
from gateway.media.voice import RING, VoiceRing, WideFrames

Int16s: TypeAlias = npt.NDArray[np.int16]

_REFILL = RING // 2
_NEVER = np.iinfo(np.int64).max


@dataclass(slots=True)
class _Clip:
    number: int
    begin: int
    end: int | None = None
    started: bool = False


@dataclass(slots=True)
class _Waiting:
    pcm: Int16s
    wide: Int16s | None
    """The same at 16 kHz, where that came with it."""

    begins_clip: bool

    def split(self, at: int) -> tuple[_Waiting, _Waiting]:
        wide = (None, None) if self.wide is None else (self.wide[: 2 * at], self.wide[2 * at :])
        return _Waiting(self.pcm[:at], wide[0], self.begins_clip), _Waiting(self.pcm[at:], wide[1], False)


@dataclass(slots=True)
class _Queue:
    clips: deque[_Clip] = field(default_factory=deque)
    waiting: deque[_Waiting] = field(default_factory=deque)
    queued: int = 0
    """Position of the end of everything queued."""

    past: Int16s = field(default_factory=lambda: np.zeros(TAPS - 1, np.int16))
    """The last of the clip that was brought to 16 kHz here."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A clip's first sample went out (`played` None), or its last (`played` samples of it); `offset` in the frame."""

    row: int
    clip: int
    offset: int
    played: int | None = None
    complete: bool = False


class Playouts:
    def __init__(self, slots: int) -> None:
        self._voice, self._wide = VoiceRing(slots, 1), VoiceRing(slots, 2)
        self._wide_rows: set[int] = set()
        self._read = np.zeros(slots, np.int64)
        self._write = np.zeros(slots, np.int64)
        self._mark = np.full(slots, _NEVER, np.int64)
        self._held = np.zeros(slots, np.bool_)
        self._more = np.zeros(slots, np.bool_)  # audio waits behind the ring
        self._queues: list[_Queue] = [_Queue() for _ in range(slots)]

    def reset(self, row: int) -> None:
        self._read[row] = self._write[row] = 0
        self._mark[row] = _NEVER
        self._held[row] = self._more[row] = False
        self._queues[row] = _Queue()
        self._wide_rows.discard(row)
        for voice in (self._voice, self._wide):
            voice.reset(row)

    def speak_wide(self, row: int, on: bool) -> None:
        """From here on `take` gives this row's 16 kHz as well, or does no more. What is queued comes along."""
        if on == (row in self._wide_rows):
            return
        if not on:
            self._wide_rows.discard(row)
            self._wide.reset(row)
            return
        self._wide_rows.add(row)
        read, write = int(self._read[row]), int(self._write[row])
        self._wide.append(row, read, _doubled(self._queues[row], self._voice.stretch(row, read, write)))

    def _voices(self, row: int) -> tuple[VoiceRing, ...]:
        return (self._voice, self._wide) if row in self._wide_rows else (self._voice,)

    def queue(self, row: int, number: int, pcm: Int16s, last: bool, wide: Int16s | None = None) -> None:
        """Append to clip `number`; a number other than the newest clip's opens a new one, and closes that.

        `wide` is the same at 16 kHz. Where it is wanted and not there, it is made of `pcm`, 2.75 ms later than that.
        """
        queue = self._queues[row]
        clip = queue.clips[-1] if queue.clips else None
        if clip is None or clip.number != number or clip.end is not None:
            if clip is not None and clip.end is None:
                clip.end = queue.queued
            clip = _Clip(number, queue.queued)
            queue.clips.append(clip)
        if len(pcm):
            queue.waiting.append(_Waiting(pcm, wide, begins_clip=clip.begin == queue.queued))
            queue.queued += len(pcm)
            self._fill(row)
        if last:
            clip.end = queue.queued
        self._set_mark(row)

    def _fill(self, row: int) -> None:
        """Move what waits into the ring, as far as there is room. Only that is brought to 16 kHz: all of a long clip at
        once would make every row wait."""
        queue, speaks_wide = self._queues[row], row in self._wide_rows
        room = RING - int(self._write[row] - self._read[row])
        while queue.waiting and room:
            piece = queue.waiting.popleft()
            if len(piece.pcm) > room:
                piece, rest = piece.split(room)
                queue.waiting.appendleft(rest)
            write = int(self._write[row])
            self._voice.append(row, write, piece.pcm)
            if speaks_wide:
                if piece.begins_clip:
                    queue.past[:] = 0
                self._wide.append(row, write, _doubled(queue, piece.pcm) if piece.wide is None else piece.wide)
            self._write[row] += len(piece.pcm)
            room -= len(piece.pcm)
        self._more[row] = bool(queue.waiting)

    def pause(self, row: int) -> None:
        if not self._held[row]:
            self._fall_silent(row)
            self._held[row] = True

    def resume(self, row: int) -> None:
        """Go on from the sample that was next when the hold came; it fades in, as it faded out."""
        if self._held[row]:
            self._held[row] = False
            for voice in self._voices(row):
                if not voice.keeps_speaking(row) and self._write[row] > self._read[row]:
                    voice.fade_in(row)

    def flush(self, row: int) -> list[Passed]:
        """Drop everything and end a hold. Gives the end of every clip, with the samples that were really sent."""
        if not self._held[row]:
            self._fall_silent(row)
        read, queue = int(self._read[row]), self._queues[row]
        passed = [Passed(row, clip.number, 0, max(0, read - clip.begin)) for clip in queue.clips]
        self._queues[row] = _Queue(queued=read)
        self._write[row] = read
        self._mark[row] = _NEVER
        self._held[row] = self._more[row] = False
        for voice in self._voices(row):
            voice.stop_fading_in(row)
        return passed

    def _fall_silent(self, row: int) -> None:
        """What is sent of this does not count as played."""
        read = int(self._read[row])
        left = int(self._write[row]) - read
        if left and read:
            for voice in self._voices(row):
                voice.fall_silent(row, read, left)

    def take(self, rows: Int64s, frames: Int16s, wide: WideFrames | None = None) -> list[Passed]:
        """Write the next 20 ms of `rows` into `frames` (rows, 160), which holds silence, and move on. Those of them
        that are in `wide` are written there, too."""
        read, write = self._read[rows], self._write[rows]
        available = np.minimum(write - read, FRAME) * ~self._held[rows]
        self._voice.take(rows, read, available, frames)
        if wide is not None:
            here, there = wide.among(rows)
            spoken = wide.pcm[here]
            self._wide.take(wide.rows[here], read[there], available[there], spoken)
            wide.pcm[here] = spoken
        reached = read + available
        self._read[rows] = reached
        due = reached >= self._mark[rows]
        low = self._more[rows] & (write - reached < _REFILL)
        for row in rows[low]:
            self._fill(int(row))
        return [passed for k in due.nonzero()[0] for passed in self._pass_marks(int(rows[k]), int(read[k]))]

    def _pass_marks(self, row: int, before: int) -> list[Passed]:
        """Which clips began and ended between `before` and where the pointer is now."""
        reached, clips, passed = int(self._read[row]), self._queues[row].clips, []
        while clips:
            clip = clips[0]
            if not clip.started and reached > clip.begin:
                clip.started = True
                passed.append(Passed(row, clip.number, clip.begin - before))
            if clip.end is None or reached < clip.end:
                break
            clips.popleft()
            passed.append(Passed(row, clip.number, clip.end - before, clip.end - clip.begin, complete=True))
        self._set_mark(row)
        return passed

    def _set_mark(self, row: int) -> None:
        clips = self._queues[row].clips
        if not clips:
            self._mark[row] = _NEVER
        elif not clips[0].started and clips[0].end != clips[0].begin:
            self._mark[row] = clips[0].begin + 1
        else:
            self._mark[row] = _NEVER if clips[0].end is None else clips[0].end


def _doubled(queue: _Queue, pcm: Int16s) -> Int16s:
    """At 16 kHz, a piece of the clip behind the other."""
    if not len(pcm):
        return pcm
    heard = np.concatenate([queue.past, pcm])
    queue.past = heard[len(pcm) :]
    doubled: Int16s = double_rate(heard[None])[0]
    return doubled
