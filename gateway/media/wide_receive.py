"""Receiving codecs with a memory: packets wait coded beside the jitter buffer, and are decoded as they are played.

The jitter buffer decides when, by cells of 10 ms as for all legs; it holds silence in the place of coded audio.
Decoded in the order of playing, a packet that overtook another harms neither. Only that is done leg by leg: what comes
out, 16 kHz, is looked at for all at once. The house hears its lower half, and `read` gives the whole to recognisers
that want it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gateway.core.errors import PeerError
from gateway.media import codecs
from gateway.media.codecs import Decoder, Heard, Int16s
from gateway.media.decimate import Halver
from gateway.media.history import FRAME, AudioHistory
from gateway.media.jitter import CELL, Bools, JitterBuffer
from gateway.media.ports import Int64s
from gateway.media.record_wide import Sound
from gateway.media.resample import TAPS, double_rate

_WIDE_CELL = 2 * CELL
_WIDE_FRAME = 2 * FRAME
_LONGEST = 6
"""Cells of the longest packet."""

_CELLS = 64
"""That the jitter buffer has."""

_MOST_WAITING = 128
"""Packets of one leg: twice what the jitter buffer has cells for."""


class CodedPacket(NamedTuple):
    row: int
    codec: Heard
    sequence: int
    timestamp: int
    payload: bytes
    at: float


@dataclass(slots=True)
class _Stream:
    """One source's packets and the state they are decoded with."""

    coded: dict[int, tuple[Heard, bytes]] = field(default_factory=dict)
    """By first cell."""

    decoded: dict[int, Int16s] = field(default_factory=dict)
    """Cells of 16 kHz still to be played; empty ones are of packets that were broken."""

    decoders: dict[Heard, Decoder] = field(default_factory=dict)
    latest: int = 0
    """First cell of the packet taken last."""

    clock: tuple[int, int] | None = None
    """The latest timestamp of a clock that is not 8000 Hz, wrapped and unwrapped."""


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
        self._streams: dict[int, _Stream] = {}
        self._rows: Int64s = np.zeros(0, np.int64)
        self._halver = Halver(slots)
        self._keep = keep
        self._wanted: dict[int, bool] = {}  # rows that differ from `keep`
        self._kept = np.zeros(slots, np.bool_)
        self._kept_rows: Int64s = np.zeros(0, np.int64)
        self._ring = AudioHistory(slots, 2)
        self._end = np.zeros(slots, np.int64)
        self._frames = np.zeros((slots, _WIDE_FRAME), np.int16)
        self._there = np.zeros((slots, 2), np.bool_)  # which halves of `_frames` came as wideband audio in this tick
        self.undecodable = 0

    def reset(self, row: int) -> None:
        self._wanted.pop(row, None)
        self._let_go(row)
        self.change_source(row)

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
            self._kept_rows = np.flatnonzero(self._kept)

    def _let_go(self, row: int) -> None:
        if self._kept[row]:
            self._kept[row] = False
            self._kept_rows = np.flatnonzero(self._kept)

    def change_source(self, row: int) -> None:
        """Another stream begins, with its own memory."""
        if self._streams.pop(row, None) is not None:
            self._halver.reset(row)
            self._there[row] = False
            self._know_rows()

    def _know_rows(self) -> None:
        self._rows = np.array(sorted(self._streams), np.int64)

    def _stream(self, row: int) -> _Stream:
        stream = self._streams.get(row)
        if stream is None:
            stream = self._streams[row] = _Stream()
            self._know_rows()
            if self._wanted.get(row, self._keep):
                self._begin_to_keep(row)
        return stream

    def insert(self, rows: Int64s, packets: list[CodedPacket], length: int) -> Int64s:
        """Put a packet of `length` cells of each of `rows` in its place. Gives positions as the jitter buffer does."""
        streams = [self._stream(packet.row) for packet in packets]
        timestamps = [_at_8_khz(stream, packet) for stream, packet in zip(streams, packets, strict=True)]
        silence = np.zeros((len(packets), length * CELL), np.int16)
        positions = self._jitter.insert(rows, np.array(timestamps), silence)
        cells = self._jitter.cells_of(rows, positions)
        held = self._jitter.hold(rows, cells + length - 1).tolist()
        for packet, stream, cell, there in zip(packets, streams, cells.tolist(), held, strict=True):
            if there:
                _put(stream, cell, packet)
            if len(stream.coded) > _MOST_WAITING:
                head = int(self._jitter.next_cells(np.array([packet.row]))[0])
                near = range(head - _LONGEST, head + _CELLS)
                stream.coded = {at: coded for at, coded in stream.coded.items() if at in near}
        return positions

    def play(self, rows: Int64s, pcm: Int16s, have: Bools) -> None:
        """Decode what the jitter buffer has just let go: into `pcm` (rows, 160), where `have` (rows, 2) says so."""
        if not self._streams:
            return
        places = np.searchsorted(rows, self._rows)
        first, after = self._jitter.popped[self._rows], self._jitter.next_cells(self._rows)
        plain = have[places].all(axis=1) & (after - first == 2)
        wholes, halves = _Played(), (_Played(), _Played())
        every = zip(self._streams_in_order(), places.tolist(), first.tolist(), after.tolist(), plain, strict=True)
        for stream, place, start, end, is_plain in every:
            frame = self._frame(stream, start) if is_plain else None
            if frame is None:
                cells = self._cells(stream, start, end, have[place])
                _sort_in(place, cells, wholes, halves)
            else:
                wholes.add(place, frame)
        self._there[self._rows] = False
        self._hear(rows, pcm, wholes, 0)
        for half in (0, 1):
            self._hear(rows, pcm, halves[half], half)

    def _streams_in_order(self) -> list[_Stream]:
        return [self._streams[row] for row in self._rows.tolist()]

    def _frame(self, stream: _Stream, start: int) -> Int16s | None:
        """A packet that is the very 20 ms to be played now; None where it is not as usual as that."""
        if stream.decoded or (coded := stream.coded.pop(start, None)) is None:
            return None
        pcm = self._decode(stream, *coded)
        if len(pcm) == _WIDE_FRAME:
            return pcm
        stream.decoded |= _by_cell(start, *coded, pcm)
        return None

    def _cells(self, stream: _Stream, first: int, after: int, have: Bools) -> list[Int16s | None]:
        """The two cells that are played now; of three, where the buffer takes time out, the first two as one."""
        found = [self._cell(stream, cell) for cell in range(first, max(after, first + 2))]
        if len(found) == 3 and found[0] is not None and found[1] is not None:
            found = [_crossfade(found[0], found[1]), found[2]]
        found = found[-2:]
        for half in (0, 1):
            if found[half] is None or not have[half]:
                # Where nothing coded stands either, it is G.711 in mid-stream, and in its place already.
                have[half] &= not _is_broken(stream, first + half)
                found[half] = None
        for at in [at for at in stream.decoded if at < after]:
            del stream.decoded[at]
        return found

    def _cell(self, stream: _Stream, cell: int) -> Int16s | None:
        if cell not in stream.decoded:
            for start in range(cell, cell - _LONGEST, -1):
                coded = stream.coded.pop(start, None)
                if coded is not None:
                    stream.decoded |= _by_cell(start, *coded, self._decode(stream, *coded))
                    break
        found = stream.decoded.get(cell)
        return found if found is not None and len(found) else None

    def _decode(self, stream: _Stream, codec: Heard, payload: bytes) -> Int16s:
        """All of a packet; nothing where it is broken."""
        if codec not in stream.decoders:
            stream.decoders[codec] = codecs.decoder(codec)
        try:
            return stream.decoders[codec].decode(payload)
        except PeerError:
            self.undecodable += 1
            return np.zeros(0, np.int16)

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
        lacking = rows[~there.all(axis=1)]
        if len(lacking):
            doubled = double_rate(self._history.read(lacking, position + FRAME, FRAME + TAPS - 1))
            wide = np.repeat(self._there[lacking], _WIDE_CELL, axis=1)
            self._frames[lacking] = np.where(wide, self._frames[lacking], doubled)
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


def _put(stream: _Stream, cell: int, packet: CodedPacket) -> None:
    if abs(cell - stream.latest) >= _CELLS:
        # The peer's clock was stepped: what waits under these numbers is of another time.
        stream.coded.clear()
        stream.decoded.clear()
    stream.latest = cell
    stream.coded[cell] = packet.codec, packet.payload


def _by_cell(start: int, codec: Heard, payload: bytes, pcm: Int16s) -> dict[int, Int16s]:
    """A packet's cells; empty ones where it is broken."""
    count = codecs.duration_ms(codec, payload) // 10
    return dict(enumerate(pcm.reshape(count, -1), start))


def _is_broken(stream: _Stream, cell: int) -> bool:
    return cell in stream.decoded and not len(stream.decoded[cell])


def _sort_in(place: int, cells: list[Int16s | None], wholes: _Played, halves: tuple[_Played, _Played]) -> None:
    first, second = cells
    if first is not None and second is not None:
        wholes.add(place, np.concatenate([first, second]))
    elif first is not None:
        halves[0].add(place, first)
    elif second is not None:
        halves[1].add(place, second)


_RISING = (np.arange(_WIDE_CELL, dtype=np.float32) + 0.5) / _WIDE_CELL


def _crossfade(one: Int16s, other: Int16s) -> Int16s:
    return np.rint(one * (1 - _RISING) + other * _RISING).astype(np.int16)


def _at_8_khz(stream: _Stream, packet: CodedPacket) -> int:
    """A timestamp as if the clock ran at 8000 Hz, whatever the wraps."""
    ratio, timestamp = codecs.CLOCK_RATIO.get(packet.codec, 1), packet.timestamp
    if ratio == 1:
        return timestamp
    wrapped, unwrapped = stream.clock or (timestamp, timestamp)
    step = (timestamp - wrapped + 0x80000000) % 0x100000000 - 0x80000000
    stream.clock = timestamp, unwrapped + step
    return (unwrapped + step) // ratio & 0xFFFFFFFF
