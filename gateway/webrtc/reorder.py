"""A browser's packets in order, without aiortc's delay. The one place where we reach into aiortc.

aiortc holds four packets back always (80 ms), and fifteen (300 ms) for the rest of the call once a single one was
lost: measured, 100 ms from microphone to leg before a loss and 300 ms after it. A bot that is interrupted must not
hear of it that late. The media plane has an adaptive jitter buffer of its own behind us; all that is left to do here
is to put swapped neighbours right, and to hand Opus to a decoder that can do more than aiortc's (see `opus`).
"""

from __future__ import annotations

from collections.abc import Callable

from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

HELD_BACK = 1
"""Packets that may wait for a missing one: 20 ms, from the first gap on."""
RESTART = 100
"""A sequence number this far off is a new stream, not a gap."""
_ATTRIBUTE = "_RTCRtpReceiver__jitter_buffer"


class Reorder:
    """Stands in for `aiortc.jitterbuffer.JitterBuffer`: one audio frame per packet, at most one out per packet in."""

    def __init__(self) -> None:
        self._held: dict[int, RtpPacket] = {}
        self._next: int | None = None
        self.late = 0
        """Packets that came when their time had passed, and duplicates."""

        self._diverted: int | None = None
        self._take: Callable[[bytes, int, int], None] = _nobody

    def divert(self, payload_type: int, take: Callable[[bytes, int, int], None]) -> None:
        """Give payload, timestamp and sequence number of these packets to `take`: aiortc decodes them no more."""
        self._diverted, self._take = payload_type, take

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """The next frame in order, if it is here. The first value asks for a video key frame: never."""
        sequence = packet.sequence_number
        if self._next is None or abs(_ahead(sequence, self._next)) >= RESTART:
            self._held.clear()
            self._next = sequence
        if _ahead(sequence, self._next) < 0:
            self.late += 1
            return False, None
        self._held[sequence] = packet
        if len(self._held) > HELD_BACK and self._next not in self._held:
            following = self._next
            self._next = min(self._held, key=lambda held: _ahead(held, following))
        ready = self._held.pop(self._next, None)
        if ready is None:
            return False, None
        self._next = (self._next + 1) & 0xFFFF
        if ready.payload_type == self._diverted:
            self._take(ready.payload, ready.timestamp, ready.sequence_number)
            return False, None
        return False, JitterFrame(data=ready._data, timestamp=ready.timestamp)  # type: ignore[attr-defined]


def install(receiver: RTCRtpReceiver) -> Reorder | None:
    """Replace the receiver's jitter buffer. An aiortc that keeps it elsewhere stays as it is (None): slower, but
    sound."""
    if not hasattr(receiver, _ATTRIBUTE):
        return None
    buffer = Reorder()
    setattr(receiver, _ATTRIBUTE, buffer)
    return buffer


def _nobody(payload: bytes, timestamp: int, sequence: int) -> None:
    pass


def _ahead(sequence: int, of: int) -> int:
    """How far `sequence` is ahead, -32768..32767: sequence numbers wrap at 16 bits."""
    return (sequence - of + 0x8000) % 0x10000 - 0x8000
