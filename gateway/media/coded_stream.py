"""One source's coded packets, waiting beside the jitter buffer, and what they are decoded with.

They are decoded in the order of playing. What was lost of Opus is recovered when its time comes: from the copy that the
packet after it may hold, where that one is waiting by then, or else as libopus lets a voice go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.errors import PeerError
from gateway.media import codecs
from gateway.media.codecs import Decoder, Heard, Int16s
from gateway.media.jitter import CELL
from gateway.media.opus_library import OpusDecoder
from gateway.media.ports import Float32s

Bools: TypeAlias = npt.NDArray[np.bool_]

WIDE_CELL = 2 * CELL
_LONGEST = 6
"""Cells of the longest packet."""

_CELLS = 64
"""That the jitter buffer has."""

MOST_WAITING = 128
"""Packets of one leg: twice what the jitter buffer has cells for."""

_FADED = 12
"""Cells after which libopus, letting a voice go on, is silent."""


class CodedPacket(NamedTuple):
    row: int
    codec: Heard
    sequence: int
    timestamp: int
    payload: bytes
    at: float


@dataclass(slots=True)
class CodedStream:
    """Cells are the jitter buffer's, of 10 ms."""

    coded: dict[int, CodedPacket] = field(default_factory=dict)
    """By first cell."""

    decoded: dict[int, Int16s] = field(default_factory=dict)
    """Cells of 16 kHz still to be played; empty ones are of packets that were broken."""

    decoders: dict[Heard, Decoder] = field(default_factory=dict)
    latest: int = 0
    """First cell of the packet taken last."""

    clock: tuple[int, int] | None = None
    """The latest timestamp of a clock that is not 8000 Hz, wrapped and unwrapped."""

    last: CodedPacket | None = None
    """The packet decoded last."""

    end: int = 0
    """The cell after it."""

    made_up: int = 0
    """Cells that are of no packet, nor of a copy; and how many of these were before `last`."""

    made_up_before: int = 0
    recovered: int = 0
    """Packets of which a copy was played."""

    broken: int = 0
    """Packets that could not be decoded."""

    state: bytes = b""
    """The decoder's after `last`, where something was made up since."""

    seam: tuple[int, Int16s] | None = None
    """How what was made up would go on, and in which cell it ends: what really comes there fades in over it."""

    without_audio: int = -1
    """Sequence number of the latest packet that was none."""

    head: int = 0
    """The cell that is to be played next."""

    def timestamp_at_8_khz(self, packet: CodedPacket) -> int:
        """As if the clock ran at 8000 Hz, whatever the wraps."""
        ratio, timestamp = codecs.CLOCK_RATIO.get(packet.codec, 1), packet.timestamp
        if ratio == 1:
            return timestamp
        wrapped, unwrapped = self.clock or (timestamp, timestamp)
        step = (timestamp - wrapped + 0x80000000) % 0x100000000 - 0x80000000
        self.clock = timestamp, unwrapped + step
        return (unwrapped + step) // ratio & 0xFFFFFFFF

    def put(self, cell: int, packet: CodedPacket) -> None:
        """A packet that begins with this cell."""
        if abs(cell - self.latest) >= _CELLS:
            # The peer's clock was stepped: what waits under these numbers is of another time.
            self.coded.clear()
            self.decoded.clear()
        self.latest = cell
        self.coded[cell] = packet

    def forget_all_but_near(self, head: int) -> None:
        """All packets that nobody will ask for, as `head` is played next."""
        near = range(head - _LONGEST, head + _CELLS)
        self.coded = {at: packet for at, packet in self.coded.items() if at in near}

    def move(self, first: int, after: int) -> None:
        """The buffer moves on from `first` to `after`."""
        if first < self.head:
            self.decoded.clear()  # it began anew, with a clock that was stepped back
        if self.seam is not None and self.seam[0] < first:
            self.seam = None
        self.head = after

    def frame(self, start: int) -> Int16s | None:
        """A packet that is the very 20 ms to be played now; None where it is not as usual as that."""
        if self.decoded or self.seam is not None or (packet := self.coded.pop(start, None)) is None:
            return None
        pcm = self._decode(packet, start)
        if len(pcm) == 2 * WIDE_CELL:
            return pcm
        self.decoded |= _by_cell(start, packet, pcm)
        return None

    def cells(self, first: int, after: int, have: Bools, held: list[bool]) -> list[Int16s | None]:
        """The two cells that are played now; of three, where the buffer takes time out, the first two as one.

        The buffer moves on from `first` to `after`, has `held` these, and makes of them what `have` says of the two;
        that is set right where a packet was broken, or lost and recovered.
        """
        wanted, begin = range(first, after), max(first, after - 2)
        found = [self._cell(cell, after, lost=not held[cell - first]) for cell in wanted]
        if len(found) == 3:
            found = [self._as_one(found[0], found[1], have[0]), found[2]]
        if len(found) < 2:
            found += self._go_on(after, 2 - len(found))
        for half in (0, 1):
            # Where nothing coded stands either, it is G.711 in mid-stream, and in its place already.
            have[half] = found[half] is not None or (have[half] and not self._is_broken(begin + half))
        for at in [at for at in self.decoded if at < after]:
            del self.decoded[at]
        return found

    @staticmethod
    def _as_one(one: Int16s | None, other: Int16s | None, have: bool) -> Int16s | None:
        """The first two of three cells; with a hole between them nothing, so that concealment makes it smooth."""
        if one is not None and other is not None:
            return _crossfade(one, other)
        return other if have else None

    def _cell(self, cell: int, after: int, *, lost: bool) -> Int16s | None:
        if not len(self.decoded.get(cell, ())):
            if not lost:
                self._decode_at(cell)
            if lost or self._is_broken(cell):
                self._recover(cell, after)
            if self._is_broken(cell):
                count = 1 + (cell + 1 < after and self._is_broken(cell + 1))
                self.decoded |= dict(enumerate(self._let_go_on(count, cell + count), cell))
        found = self.decoded.get(cell)
        if found is None or not len(found):
            return None
        if self.seam is not None and self.seam[0] == cell:
            found = _crossfade(self.seam[1], found, _AFTER_SEAM)
        return found

    def _decode_at(self, cell: int) -> None:
        """The packet that holds this cell, if there is one."""
        for start in range(cell, cell - _LONGEST, -1):
            packet = self.coded.pop(start, None)
            if packet is not None:
                self.decoded |= _by_cell(start, packet, self._decode(packet, start))
                break

    def _is_broken(self, cell: int) -> bool:
        return cell in self.decoded and not len(self.decoded[cell])

    def _decode(self, packet: CodedPacket, start: int) -> Int16s:
        """All of a packet; nothing where it is broken."""
        decoder = self.decoders.get(packet.codec)
        if decoder is None:
            decoder = self.decoders[packet.codec] = codecs.decoder(packet.codec)
        try:
            pcm = decoder.decode(packet.payload)
        except PeerError:
            self.broken += 1
            return np.zeros(0, np.int16)
        self.last, self.end = packet, start + len(pcm) // WIDE_CELL
        self.made_up_before, self.state = self.made_up, b""
        return pcm

    def _recover(self, cell: int, after: int) -> None:
        """Let this cell be there although its packet is not, where a packet of Opus was lost and the next one waits.

        Of a longer gap, what that one has no copy of is made up only as far as it is played now, up to `after`: its
        own packets may still come.
        """
        decoder = self.decoders.get("opus")
        follower = min((start for start in self.coded if start > cell), default=cell)
        if not isinstance(decoder, OpusDecoder) or not self._were_lost(follower):
            return
        payload = self.coded[follower].payload
        copied = max(1, int(codecs.opus_frame_ms(payload)) // 10)
        if follower - cell > copied:
            end = min(after, follower - copied)
            made = self._make_up(decoder, end - cell, end)
        else:
            if self.state and follower - copied == self.end:
                decoder.state = self.state
            try:
                pcm = decoder.recover(payload, copied * WIDE_CELL)
            except PeerError:
                return  # and its follower will be found broken in its turn
            if codecs.holds_copy(payload):
                self.recovered += 1
            else:
                self._note_seam(decoder, follower)
            made = list(pcm.reshape(-1, WIDE_CELL))[cell - follower :]
        self.decoded |= dict(enumerate(made, cell))

    def _go_on(self, end: int, count: int) -> list[Int16s | None]:
        """Cells in which the buffer waits; None where nothing can be said of them, as no packet of Opus ended here."""
        made = self._let_go_on(count, end) if self.end == end else []
        return [*made, None, None][:count]

    def _let_go_on(self, count: int, until: int) -> list[Int16s]:
        """As `_make_up`, where a packet of Opus was the last; else nothing."""
        decoder = self.decoders.get("opus")
        if not isinstance(decoder, OpusDecoder) or self.last is None or self.last.codec != "opus":
            return []
        return self._make_up(decoder, count, until)

    def _make_up(self, decoder: OpusDecoder, count: int, until: int) -> list[Int16s]:
        """As libopus goes on, until that is silence; the next cell to be played is `until`."""
        count = min(count, self.made_up_before + _FADED - self.made_up)
        if count <= 0:
            return []
        self.made_up += count
        self.state = self.state or decoder.state
        made = decoder.recover(b"", count * WIDE_CELL)
        self._note_seam(decoder, until)
        return list(made.reshape(-1, WIDE_CELL))

    def _note_seam(self, decoder: OpusDecoder, cell: int) -> None:
        """What was made up ends before this one."""
        state = decoder.state
        self.seam = cell, decoder.recover(b"", WIDE_CELL)
        decoder.state = state

    def _were_lost(self, follower: int) -> bool:
        """Whether packets are missing between the one decoded last and this one. Where none are the peer was silent
        meanwhile, and a copy would be of what it said before that."""
        packet = self.coded.get(follower)
        if packet is None or self.last is None or not packet.codec == self.last.codec == "opus":
            return False
        ahead = packet.sequence - self.last.sequence & 0xFFFF
        return 1 < ahead < MOST_WAITING and (packet.sequence - 1 & 0xFFFF) != self.without_audio


def _by_cell(start: int, packet: CodedPacket, pcm: Int16s) -> dict[int, Int16s]:
    """A packet's cells; empty ones where it is broken."""
    count = codecs.duration_ms(packet.codec, packet.payload) // 10
    return dict(enumerate(pcm.reshape(count, -1), start))


_RISING = ((np.arange(WIDE_CELL) + 0.5) / WIDE_CELL).astype(np.float32)
_AFTER_SEAM = np.clip((np.arange(WIDE_CELL) - 11.5) / 16, 0, 1).astype(np.float32)
"""libopus is 0.7 ms late, so that its own seam lies there. Within a millisecond: by wideband PESQ at 5 and 10 % of loss
that is worth what no fading is, and 5 ms cost 0.03, 10 ms 0.09."""


def _crossfade(one: Int16s, other: Int16s, rising: Float32s = _RISING) -> Int16s:
    return np.rint(one * (1 - rising) + other * rising).astype(np.int16)
