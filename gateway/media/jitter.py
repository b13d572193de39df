"""The jitter buffer: packets come when they come, audio leaves every 20 ms.

Each row is a ring of 64 cells of 10 ms (any packet of 10 to 60 ms is a whole number of them), found by the RTP
timestamp and tagged with their unwrapped cell number: reordering, duplicates, wraps and silence suppression need no
code of their own. The delay adapts: a buffer that runs dry holds its place (the next packet is then early enough),
one whose packets keep coming too late waits a tick, and one that stayed fuller than it needs for a while gives up
10 ms with a crossfade, or in a hole where there are only such.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.ports import Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]
Bools: TypeAlias = npt.NDArray[np.bool_]

CELL = 80
_CELLS = 64
_FARTHEST = _CELLS - 8
"""A packet may end this many cells ahead of the playout, so that a late one of 60 ms never lands on it."""

PREFILL = 2
"""Cells between the first packet and the playout: with the packet's own tick, 20 to 40 ms."""

PATIENCE = 5
"""Packets in a row outside the buffer that prove the sender's clock has stepped (without it, silence for ever)."""

_REVIEW = 100
"""Ticks over which the least slack is taken, twice: how long a buffer must be too full to be emptied."""

_HOLES_AFTER = 25
"""Ticks for which a buffer that is too full has found no three cells in a row, before two will do of which one is
missing; and twice as many before the third may be missing as well."""

_TOLERATED = 1
"""Late packets in a review that are taken as losses; more of them make the buffer wait."""

_LATEST = 16
"""Cells: a packet later than 160 ms is not worth waiting for."""

_NONE = np.iinfo(np.int64).min
_MUCH = np.iinfo(np.int32).max
_MUCH_LATER = np.iinfo(np.int64).max


class JitterBuffer:
    def __init__(self, slots: int) -> None:
        self._audio = np.zeros((slots * _CELLS, CELL), np.int16)
        self._tag = np.full((slots, _CELLS), _NONE, np.int64)
        self._anchored = np.zeros(slots, np.bool_)
        self._timestamp = np.zeros(slots, np.int64)  # of the latest packet, with its unwrapped sample position:
        self._position = np.zeros(slots, np.int64)
        self._shift = np.zeros(slots, np.int64)  # what puts this sender's packets on cell boundaries
        self._head = np.zeros(slots, np.int64)  # next cell to play
        self._newest = np.zeros(slots, np.int64)  # end of the newest audio
        self._dry = np.zeros(slots, np.bool_)  # nothing was left to play; then, the first cell that came since:
        self._oldest = np.zeros(slots, np.int64)
        self._strays = np.zeros(slots, np.int64)  # packets in a row that were late or far ahead
        self._slack = np.full(slots, _MUCH, np.int64)  # least lead of a packet in this review, and in the last
        self._slack_before = np.zeros(slots, np.int64)
        self._late_lately = np.zeros(slots, np.int64)  # in this review
        self._wait = np.zeros(slots, np.bool_)
        self._next_review = np.zeros(slots, np.int64)  # counted from each row's own beginning: replays review alike
        self._next_cut = np.zeros(slots, np.int64)
        self._tick = 0
        self.popped = np.zeros(slots, np.int64)
        """The first cell of each row's latest frame; `next_cell` is three on where that was a cut."""

        self.late = np.zeros(slots, np.int64)
        """Packets that came after their time, by row."""

    def reset(self, row: int) -> None:
        self._anchored[row] = False
        self._tag[row] = _NONE
        self._head[row] = self._newest[row] = self._strays[row] = self.late[row] = self._next_cut[row] = 0
        self._late_lately[row] = 0
        self._dry[row] = self._wait[row] = False

    def expect_new_source(self, row: int) -> None:
        """The next packet counts its time from somewhere else: begin with it anew."""
        self._anchored[row] = False

    def insert(self, rows: Int64s, timestamps: Int64s, pcm: Int16s) -> Int64s:
        """Put one packet into each of `rows` (each row once): `pcm` is (rows, k * CELL). Gives unwrapped positions.

        A packet after its time is dropped, one impossibly far ahead too, until PATIENCE of them in a row.
        """
        positions, cells = self._locate(rows, timestamps)
        length = pcm.shape[1] // CELL
        self._skip_silence(rows, cells + length)
        lead = cells - self._head[rows]
        late = self._anchored[rows] & (lead + length <= 0)
        stray = late | (lead + length > _FARTHEST)
        self._strays[rows] = strays = np.where(stray, self._strays[rows] + 1, 0)
        fresh = ~self._anchored[rows] | (strays >= PATIENCE)
        if np.count_nonzero(late):
            late &= ~self.hold(rows, cells)  # copies of what came in time
            self._note_late(rows[late], lead[late])
        if np.count_nonzero(fresh):
            self._restart(rows[fresh], cells[fresh])
        wanted = fresh | ~stray
        if np.count_nonzero(wanted) < len(rows):
            rows, cells, pcm = rows[wanted], cells[wanted], pcm[wanted]
        self._store(rows, cells, pcm.reshape(len(rows), length, CELL))
        return positions

    def _locate(self, rows: Int64s, timestamps: Int64s) -> tuple[Int64s, Int64s]:
        """Unwrap 32-bit timestamps and give each packet's position in samples and its first cell."""
        step = (timestamps - self._timestamp[rows] + 0x80000000) % 0x100000000 - 0x80000000
        positions = np.where(self._anchored[rows], self._position[rows] + step, 0)
        self._timestamp[rows], self._position[rows] = timestamps, positions
        cells, odd = np.divmod(positions + self._shift[rows], CELL)
        if np.count_nonzero(odd):
            self._shift[rows] -= odd
        return positions, cells

    def _restart(self, rows: Int64s, cells: Int64s) -> None:
        self._tag[rows] = _NONE
        self._anchored[rows] = True
        self._head[rows] = self._newest[rows] = cells - PREFILL
        self._strays[rows] = 0
        self._slack[rows], self._slack_before[rows] = _MUCH, PREFILL
        self._next_review[rows] = self._tick + _REVIEW

    def _skip_silence(self, rows: Int64s, ends: Int64s) -> None:
        """What comes to an empty buffer from far ahead comes after a silence: its place is right here."""
        far = (self._newest[rows] <= self._head[rows]) & (ends - self._head[rows] > _FARTHEST) & self._anchored[rows]
        if np.count_nonzero(far):
            self._head[rows[far]] = self._newest[rows[far]] = ends[far] - _FARTHEST // 2
            self._dry[rows[far]] = True

    def _note_late(self, rows: Int64s, lead: Int64s) -> None:
        self.late[rows] += 1
        self._late_lately[rows] += 1
        worth_it = (lead > -_LATEST) & (self._late_lately[rows] > _TOLERATED)
        self._wait[rows] |= worth_it
        self._slack[rows] = np.minimum(self._slack[rows], lead)

    def _store(self, rows: Int64s, cells: Int64s, pcm: Int16s) -> None:
        length = pcm.shape[1]
        tags = cells[:, None] + np.arange(length)
        flat = rows[:, None] * _CELLS + tags % _CELLS
        self._tag.reshape(-1)[flat], self._audio[flat] = tags, pcm
        self._newest[rows] = np.maximum(self._newest[rows], cells + length)
        self._oldest[rows] = np.minimum(self._oldest[rows], cells)
        self._slack[rows] = np.minimum(self._slack[rows], cells - self._head[rows])

    def pop(self, rows: Int64s) -> tuple[Int16s, Bools]:
        """20 ms of each row, (rows, 160), and which 10 ms of it are there, (rows, 2); the rest is not zeroed."""
        self._tick += 1
        due = rows[self._next_review[rows] <= self._tick]
        if len(due):
            self._slack_before[due], self._slack[due] = self._slack[due], _MUCH
            self._late_lately[due] = 0
            self._next_review[due] = self._tick + _REVIEW
            self._next_cut[due] = np.maximum(self._next_cut[due], self._tick)
        self._catch_up(rows)
        head = self._head[rows]
        self.popped[rows] = head
        pcm, have = self._read(rows, head, 2)
        moved = np.minimum(np.maximum(self._newest[rows] - head, 0), 2)
        self._head[rows] = head + moved
        self._dry[rows] = moved == 0
        waits = self._wait[rows] & (moved > 0)
        if np.count_nonzero(waits):
            self._hold(rows[waits], moved[waits])
            have[waits] = False
        spare = np.minimum(self._slack[rows], self._slack_before[rows]) - PREFILL
        full = (spare > 0) & (self._next_cut[rows] <= self._tick) & (self._newest[rows] >= head + 3) & ~waits
        if np.count_nonzero(full):
            pcm[full], have[full] = self._cut(rows[full], pcm[full], have[full], spare[full])
        return pcm.reshape(-1, 2 * CELL), have

    def _catch_up(self, rows: Int64s) -> None:
        """A buffer that was dry has no reason to wait for anything older than what has come since."""
        dry = rows[self._dry[rows] & (self._newest[rows] > self._head[rows])]
        if len(dry):
            self._head[dry] = np.maximum(self._head[dry], self._oldest[dry] - PREFILL)
        self._oldest[rows] = _MUCH_LATER

    def _hold(self, rows: Int64s, moved: Int64s) -> None:
        """Play nothing this time, so that what comes late is late no more."""
        self._wait[rows] = False
        self._head[rows] -= moved
        self._slack[rows] += moved
        self._slack_before[rows] += moved

    def _read(self, rows: Int64s, head: Int64s, length: int) -> tuple[Int16s, Bools]:
        cells = head[:, None] + np.arange(length)
        flat = rows[:, None] * _CELLS + cells % _CELLS
        return self._audio[flat], self._tag.reshape(-1)[flat] == cells

    def _cut(self, rows: Int64s, pcm: Int16s, have: Bools, spare: Int64s) -> tuple[Int16s, Bools]:
        """Play three cells in the time of two: to `pcm` (rows, 2, CELL) the one behind it, the first fading into the
        second. Where one of these is missing the first 10 ms are a hole, and what there was is dropped: concealment
        makes both its edges smooth."""
        third, there = self._read(rows, self.popped[rows] + 2, 1)
        whole, overdue = have.all(axis=1), self._tick - self._next_cut[rows]
        cut = np.where(whole, there[:, 0], overdue >= np.where(there[:, 0], _HOLES_AFTER, 2 * _HOLES_AFTER))
        self._shorten(rows[cut], spare[cut])
        shorter = np.stack([_crossfade(pcm[:, 0], pcm[:, 1]), third[:, 0]], axis=1)
        left = np.stack([whole, there[:, 0]], axis=1)
        return np.where(cut[:, None, None], shorter, pcm), np.where(cut[:, None], left, have)

    def _shorten(self, rows: Int64s, spare: Int64s) -> None:
        """By a cell. Faster, the more there is to spare."""
        self._head[rows] += 1
        self._slack[rows] -= 1
        self._slack_before[rows] -= 1
        self._next_cut[rows] = self._tick + np.select([spare > 8, spare > 2], [2, 10], 50)

    def cells_of(self, rows: Int64s, positions: Int64s) -> Int64s:
        """Where packets at unwrapped sample positions, just inserted, begin."""
        return (positions + self._shift[rows]) // CELL

    def hold(self, rows: Int64s, cells: Int64s) -> Bools:
        held: Bools = self._tag[rows, cells % _CELLS] == cells
        return held

    def next_cells(self, rows: Int64s) -> Int64s:
        """The first of each row that have not been played."""
        return self._head[rows]

    def delay_ms(self, row: int) -> float:
        """What the buffer now adds, from a packet's arrival to its playout, for the statistics."""
        return float(10 * max(0, self._newest[row] - self._head[row]))


_RISING = (np.arange(CELL, dtype=np.float32) + 0.5) / CELL


def _crossfade(one: Int16s, other: Int16s) -> Int16s:
    return np.rint(one * (1 - _RISING) + other * _RISING).astype(np.int16)
