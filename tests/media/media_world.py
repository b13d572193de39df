"""A plane under a clock moved by hand, and a telephone to call it with: what the scenarios of this folder share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

from gateway.core.ids import SeededIds
from gateway.media import g711, rtp
from gateway.media.commands import ConnectLeg, OpenLeg
from gateway.media.files import FileSink
from gateway.media.plane import TICK_S, MediaPlane, PlaneOptions, Received, ToSend
from gateway.media.ports import BatchVad, Said

T = TypeVar("T")

PHONE = ("198.51.100.7", 4000)
STRANGER = ("203.0.113.66", 6666)
FRAME = 160


def speech() -> np.ndarray:
    """Five seconds of synthetic speech, 16-bit at 8 kHz: half a second of silence, two sentences, silence."""
    with np.load(Path(__file__).parent / "silero_expected.npz") as fixture:
        return fixture["pcm"]


def sine(hz: float, seconds: float, amplitude: float = 8000) -> np.ndarray:
    t = np.arange(int(8000 * seconds)) / 8000
    return np.rint(amplitude * np.sin(2 * np.pi * hz * t)).astype(np.int16)


def frames(pcm: np.ndarray, length: int = FRAME) -> list[np.ndarray]:
    """Whole frames; the rest is left out."""
    return [pcm[k : k + length] for k in range(0, len(pcm) - length + 1, length)]


class Phone:
    """The far end: numbers its packets, and lets the scenario say what the network does with them."""

    def __init__(
        self, leg: str = "call", *, sequence: int = 100, timestamp: int = 5000, ssrc: int = 77, law: int = 0
    ) -> None:
        self.leg, self.sequence, self.timestamp, self.ssrc, self.law = leg, sequence, timestamp, ssrc, law
        self.source = PHONE

    def packet(self, pcm: np.ndarray, *, payload_type: int | None = None, marker: bool = False) -> bytes:
        kind = 8 * self.law if payload_type is None else payload_type
        made = self.build(kind, g711.encode(pcm, self.law).tobytes(), marker)
        self.timestamp += len(pcm)
        return made

    def build(self, payload_type: int, payload: bytes, marker: bool = False, timestamp: int | None = None) -> bytes:
        ts = self.timestamp if timestamp is None else timestamp
        made = rtp.RtpPacket(payload_type, self.sequence & 0xFFFF, ts & 0xFFFFFFFF, self.ssrc, payload, marker)
        self.sequence += 1
        return rtp.build(made)


class World:
    """One plane. `now` moves by ticks; what was said and sent is kept."""

    def __init__(
        self,
        *,
        vad: BatchVad | None = None,
        files: FileSink | None = None,
        options: PlaneOptions | None = None,
        start: float = 1000.0,
    ) -> None:
        self.options = options or PlaneOptions(slots=8)
        self.plane = MediaPlane(self.options, SeededIds(1), vad, files=files)
        self.start = self.now = start
        self.said: list[Said] = []
        self.sent: list[ToSend] = []

    def open(self, leg: str = "call", *, port: int = 20000, **options: object) -> World:
        self.plane.command(OpenLeg(leg, **options), self.now, port=port)  # type: ignore[arg-type]
        return self

    def connect(self, leg: str = "call", *, codec: str = "PCMU", **options: object) -> World:
        settings = {
            "host": PHONE[0],
            "port": PHONE[1],
            "codec": codec,
            "payload_type": 0 if codec == "PCMU" else 8,
            "dtmf_payload_type": 101,
            **options,
        }
        self.plane.command(ConnectLeg(leg, **settings), self.now)  # type: ignore[arg-type]
        return self

    def do(self, command: object) -> World:
        self.plane.command(command, self.now)  # type: ignore[arg-type]
        return self

    def tick(self, *datagrams: bytes, leg: str = "call", source: tuple[str, int] = PHONE) -> list[ToSend]:
        """20 ms in which these datagrams came."""
        return self.take([Received(leg, d, source, self.now - 0.005) for d in datagrams])

    def take(self, received: Iterable[Received]) -> list[ToSend]:
        done = self.plane.tick(self.now, list(received))
        self.said += done.said
        self.sent += done.to_send
        self.now += TICK_S
        return done.to_send

    def ticks(self, count: int) -> World:
        for _ in range(count):
            self.tick()
        return self

    def talk(self, phone: Phone, pcm: np.ndarray) -> World:
        """The phone says this, a packet a tick, over a perfect network."""
        for frame in frames(pcm):
            self.tick(phone.packet(frame), leg=phone.leg, source=phone.source)
        return self

    def all(self, kind: type[T]) -> list[T]:
        return [one for one in self.said if isinstance(one, kind)]

    def packets(self, leg: str = "call") -> list[rtp.RtpPacket]:
        return [rtp.parse(d.data) for d in self.sent if d.leg == leg and not rtp.is_rtcp(d.data)]

    def spoken(self, leg: str = "call", law: int = 0) -> np.ndarray:
        """All audio sent, decoded."""
        payloads = [p.payload for p in self.packets(leg) if p.payload_type in (0, 8)]
        return g711.decode(np.frombuffer(b"".join(payloads), np.uint8), law)


def through_code(pcm: np.ndarray, law: int = 0) -> np.ndarray:
    """What is left of audio that was coded once."""
    return g711.decode(g711.encode(pcm, law), law)
