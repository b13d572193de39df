"""Receiving codecs with a memory: packets wait coded beside the jitter buffer, and are decoded as they are played.

The jitter buffer decides when, by cells of 10 ms as for all legs; it holds silence in the place of coded audio.
Decoded in the order of playing, a packet that overtook another harms neither. Only that is done leg by leg, in
`coded_stream.py`: what comes out, 16 kHz, is looked at for all at once. The house hears its lower half, and `read`
gives the whole to recognisers that want it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gateway.media.codecs import Int16s
from gateway.media.coded_stream import MOST_WAITING, CodedPacket, CodedStream
from gateway.media.decimate import Halver
from gateway.media.history import FRAME, AudioHistory
from gateway.media.jitter import CELL, Bools, JitterBuffer
from gateway.media.ports import Int64s
from gateway.media.record_wide import Sound
from gateway.media.resample import TAPS, double_rate
from gateway.media.seams import Seams

_WIDE_FRAME = 2 * FRAME


@dataclass(slots=True)
class _Played:
    """What of a tick was decoded: 320 samples (or 160) each, and where in the batch their rows stand."""

    places: list[int] = field(default_factory=list)
    pieces: list[Int16s] = field(default_factory=list)

    def add(self, place: int, piece: Int16s) -> None:
        self.places.append(place)
        self.pieces.append(piece)


class WideReceiver:
    """By row; rows that never get such a packet take no part."""

    def __init__(self, slots: int, jitter: JitterBuffer, history: AudioHistory, *, keep: bool) -> None:
        """`keep` the wideband audio for listeners."""
        self._jitter, self._history = jitter, history
        self._streams: dict[int, CodedStream] = {}
        self._rows: Int64s = np.zeros(0, np.int64)
        self._recovered = np.zeros(slots, np.int64)  # of streams that are over
        self._broken = np.zeros(slots, np.int64)
        self._halver = Halver(slots)
        self._keep = keep
        self._wanted: dict[int, bool] = {}  # rows that differ from `keep`
        self._kept = np.zeros(slots, np.bool_)
        self._kept_rows: Int64s = np.zeros(0, np.int64)
        self._ring = AudioHistory(slots, 2)
        self._end = np.zeros(slots, np.int64)
        self._seams = Seams(slots)
        self._frames = np.zeros((slots, _WIDE_FRAME), np.int16)
        self._there = np.zeros((slots, 2), np.bool_)  # which halves of `_frames` came as wideband audio in this tick

    def reset(self, row: int) -> None:
        self._wanted.pop(row, None)
        self._let_go(row)
        self.change_source(row)
        self._recovered[row] = self._broken[row] = 0

    def keep(self, row: int, wanted: bool) -> None:
        """Keep this row's wideband audio for listeners, or do not."""
        self._wanted[row] = wanted
        if not wanted:
            self._let_go(row)
        elif row in self._streams:
            self._begin_to_keep(row)

    def _begin_to_keep(self, row: int) -> None:
        if not self._kept[row]:
            self._kept[row], self._end[row], self._there[row] = True, -1, False
            self._seams.reset(row)
            self._kept_rows = np.flatnonzero(self._kept)

    def _let_go(self, row: int) -> None:
        if self._kept[row]:
            self._kept[row] = False
            self._kept_rows = np.flatnonzero(self._kept)

    def change_source(self, row: int) -> None:
        """Another stream begins, with its own memory."""
        if (stream := self._streams.pop(row, None)) is not None:
            self._recovered[row] += stream.recovered
            self._broken[row] += stream.broken
            self._halver.reset(row)
            self._there[row] = False
            self._know_rows()

    def _know_rows(self) -> None:
        self._rows = np.array(sorted(self._streams), np.int64)

    def _stream(self, row: int) -> CodedStream:
        stream = self._streams.get(row)
        if stream is None:
            stream = self._streams[row] = CodedStream()
            self._know_rows()
            if self._wanted.get(row, self._keep):
                self._begin_to_keep(row)
        return stream

    def insert(self, rows: Int64s, packets: list[CodedPacket], length: int) -> Int64s:
        """Put a packet of `length` cells of each of `rows` in its place. Gives positions as the jitter buffer does."""
        streams = [self._stream(packet.row) for packet in packets]
        timestamps = [stream.timestamp_at_8_khz(packet) for stream, packet in zip(streams, packets, strict=True)]
        silence = np.zeros((len(packets), length * CELL), np.int16)
        positions = self._jitter.insert(rows, np.array(timestamps), silence)
        cells = self._jitter.cells_of(rows, positions)
        held = self._jitter.hold(rows, cells + length - 1).tolist()
        for packet, stream, cell, there in zip(packets, streams, cells.tolist(), held, strict=True):
            if there:
                stream.put(cell, packet)
            if len(stream.coded) > MOST_WAITING:
                stream.forget_all_but_near(int(self._jitter.next_cells(np.array([packet.row]))[0]))
        return positions

    def recovered(self, row: int) -> int:
        """Packets that were missing when it was their time, and of which a copy was played."""
        stream = self._streams.get(row)
        return int(self._recovered[row]) + (stream.recovered if stream is not None else 0)

    def broken(self, row: int) -> int:
        """Packets that could not be decoded when it was their time."""
        stream = self._streams.get(row)
        return int(self._broken[row]) + (stream.broken if stream is not None else 0)

    def without_audio(self, row: int, sequence: int) -> None:
        """A packet came that was of something else: it is not lost."""
        if row in self._streams:
            self._streams[row].without_audio = sequence

    def play(self, rows: Int64s, pcm: Int16s, have: Bools) -> Bools:
        """Decode what the jitter buffer has just let go: into `pcm` (rows, 160), where `have` (rows, 2) says so.

        Sets `have` right where it is otherwise: packets that were broken, and audio that is there all the same.
        Gives `have` again but for what was made up out of nothing.
        """
        if not self._streams:
            return have
        places = np.searchsorted(rows, self._rows)
        first, after = self._jitter.popped[self._rows], self._jitter.next_cells(self._rows)
        plain = have[places].all(axis=1) & (after - first == 2)
        wholes, halves = _Played(), (_Played(), _Played())
        made_up: list[int] = []
        held = self._jitter.hold(self._rows[:, None], first[:, None] + np.arange(3)).tolist()
        every = zip(self._streams_in_order(), places.tolist(), first.tolist(), after.tolist(), plain, held, strict=True)
        for stream, place, start, end, is_plain, cells in every:
            stream.move(start, end)
            frame = stream.frame(start) if is_plain else None
            if frame is None:
                before = stream.made_up
                _sort_in(place, stream.cells(start, end, have[place], cells), wholes, halves)
                if stream.made_up > before:
                    made_up.append(place)
            else:
                wholes.add(place, frame)
        self._there[self._rows] = False
        self._hear(rows, pcm, wholes, 0)
        for half in (0, 1):
            self._hear(rows, pcm, halves[half], half)
        if not made_up:
            return have
        came = have.copy()
        came[made_up] = False
        return came

    def _streams_in_order(self) -> list[CodedStream]:
        return [self._streams[row] for row in self._rows.tolist()]

    def _hear(self, rows: Int64s, pcm: Int16s, played: _Played, half: int) -> None:
        """Let the house hear what was decoded; all of it is as long, and begins in this half."""
        if not played.places:
            return
        places, samples = np.array(played.places), np.stack(played.pieces)
        chosen, begin, length = rows[places], half * CELL, samples.shape[1] // 2
        low, wide = self._halver.feed(chosen, samples)
        pcm[places, begin : begin + length] = low
        self._frames[chosen, 2 * begin : 2 * (begin + length)] = wide
        self._there[chosen, half : half + length // CELL] = True

    def latest(self, rows: Int64s, pcm: Int16s) -> Sound:
        """This tick's frame of each of `rows`, which is `pcm` at 8 kHz."""
        return Sound(pcm, self._frames[rows], self._there[rows])

    def remember(self, position: int) -> None:
        """Keep the frame at `position`, once the narrowband history has it; what was concealed there is doubled."""
        rows = self._kept_rows
        if not len(rows):
            return
        there = self._there[rows]
        needing = self._seams.concern(rows, there)
        self._seams.pass_by(rows[~needing], self._frames[rows[~needing]])
        if needing.any():
            seamed = rows[needing]
            doubled = double_rate(self._history.read(seamed, position + FRAME, FRAME + TAPS - 1))
            self._frames[seamed] = self._seams.join(seamed, self._frames[seamed], there[needing], doubled)
        for row in rows[self._end[rows] != position].tolist():
            # The clock jumped, or this is the beginning: nothing older may be taken for what was heard since.
            self._ring.clear(row)
        self._ring.write(rows, 2 * position, self._frames[rows])
        self._end[rows] = position + FRAME
        self._there[rows] = False

    def read(self, rows: Int64s, ends: Int64s, length: int) -> Int16s:
        """(rows, 2 * length) at 16 kHz: what ended at `ends` of the plane's clock, as it came, or where it did not come
        so its narrowband at twice the rate."""
        kept = self._kept[rows]
        if not kept.any():
            return double_rate(self._history.read(rows, ends, length + TAPS - 1))
        if kept.all():
            return self._ring.read(rows, 2 * ends, 2 * length)
        pcm = np.empty((len(rows), 2 * length), np.int16)
        pcm[kept] = self._ring.read(rows[kept], 2 * ends[kept], 2 * length)
        pcm[~kept] = double_rate(self._history.read(rows[~kept], ends[~kept], length + TAPS - 1))
        return pcm


def _sort_in(place: int, cells: list[Int16s | None], wholes: _Played, halves: tuple[_Played, _Played]) -> None:
    first, second = cells
    if first is not None and second is not None:
        wholes.add(place, np.concatenate([first, second]))
    elif first is not None:
        halves[0].add(place, first)
    elif second is not None:
        halves[1].add(place, second)
