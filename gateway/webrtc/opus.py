"""A browser's Opus, decoded by libopus itself: at our rate, in one call, and with what is lost made up for.

aiortc's way goes through a thread, 48 kHz stereo and a resampler, and leaves silence where a packet was lost. Here the
packet after it gives it back, by the copy that browsers add when they are told of losses (RFC 7587 3.3). What has no
copy goes on as it sounded, and fades.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.errors import PeerError
from gateway.media.opus_library import RATE, OpusDecoder
from gateway.webrtc.audio import MAX_GAP_S, piece_bytes

FORMAT = "useinbandfec=1"
"""What an answer says of it: copies are of use to us (RFC 7587 6.1). And what an offer says of the browser's."""

_CLOCK_HZ = 48000
"""Of the timestamps, whatever is coded (RFC 7587 4.1)."""

_STEP = RATE // 400
"""2.5 ms: libopus makes up multiples of that, and this often at once:"""
_MOST = 48 * _STEP


class OpusIntake:
    """Packets in their order in, exact 20 ms pieces of 16 kHz mono out. All keeps its place in time."""

    def __init__(self) -> None:
        self._decoder = OpusDecoder()
        self.undecodable = 0
        self._expected: int | None = None
        self._sequence = 0
        self._pending = bytearray()

    def feed(self, payload: bytes, timestamp: int, sequence: int) -> Iterator[bytes]:
        """What cannot be decoded counts as lost: the packet after it makes up for it.

        A gap in time alone is a rest: silence, as the copy in the next packet is of what was said before it.
        """
        follows = sequence == self._sequence + 1 & 0xFFFF
        if not payload:  # padding, to try out the line's rate
            self._sequence = sequence if follows else self._sequence
            return
        try:
            missing = self._missing(timestamp)
            made_up = bytes(2 * missing) if follows else self._make_up(payload, missing)
            pcm = self._decoder.decode(payload)
        except PeerError:
            self.undecodable += 1
            return
        self._sequence = sequence
        self._expected = timestamp + len(pcm) * (_CLOCK_HZ // RATE)
        self._pending += made_up + pcm.tobytes()
        size = piece_bytes(RATE)
        while len(self._pending) >= size:
            piece = bytes(self._pending[:size])
            del self._pending[:size]
            yield piece

    def _missing(self, timestamp: int) -> int:
        """Samples between what came last and this; none where another stream begins."""
        if self._expected is None:
            return 0
        ahead = (timestamp - self._expected + 0x80000000) % 0x100000000 - 0x80000000
        return ahead * RATE // _CLOCK_HZ if 0 < ahead <= MAX_GAP_S * _CLOCK_HZ else 0

    def _make_up(self, payload: bytes, samples: int) -> bytes:
        made = b""
        while samples > _MOST:
            made += self._decoder.recover(b"", _MOST).tobytes()
            samples -= _MOST
        samples -= samples % _STEP
        return made + self._decoder.recover(payload, samples).tobytes() if samples else made
