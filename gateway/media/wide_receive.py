"""Receiving codecs with a memory: packets wait coded beside the jitter buffer, and are decoded as they are played.

The jitter buffer decides when, by cells of 10 ms as for all legs; it holds silence in the place of coded audio.
Decoded in the order of playing, a packet that overtook another harms neither. What comes out is 16 kHz; the house
hears its lower half, and `WideHistory` keeps the whole for recognisers that want it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from gateway.core.errors import PeerError
from gateway.media import codecs
from gateway.media.codecs import Decoder, Int16s, Wide
from gateway.media.decimate import Decimator
from gateway.media.history import DEPTH, FRAME, AudioHistory
from gateway.media.jitter import CELL, Bools, JitterBuffer
from gateway.media.ports import Int64s
from gateway.media.resample import TAPS, double_rate
from gateway.media.rtp import RtpPacket

_WIDE_CELL = 2 * CELL
_LONGEST = 6
"""Cells of the longest packet."""

_CELLS = 64
"""That the jitter buffer has."""

_MOST_WAITING = 128
"""Packets of one leg: twice what the jitter buffer has cells for."""

_RING = 2 * DEPTH


@dataclass(slots=True)
class _Stream:
    """One source's packets and the state they are decoded with."""

    coded: dict[int, tuple[Wide, bytes]] = field(default_factory=dict)
    """By first cell."""

    decoded: dict[int, Int16s] = field(default_factory=dict)
    """Cells of 16 kHz still to be played."""

    decoders: dict[Wide, Decoder] = field(default_factory=dict)
    halver: Decimator = field(default_factory=lambda: Decimator(2, codecs.RATE))
    latest: int = 0
    """First cell of the packet taken last."""

    clock: tuple[int, int] | None = None
    """The latest timestamp of a clock that is not 8000 Hz, wrapped and unwrapped."""


@dataclass(slots=True)
class _Kept:
    """The last of a leg's audio at 16 kHz; sample k of the plane's clock stands at 2k."""

    ring: Int16s = field(default_factory=lambda: np.zeros(_RING, np.int16))
    end: int = 0
    frame: Int16s = field(default_factory=lambda: np.zeros(2 * FRAME, np.int16))
    there: list[bool] = field(default_factory=lambda: [False, False])
    """Which halves of `frame` came as wideband audio in this tick."""


class WideReceiver:
    """By row; rows that never get such a packet take no part."""

    def __init__(self, jitter: JitterBuffer, history: AudioHistory, *, keep: bool) -> None:
        """`keep` the wideband audio for listeners."""
        self._jitter, self._history, self._keep = jitter, history, keep
        self._streams: dict[int, _Stream] = {}
        self._kept: dict[int, _Kept] = {}
        self._wanted: dict[int, bool] = {}  # rows that differ from `keep`
        self.undecodable = 0

    def reset(self, row: int) -> None:
        self._streams.pop(row, None)
        self._kept.pop(row, None)
        self._wanted.pop(row, None)

    def keep(self, row: int, wanted: bool) -> None:
        """Keep this row's wideband audio for listeners, or do not."""
        self._wanted[row] = wanted
        if not wanted:
            self._kept.pop(row, None)

    def change_source(self, row: int) -> None:
        """Another stream begins, with its own memory."""
        self._streams.pop(row, None)

    def insert(self, row: int, codec: Wide, packet: RtpPacket) -> int:
        """Put a packet in its place. Gives its unwrapped position, as the jitter buffer does. Raises `PeerError`."""
        length = codecs.duration_ms(codec, packet.payload) // 10
        stream = self._streams.get(row)
        if stream is None:
            stream = self._streams[row] = _Stream()
        timestamp = _at_8_khz(stream, packet.timestamp, codecs.CLOCK_RATIO.get(codec, 1))
        silence = np.zeros((1, length * CELL), np.int16)
        position = int(self._jitter.insert(np.array([row]), np.array([timestamp]), silence)[0])
        cell = self._jitter.cell_of(row, position)
        if self._jitter.holds(row, cell + length - 1):
            if abs(cell - stream.latest) >= _CELLS:
                # The peer's clock was stepped: what waits under these numbers is of another time.
                stream.coded.clear()
                stream.decoded.clear()
            stream.latest = cell
            stream.coded[cell] = codec, packet.payload
        if len(stream.coded) > _MOST_WAITING:
            head = self._jitter.next_cell(row)
            stream.coded = {at: coded for at, coded in stream.coded.items() if head - _LONGEST <= at < head + _CELLS}
        return position

    def play(self, rows: Int64s, pcm: Int16s, have: Bools) -> None:
        """Decode what the jitter buffer has just let go: into `pcm` (rows, 160), where `have` (rows, 2) says so."""
        for row, stream in self._streams.items():
            k = int(np.searchsorted(rows, row))
            if k < len(rows) and rows[k] == row:
                self._play(row, stream, pcm[k], have[k])

    def _play(self, row: int, stream: _Stream, pcm: Int16s, have: Bools) -> None:
        first, after = int(self._jitter.popped[row]), self._jitter.next_cell(row)
        if self._wanted.get(row, self._keep) and row not in self._kept:
            self._kept[row] = _Kept()
        kept = self._kept.get(row)
        cells = self._cells(stream, first, after)
        if kept is not None:
            kept.there = [False, False]
        for half in (0, 1):
            cell = cells[half]
            if cell is None or not have[half]:
                # Where nothing coded stands either, it is G.711 in mid-stream, and in its place already.
                have[half] &= not _is_broken(stream, first + half)
                continue
            low, wide = stream.halver.feed(cell)
            pcm[half * CELL : half * CELL + CELL] = low
            if kept is not None:
                kept.frame[half * _WIDE_CELL : half * _WIDE_CELL + _WIDE_CELL] = wide
                kept.there[half] = True
        for at in [at for at in stream.decoded if at < after]:
            del stream.decoded[at]

    def _cells(self, stream: _Stream, first: int, after: int) -> list[Int16s | None]:
        """The two cells that are played now; of three, where the buffer takes time out, the first two as one."""
        found = [self._decoded(stream, cell) for cell in range(first, max(after, first + 2))]
        if len(found) == 3 and found[0] is not None and found[1] is not None:
            return [_crossfade(found[0], found[1]), found[2]]
        return found[-2:] if len(found) == 3 else found

    def _decoded(self, stream: _Stream, cell: int) -> Int16s | None:
        if cell not in stream.decoded:
            for start in range(cell, cell - _LONGEST, -1):
                coded = stream.coded.pop(start, None)
                if coded is not None:
                    stream.decoded |= self._decode(stream, start, *coded)
                    break
        found = stream.decoded.get(cell)
        return found if found is not None and len(found) else None

    def _decode(self, stream: _Stream, start: int, codec: Wide, payload: bytes) -> dict[int, Int16s]:
        """The cells of one packet; empty ones where it is broken."""
        if codec not in stream.decoders:
            stream.decoders[codec] = codecs.decoder(codec)
        try:
            pcm = stream.decoders[codec].decode(payload).reshape(-1, _WIDE_CELL)
        except PeerError:
            self.undecodable += 1
            pcm = np.zeros((codecs.duration_ms(codec, payload) // 10, 0), np.int16)
        return {start + k: cell for k, cell in enumerate(pcm)}

    def remember(self, position: int) -> None:
        """Keep the frame at `position`, once the narrowband history has it; what was concealed there is doubled."""
        for row, kept in self._kept.items():
            if not all(kept.there):
                past = self._history.read(np.array([row]), position + FRAME, FRAME + TAPS - 1)
                doubled = double_rate(past)[0]
                for half in (0, 1):
                    if not kept.there[half]:
                        part = slice(half * _WIDE_CELL, half * _WIDE_CELL + _WIDE_CELL)
                        kept.frame[part] = doubled[part]
            _write(kept, 2 * position)
            kept.there = [False, False]

    def overlay(self, rows: Int64s, ends: Int64s, doubled: Int16s) -> None:
        """Put what came as wideband over `doubled`, (rows, samples at 16 kHz), that end at `ends` of the clock."""
        for k, row in self._rows_kept(rows):
            wanted = np.arange(2 * int(ends[k]) - doubled.shape[1], 2 * int(ends[k]))
            doubled[k] = self._kept[row].ring[wanted % _RING]

    def _rows_kept(self, rows: Int64s) -> Iterator[tuple[int, int]]:
        if self._kept:
            yield from ((k, row) for k, row in enumerate(rows.tolist()) if row in self._kept)


def _is_broken(stream: _Stream, cell: int) -> bool:
    return cell in stream.decoded and not len(stream.decoded[cell])


_RISING = (np.arange(_WIDE_CELL, dtype=np.float32) + 0.5) / _WIDE_CELL


def _crossfade(one: Int16s, other: Int16s) -> Int16s:
    return np.rint(one * (1 - _RISING) + other * _RISING).astype(np.int16)


def _write(kept: _Kept, start: int) -> None:
    if kept.end != start:
        # The clock jumped, or this is the beginning: nothing older may be taken for what was heard since.
        kept.ring[:] = 0
    at = start % _RING
    kept.ring[at : at + 2 * FRAME] = kept.frame
    kept.end = start + 2 * FRAME


def _at_8_khz(stream: _Stream, timestamp: int, ratio: int) -> int:
    """A timestamp as if the clock ran at 8000 Hz, whatever the wraps."""
    if ratio == 1:
        return timestamp
    wrapped, unwrapped = stream.clock or (timestamp, timestamp)
    step = (timestamp - wrapped + 0x80000000) % 0x100000000 - 0x80000000
    stream.clock = timestamp, unwrapped + step
    return (unwrapped + step) // ratio & 0xFFFFFFFF
