"""A browser's audio between aiortc, which carries its packets, and a media leg, which understands them.

What aiortc makes of packets itself is not for a live conversation: its jitter buffer holds back four of them always
(80 ms), and fifteen (300 ms) for the rest of the call once a single one was lost; lost ones leave silence, and each of
the others goes through a thread. So they leave it as they came, and those of the leg enter it as they are.
"""

from __future__ import annotations

import asyncio
import fractions
from collections.abc import Callable
from typing import Any

from aiortc import RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtp import RtpPacket
from av import Packet

from gateway.core.errors import ConfigError
from gateway.media import rtp

MOST_WAITING = 6
"""Packets for the browser. More wait only where this loop was stuck: a call is live, late audio is worth less than
current audio."""

_BUFFER = "_RTCRtpReceiver__jitter_buffer"


class Tap:
    """Stands in for `aiortc.jitterbuffer.JitterBuffer`: gives each packet to `take`, and aiortc nothing to decode."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """The first value asks for a video key frame: never."""
        kind, sequence, marker = packet.payload_type, packet.sequence_number, bool(packet.marker)
        plain = rtp.RtpPacket(kind, sequence, packet.timestamp, packet.ssrc, packet.payload, marker)
        self._take(rtp.build(plain))
        return False, None


def tap(receiver: RTCRtpReceiver, take: Callable[[bytes], None]) -> None:
    """Give the receiver's packets to `take`, as RTP without header extensions. The one place where we reach into
    aiortc; raises `ConfigError` for one that is made otherwise."""
    if not hasattr(receiver, _BUFFER):
        raise ConfigError("this aiortc keeps its packets elsewhere; remedy: pip install 'aiortc>=1.9,<1.17'")
    setattr(receiver, _BUFFER, Tap(take))


class Outgoing(MediaStreamTrack):
    """What the browser is sent: the leg's packets, each as soon as it is there. Their pace is the leg's."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.clock_hz = 8000
        """Of the packets' timestamps; to be set before the first one."""

        self._packets: asyncio.Queue[rtp.RtpPacket] = asyncio.Queue(MOST_WAITING)
        self._wanted = False
        self._timestamp: int | None = None
        self._pts = 0

    def send(self, data: bytes) -> None:
        """An RTP packet. Those from before the browser can hear come to nothing."""
        if not self._wanted:
            return
        if self._packets.full():
            self._packets.get_nowait()
        self._packets.put_nowait(rtp.parse(data))

    async def recv(self) -> Packet[Any]:
        """aiortc asks for the next one, and sends its payload as it is, under numbers of its own."""
        if self.readyState != "live":
            raise MediaStreamError
        self._wanted = True
        packet = await self._packets.get()
        self._pts += self._step(packet.timestamp)
        coded: Packet[Any] = Packet(packet.payload)
        coded.pts, coded.time_base = self._pts, fractions.Fraction(1, self.clock_hz)
        return coded

    def _step(self, timestamp: int) -> int:
        """From the packet before. Where the leg was opened anew, its clock is another one; the browser's goes on."""
        before, self._timestamp = self._timestamp, timestamp
        ahead = 0 if before is None else timestamp - before & 0xFFFFFFFF
        return ahead if ahead <= self.clock_hz else self.clock_hz // 50
