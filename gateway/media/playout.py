"""What is still to be said to each caller: clips in order, a pointer that moves 160 samples a tick, and what it passes.

The next two seconds of each row stand in a ring, so that a tick reads all rows at once; longer speech waits behind as
it came. Pausing holds the pointer; flushing moves the end to it. Python looks at a row only when its pointer reaches
a mark (a clip's first sample or its end).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.history import FRAME
from gateway.media.ports import Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]

_RING = 1 << 14
_WIDTH = _RING + FRAME  # the first frame again behind the end: every read is contiguous
_REFILL = _RING // 2
_FADE = 40
"""Samples (5 ms) over which playout falls silent when held or dropped, and comes back."""

_NEVER = np.iinfo(np.int64).max
_FALLING = 1 - (np.arange(_FADE, dtype=np.float32) + 1) / _FADE


@dataclass(slots=True)
class _Clip:
    number: int
    begin: int
    end: int | None = None
    started: bool = False


@dataclass(slots=True)
class _Queue:
    clips: deque[_Clip] = field(default_factory=deque)
    waiting: deque[Int16s] = field(default_factory=deque)
    queued: int = 0
    """Position of the end of everything queued."""


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
        self._ring = np.zeros((slots, _WIDTH), np.int16)
        flat = self._ring.reshape(-1)
        shape = flat.size - FRAME + 1, FRAME
        self._frames = np.lib.stride_tricks.as_strided(flat, shape, (2, 2), writeable=False)  # one from every sample on
        self._read = np.zeros(slots, np.int64)
        self._write = np.zeros(slots, np.int64)
        self._mark = np.full(slots, _NEVER, np.int64)
        self._held = np.zeros(slots, np.bool_)
        self._more = np.zeros(slots, np.bool_)  # audio waits behind the ring
        self._queues: list[_Queue] = [_Queue() for _ in range(slots)]
        self._tails: dict[int, Int16s] = {}  # rows that fall silent with the next frame, and how
        self._fading_in: set[int] = set()

    def reset(self, row: int) -> None:
        self._read[row] = self._write[row] = 0
        self._mark[row] = _NEVER
        self._held[row] = self._more[row] = False
        self._queues[row] = _Queue()
        self._tails.pop(row, None)
        self._fading_in.discard(row)

    def queue(self, row: int, number: int, pcm: Int16s, last: bool) -> None:
        """Append to clip `number`; a number other than the newest clip's opens a new one, and closes that."""
        queue = self._queues[row]
        clip = queue.clips[-1] if queue.clips else None
        if clip is None or clip.number != number or clip.end is not None:
            if clip is not None and clip.end is None:
                clip.end = queue.queued
            clip = _Clip(number, queue.queued)
            queue.clips.append(clip)
        if len(pcm):
            queue.waiting.append(pcm)
            queue.queued += len(pcm)
            self._fill(row)
        if last:
            clip.end = queue.queued
        self._set_mark(row)

    def _fill(self, row: int) -> None:
        """Move what waits into the ring, as far as there is room."""
        queue = self._queues[row]
        room = _RING - int(self._write[row] - self._read[row])
        while queue.waiting and room:
            pcm = queue.waiting.popleft()
            if len(pcm) > room:
                queue.waiting.appendleft(pcm[room:])
                pcm = pcm[:room]
            self._append(row, pcm)
            room -= len(pcm)
        self._more[row] = bool(queue.waiting)

    def _append(self, row: int, pcm: Int16s) -> None:
        start = int(self._write[row]) % _RING
        first = min(len(pcm), _RING - start)
        ring = self._ring[row]
        ring[start : start + first] = pcm[:first]
        ring[: len(pcm) - first] = pcm[first:]
        ring[_RING:] = ring[:FRAME]
        self._write[row] += len(pcm)

    def pause(self, row: int) -> None:
        if not self._held[row]:
            self._fall_silent(row)
            self._held[row] = True

    def resume(self, row: int) -> None:
        """Go on from the sample that was next when the hold came; it fades in, as it faded out."""
        if self._held[row]:
            self._held[row] = False
            if self._tails.pop(row, None) is None and self._write[row] > self._read[row]:
                self._fading_in.add(row)

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
        self._fading_in.discard(row)
        return passed

    def _fall_silent(self, row: int) -> None:
        """Keep the next few milliseconds, faded, to be sent instead of a click. They do not count as played."""
        read = int(self._read[row])
        left = min(_FADE, int(self._write[row]) - read)
        if left and read:
            next_up = self._ring[row, read % _RING : read % _RING + left]
            self._tails[row] = np.rint(next_up * _FALLING[:left]).astype(np.int16)

    def take(self, rows: Int64s, frames: Int16s) -> list[Passed]:
        """Write the next 20 ms of `rows` into `frames` (rows, 160), which holds silence, and move on."""
        read = self._read[rows]
        available = np.where(self._held[rows], 0, np.minimum(self._write[rows] - read, FRAME))
        playing = np.flatnonzero(available)
        if len(playing):
            self._copy(rows[playing], read[playing], available[playing], playing, frames)
        if self._tails:
            self._play_tails(rows, frames)
        reached = read + available
        self._read[rows] = reached
        due = reached >= self._mark[rows]
        low = self._more[rows] & (self._write[rows] - reached < _REFILL)
        for row in rows[low]:
            self._fill(int(row))
        return [passed for k in np.flatnonzero(due) for passed in self._pass_marks(int(rows[k]), int(read[k]))]

    def _copy(self, rows: Int64s, read: Int64s, available: Int64s, at: Int64s, frames: Int16s) -> None:
        frames[at] = self._frames[rows * _WIDTH + read % _RING]
        for k in np.flatnonzero(available < FRAME):
            frames[at[k], available[k] :] = 0
        if self._fading_in:
            for k in np.flatnonzero(np.isin(rows, list(self._fading_in))):
                frames[at[k], :_FADE] = np.rint(frames[at[k], :_FADE] * _FALLING[::-1])
                self._fading_in.discard(int(rows[k]))

    def _play_tails(self, rows: Int64s, frames: Int16s) -> None:
        for k in np.flatnonzero(np.isin(rows, list(self._tails))):
            tail = self._tails.pop(int(rows[k]))
            mixed = frames[k, : len(tail)].astype(np.int32) + tail
            frames[k, : len(tail)] = np.clip(mixed, -32768, 32767)

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
