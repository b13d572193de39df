"""The audio side of a phone whose signalling is another's: sends one sound as G.711, keeps whatever comes back."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from sounds import Sound

from gateway.media import g711

PACKET = 160  # samples, 20 ms
LATE_S = 0.02
"""Jitter buffers begin with no more than this."""
SO_TIMESTAMPNS = 35
"""Linux tells with a datagram when it came, a `struct timespec` on the wall's clock; Python has no name for it."""


class Packet(NamedTuple):
    at: float
    """When the kernel had it, however late a busy test reads; on the monotonic clock, that of the gateway's events."""
    sequence: int
    timestamp: int
    payload_type: int
    payload: bytes


class RtpPeer:
    """A context manager. It sends `sound` once, then silence, to wherever the first packet comes from."""

    def __init__(self, sound: Sound, *, law: int = 0, packet: int = PACKET) -> None:
        """`law` is that of G.711 it sends, 0 or 1 for A-law; `packet` its length in samples."""
        self._kind, self._packet = 8 * law, packet
        self._codes = bytes(g711.encode(np.rint(sound.samples).astype(np.int16), law))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._far: tuple[str, int] | None = None
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._receive, self._send)]
        self._called = threading.Event()
        self._news = threading.Condition()
        self.port = int(self._socket.getsockname()[1])
        self.received: list[Packet] = []
        self.sent_late = 0
        """How many packets left so late, on a busy machine, that they may not be in time for anybody."""

    def __enter__(self) -> Self:
        self._socket.settimeout(0.1)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._called.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Anything, from its own port, to where it sends its sound."""
        assert self._far is not None, "nobody has called"
        self._socket.sendto(data, self._far)

    def heard(self, since: float = 0.0, until: float = inf) -> Sound:
        """What came between two moments, packet after packet."""
        return sound_of([packet for packet in self.received if since <= packet.at < until])

    def stretches(self, *, apart_s: float = 1.0) -> list[list[Packet]]:
        """What came, parted where the sender's own clock says that it was silent for so long or longer."""
        parted: list[list[Packet]] = []
        for packet in self.received:
            if not parted or silence_s(parted[-1][-1], packet) >= apart_s:
                parted.append([])
            parted[-1].append(packet)
        return parted

    def wait_until(self, at: float) -> None:
        """Something came at that moment or later."""
        self._wait_for(lambda: self.received[-1].at >= at)

    def listen(self, seconds: float) -> None:
        """What comes has lasted so long, from its first packet on and by its own timestamps."""
        self._wait_for(lambda: silence_s(self.received[0], self.received[-1]) >= seconds, within_s=10 + seconds)

    def next_packet(self) -> None:
        """Another one has come: whoever sends beside this stream keeps its pace."""
        so_far = len(self.received)
        self._wait_for(lambda: len(self.received) > so_far)

    def _wait_for(self, true: Callable[[], bool], *, within_s: float = 10) -> None:
        with self._news:
            assert self._news.wait_for(lambda: bool(self.received) and true(), within_s), "the stream has stopped"

    def _receive(self) -> None:
        while not self._over.is_set():
            try:
                data, ancillary, _, source = self._socket.recvmsg(2048, 64)
            except TimeoutError:
                continue
            first, kind, sequence, timestamp = struct.unpack_from("!BBHI", data)
            if first >> 6 == 2 and kind & 0x7F in (0, 8, 13):
                self._far = source
                self._called.set()
                with self._news:
                    self.received.append(Packet(_came_at(ancillary), sequence, timestamp, kind & 0x7F, data[12:]))
                    self._news.notify_all()

    def _send(self) -> None:
        self._called.wait()
        begun, count = time.monotonic(), 0
        while not self._over.wait(max(0.0, (due := begun + count * self._packet / 8000) - time.monotonic())):
            self.sent_late += time.monotonic() > due + LATE_S
            size, silence = self._packet, b"\xd5" if self._kind else b"\xff"
            payload = self._codes[count * size : (count + 1) * size].ljust(size, silence)
            self.send_audio(count, payload)
            count += 1

    def send_audio(self, number: int, payload: bytes) -> None:
        """Its packet of this number."""
        header = struct.pack("!BBHII", 0x80, self._kind, number & 0xFFFF, number * self._packet, 0x1234ABCD)
        if self._far is not None:
            self._socket.sendto(header + payload, self._far)


def _came_at(ancillary: list[tuple[int, int, bytes]]) -> float:
    seconds, nanoseconds = next(struct.unpack("@qq", data) for _, kind, data in ancillary if kind == SO_TIMESTAMPNS)
    return seconds + nanoseconds / 1e9 - (time.time() - time.monotonic())


def sound_of(packets: Sequence[Packet]) -> Sound:
    """The mu-law in them, without the comfort noise."""
    codes = b"".join(packet.payload for packet in packets if packet.payload_type != 13)
    return Sound(g711.decode(np.frombuffer(codes, np.uint8)).astype(np.float64))


def silence_s(before: Packet, after: Packet) -> float:
    """For how long nothing was sent between two packets, by their timestamps."""
    return ((after.timestamp - before.timestamp & 0xFFFFFFFF) - len(before.payload)) / 8000


def began_at(packets: Sequence[Packet], first: Packet) -> float:
    """When the timestamp of `first` was, by whichever of these came with the least delay."""
    return min(packet.at - (packet.timestamp - first.timestamp & 0xFFFFFFFF) / 8000 for packet in packets)
