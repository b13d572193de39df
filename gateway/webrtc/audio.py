"""Between a browser's audio (48 kHz stereo frames, in bursts) and a media leg's (8 or 16 kHz mono, 20 ms at a time)."""

from __future__ import annotations

import asyncio
import fractions
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame, AudioResampler, Packet

from gateway.media import opus_library
from gateway.media.opus_library import OpusEncoder

NARROW_HZ, WIDE_HZ = 8000, 16000
PTIME_S = 0.020
OPUS_BITS_PER_S, OPUS_EFFORT = 48_000, 0
"""By wideband PESQ worth what aiortc's own encoder gives at 96 kbit/s, for a quarter of the processor time
(`python -m benchmarks.browser_sound`)."""
MAX_GAP_S = 1.0
"""A jump of the timestamps by more than this is a new stream, not lost audio."""


def piece_bytes(rate_hz: int) -> int:
    """Of 20 ms, 16 bit."""
    return 2 * round(rate_hz * PTIME_S)


class Intake:
    """Decoded frames of any rate and layout in, exact 20 ms pieces of mono at `rate_hz` out.

    aiortc conceals nothing: frames whose packets were lost just do not come. The lost time is filled with silence,
    so that what was said keeps its place in time.
    """

    def __init__(self, rate_hz: int = NARROW_HZ) -> None:
        self._rate_hz, self._piece = rate_hz, piece_bytes(rate_hz)
        self._resampler = _resampler(rate_hz)
        self._shape: tuple[int, str, str] | None = None
        self._expected_s: float | None = None
        self._pending = bytearray()

    def feed(self, frame: AudioFrame) -> Iterator[bytes]:
        self._fill_gap(frame)
        shape = (frame.sample_rate, frame.layout.name, frame.format.name)
        if shape != self._shape:
            # The browser changed its codec; a resampler takes one kind of frames only.
            self._resampler, self._shape = _resampler(self._rate_hz), shape
        frame.pts = None
        for resampled in self._resampler.resample(frame):
            self._pending += bytes(resampled.planes[0])[: 2 * resampled.samples]
        while len(self._pending) >= self._piece:
            piece = bytes(self._pending[: self._piece])
            del self._pending[: self._piece]
            yield piece

    def _fill_gap(self, frame: AudioFrame) -> None:
        if frame.pts is None or frame.time_base is None:
            return
        starts_s = frame.pts * frame.time_base.numerator / frame.time_base.denominator
        if self._expected_s is not None and 0 < starts_s - self._expected_s <= MAX_GAP_S:
            self._pending += bytes(2 * round((starts_s - self._expected_s) * self._rate_hz))
        self._expected_s = starts_s + frame.samples / frame.sample_rate


class Playout(MediaStreamTrack):
    """What the browser hears: pieces queued by `play`, sent one each 20 ms, silence when there are none.

    The pieces come at the media plane's pace and leave at this loop's; a few are kept back against the jitter of
    both. When more than `most` wait (the loop was stuck), the oldest are dropped down to `prefill`: a call is live,
    late audio is worth less than current audio.
    """

    kind = "audio"

    def __init__(self, *, prefill: int = 2, most: int = 6) -> None:
        super().__init__()
        self.rate_hz = NARROW_HZ
        """Of all pieces; to be set before the first one, and before the browser can hear."""

        self.coder: OpusEncoder | None = None
        """What is sent by, at `WIDE_HZ`; without one aiortc codes the frames."""

        self._queue: deque[bytes] = deque()
        self._prefill, self._most = prefill, most
        self._flowing = False
        self._next_at: float | None = None
        self._pts = 0
        self.dropped = 0

    def play(self, pcm: bytes) -> None:
        """Queue 20 ms. Raises `ValueError` for any other size."""
        if len(pcm) != piece_bytes(self.rate_hz):
            raise ValueError(f"a piece is {piece_bytes(self.rate_hz)} bytes, not {len(pcm)}")
        self._queue.append(pcm)
        if len(self._queue) > self._most:
            while len(self._queue) > self._prefill:
                self._queue.popleft()
                self.dropped += 1

    def take(self) -> bytes:
        """The next piece, or silence: while none is there, and then until `prefill` are."""
        self._flowing = bool(self._queue) and (self._flowing or len(self._queue) >= self._prefill)
        return self._queue.popleft() if self._flowing else bytes(piece_bytes(self.rate_hz))

    async def recv(self) -> AudioFrame | Packet[Any]:
        """aiortc asks for the next frame; answered when it is due. A packet it sends as it is."""
        if self.readyState != "live":
            raise MediaStreamError
        await self._until_due()
        pcm = self.take()
        if self.coder is not None:
            data: AudioFrame | Packet[Any] = Packet(self.coder.encode(np.frombuffer(pcm, "<i2")))
        else:
            data = stereo_frame(pcm, self.rate_hz)
        data.pts, data.time_base = self._pts, fractions.Fraction(1, self.rate_hz)
        self._pts += len(pcm) // 2
        return data

    async def _until_due(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._next_at is None or now > self._next_at + self._most * PTIME_S:
            # Late beyond repair: a burst of old frames would only fill the browser's jitter buffer.
            self._next_at = now
        await asyncio.sleep(max(0.0, self._next_at - now))
        self._next_at += PTIME_S


def opus_coder() -> OpusEncoder | None:
    """libopus called directly, in mono: aiortc's way codes 48 kHz stereo, behind a resampler and a thread. None without
    the library."""
    return OpusEncoder(OPUS_BITS_PER_S, OPUS_EFFORT) if opus_library.is_there() else None


def stereo_frame(pcm: bytes, rate_hz: int) -> AudioFrame:
    """The voice for both ears: left to make stereo of mono, aiortc's Opus encoder takes 3 dB off."""
    frame = AudioFrame(format="s16", layout="stereo", samples=len(pcm) // 2)
    frame.planes[0].update(np.frombuffer(pcm, dtype="<i2").repeat(2).tobytes())
    frame.sample_rate = rate_hz
    return frame


def _resampler(rate_hz: int) -> AudioResampler:
    return AudioResampler(format="s16", layout="mono", rate=rate_hz)
