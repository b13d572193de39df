"""Digits as RTP events (RFC 4733), both ways, for one leg.

Incoming, an event comes in many packets of which any may be lost, doubled or late; each press is told once, when its
end is known or when nothing more comes of it. Outgoing, a press is a packet every 20 ms, and its end three times at the
same pace.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, replace

from gateway.media.history import FRAME

DIGITS = "0123456789*#ABCD"
_LOST_AFTER_S = 0.2
"""An event is over when its packets cease for so long: its end packets were lost."""

_ECHOES_S = 1.0
"""For so long behind a press its sound, and packets of it that were held up, may still come."""

_OLDEST_S = 10
"""How far before the newest press one that was overtaken may have begun: no segment is longer than 8.2 s."""

_FULL = 0xFFFF
_VOLUME = 10
"""-10 dBm0."""


@dataclass(frozen=True, slots=True)
class Press:
    digit: str
    duration_ms: int


@dataclass(slots=True)
class _Running:
    timestamp: int
    event: int
    duration: int
    heard_at: float
    before: int = 0
    """Samples of earlier segments of a press longer than 8 s (RFC 4733 2.5.1.3)."""


class DigitReceiver:
    """Feed it every event packet in the order of arrival, and tell it the time now and then.

    `clock_hz` is that of the events, 48000 beside Opus.
    """

    def __init__(self, clock_hz: int = 8000) -> None:
        self.clock_hz = clock_hz
        self._running: _Running | None = None
        self._told: int | None = None  # timestamp of the newest press told
        self.heard_at: float | None = None  # an event of that press, lastly

    @property
    def waiting(self) -> bool:
        return self._running is not None

    def receive(self, payload: bytes, timestamp: int, now: float) -> list[Press]:
        """Raises ValueError for a payload too short to be an event. Flash and tones (16 and up) are passed over."""
        if len(payload) < 4:
            raise ValueError("a telephone event has four octets")
        event, flags, duration = struct.unpack_from("!BBH", payload)
        if event >= len(DIGITS) or self._is_old(timestamp, now):
            return []
        pressed = self._turn_to(event, timestamp, now)
        running = self._running
        assert running is not None
        running.duration, running.heard_at = max(running.duration, duration), now
        return pressed + self._finish() if flags & 0x80 else pressed

    def is_recent(self, now: float) -> bool:
        """Whether a press is going on, or was a moment ago: its sound may still be on the line."""
        return self.waiting or (self.heard_at is not None and now - self.heard_at < _ECHOES_S)

    def expire(self, now: float) -> list[Press]:
        """A press whose end never came is over after a while."""
        if self._running is None or now - self._running.heard_at < _LOST_AFTER_S:
            return []
        return self._finish()

    def _is_old(self, timestamp: int, now: float) -> bool:
        """A repeated end packet, or one overtaken by the next press. What comes later than these with an earlier
        timestamp, or with one that is much earlier, is of a sender whose clock has stepped back, as where a relay began
        anew."""
        newest = self._running.timestamp if self._running else self._told
        if newest is None or (self._running and timestamp == newest):
            return False
        if not self.is_recent(now):
            return timestamp == newest
        return (newest - timestamp) % 0x100000000 < _OLDEST_S * self.clock_hz

    def _turn_to(self, event: int, timestamp: int, now: float) -> list[Press]:
        running = self._running
        if running and running.timestamp == timestamp:
            return []
        if running and running.event == event:
            step = (timestamp - running.timestamp) % 0x100000000
            # A long press goes on as a new segment that begins where the last one ended: where its duration was full,
            # which is said by a single packet that may be lost.
            if step in (running.duration, _FULL):
                self._running = _Running(timestamp, event, 0, now, running.before + step)
                return []
        pressed = self._finish() if running else []
        self._running = _Running(timestamp, event, 0, now)
        return pressed

    def _finish(self) -> list[Press]:
        running, self._running = self._running, None
        assert running is not None
        self._told, self.heard_at = running.timestamp, running.heard_at
        return [Press(DIGITS[running.event], 1000 * (running.before + running.duration) // self.clock_hz)]


@dataclass(frozen=True, slots=True)
class EventPacket:
    """To be sent with the timestamp of the press's beginning, `ago` samples before this tick's, in place of audio."""

    payload: bytes
    ago: int
    marker: bool


@dataclass(slots=True)
class _Sending:
    digit: str | None
    """None is a pause."""

    frames: int
    ended: EventPacket | None = None
    """The last packet of the press before this pause."""

    begun: int = 0


class DigitSender:
    """Plays out a string of digits, 20 ms at a time. A comma is a second's pause; other unknown signs are skipped.

    `clock_hz` is that of the events. No press is longer than its 16 bits can tell: 8 s, 1.3 s beside Opus.
    """

    def __init__(self, clock_hz: int = 8000) -> None:
        self._ratio = clock_hz // 8000
        self._queue: deque[_Sending] = deque()

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    def send(self, digits: str, duration_ms: int) -> None:
        frames = min(max(2, round(duration_ms / 20)), _FULL // (FRAME * self._ratio))
        for sign in digits.upper():
            if sign == ",":
                self._queue.append(_Sending(None, 50))
            elif sign in DIGITS:
                self._queue += [_Sending(sign, frames), _Sending(None, frames)]

    def tick(self) -> tuple[str | None, int, EventPacket | None]:
        """The digit that sounds in this tick, how many samples it has sounded, and the packet that says so. Or None,
        samples of a pause, and in its beginning the last packet of the press once more."""
        current = self._queue[0]
        before = current.begun * FRAME
        current.begun += 1
        ends = current.begun >= current.frames
        if ends:
            self._queue.popleft()
        if current.digit is None:
            return None, before, _repeated(current)
        duration = (before + FRAME) * self._ratio
        payload = struct.pack("!BBH", DIGITS.index(current.digit), _VOLUME | (0x80 if ends else 0), duration)
        packet = EventPacket(payload, before, current.begun == 1)
        if ends:
            self._queue[0].ended = packet
        return current.digit, before, packet


def _repeated(pause: _Sending) -> EventPacket | None:
    """RFC 4733 2.5.1.4: the end goes out three times, at the pace of the others, so that losing it is unlikely. A burst
    of loss would take all three where they left together."""
    if pause.ended is None or pause.begun > 2:
        return None
    return replace(pause.ended, ago=pause.ended.ago + pause.begun * FRAME)
