"""Many telephones in one process: sends every call's RTP, takes what comes back, and measures it.

Run by `benchmarks.media_calls`. Reads one line of JSON (`Plan`), answers with its ports, waits for a line that says go,
calls, and prints one line of JSON (`Measured`). It is frugal, as it shares the machine with what it measures: packets
are made beforehand, and only every eighth call's arrivals are timed. Their times are the kernel's, so that this
process being busy does not count against the other one.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.media import g711

SPEECH = Path(__file__).parents[1] / "tests" / "media" / "silero_expected.npz"

_PHASES = 4
_STEP_S = 0.02 / _PHASES
_SO_TIMESTAMPNS = 35
_TIMED = 8


class Plan(msgspec.Struct):
    ports: list[int]
    """The gateway's RTP port of each call."""

    seconds: float
    talk: float
    """Part of the time each caller speaks; the rest is silence with a little line noise."""


class Measured(msgspec.Struct):
    sent: list[int]
    received: list[int]
    missing: int
    """Gaps in the sequence numbers that came back, of all calls."""

    late_ms: list[float]
    """Arrival against each timed call's own steady clock: p50, p99, p99.9, maximum."""


def conversations(calls: int, seconds: float, talk: float) -> npt.NDArray[np.uint8]:
    """(calls, frames, 160) of mu-law: sentences and pauses, each call somewhere else in them."""
    with np.load(SPEECH) as file:
        speech = file["pcm"][4000:-4000]
    rng = np.random.default_rng(7)
    pause = rng.normal(0, 8, int(len(speech) * (1 - talk) / max(talk, 0.01)))
    turn = np.concatenate([speech if talk > 0 else speech[:0], pause]).astype(np.int16)
    length = int(seconds * 50) * 160
    starts = rng.integers(0, len(turn), calls)
    codes = g711.encode(np.tile(turn, 2 + length // len(turn)))
    return np.stack([codes[start : start + length] for start in starts]).reshape(calls, -1, 160)


def packets(plan: Plan) -> npt.NDArray[np.uint8]:
    """(frames, calls, 172): everything that will be sent, call k with the SSRC k."""
    audio = conversations(len(plan.ports), plan.seconds, plan.talk)
    calls, frames, _ = audio.shape
    made = np.zeros((frames, calls, 172), np.uint8)
    made[:, :, 0] = 0x80
    made[:, :, 2:4] = np.arange(frames).astype(">u2").view(np.uint8).reshape(frames, 1, 2)
    made[:, :, 4:8] = (160 * np.arange(frames)).astype(">u4").view(np.uint8).reshape(frames, 1, 4)
    made[:, :, 8:12] = np.arange(calls).astype(">u4").view(np.uint8).reshape(1, calls, 4)
    made[:, :, 12:] = audio.transpose(1, 0, 2)
    return made


class Load:
    def __init__(self, plan: Plan) -> None:
        self._packets = packets(plan)
        self._sockets = [self._socket(call, port) for call, port in enumerate(plan.ports)]
        self._call_of = {sock.fileno(): call for call, sock in enumerate(self._sockets)}
        self._epoll = select.epoll()
        for sock in self._sockets:
            self._epoll.register(sock, select.EPOLLIN)
        self._arrived: list[list[int]] = [[] for _ in plan.ports]  # sequence numbers
        self._times: list[list[int]] = [[] for _ in plan.ports]  # ns

    def _socket(self, call: int, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        if call % _TIMED == 0:
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        return sock

    @property
    def ports(self) -> list[int]:
        return [int(sock.getsockname()[1]) for sock in self._sockets]

    def run(self) -> Measured:
        start = time.monotonic() + 0.1
        for frame, row in enumerate(self._packets):
            packets = row.tobytes()
            for phase in range(_PHASES):
                self._receive_until(start + (frame * _PHASES + phase) * _STEP_S)
                for call in range(phase, len(self._sockets), _PHASES):
                    self._sockets[call].send(packets[172 * call : 172 * call + 172])
        self._receive_until(time.monotonic() + 0.2)
        return self._measured()

    def _receive_until(self, due: float) -> None:
        # Never waits in the kernel for a packet: being woken by each would be paid for by the process that sends.
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _STEP_S / 2))
            self._receive()

    def _receive(self) -> None:
        for number, _ in self._epoll.poll(0, len(self._sockets)):
            call = self._call_of[number]
            if call % _TIMED:
                data = self._sockets[call].recv(2048)
            else:
                data, extra, _, _ = self._sockets[call].recvmsg(2048, 64)
                seconds, nanoseconds = struct.unpack_from("qq", extra[0][2])
            if not 192 <= data[1] <= 223:
                self._arrived[call].append(data[2] << 8 | data[3])
                if call % _TIMED == 0:
                    self._times[call].append(seconds * 10**9 + nanoseconds)

    def _measured(self) -> Measured:
        late, missing = [], 0
        for sequences, times in zip(self._arrived, self._times, strict=True):
            if len(sequences) < 2:
                continue
            place = np.unwrap(np.array(sequences), period=65536).astype(np.int64)
            missing += int(np.ptp(place)) + 1 - len(np.unique(place))
            if times:
                offset = np.array(times) - (place - place[0]) * 20_000_000
                late.append((offset - offset.min()) / 1e6)
        every = np.concatenate(late) if late else np.zeros(1)
        late_ms = [float(ms) for ms in np.percentile(every, [50, 99, 99.9, 100])]
        frames, calls, _ = self._packets.shape
        return Measured([frames] * calls, [len(s) for s in self._arrived], missing, late_ms)


def main() -> None:
    load = Load(msgspec.json.decode(sys.stdin.readline(), type=Plan))
    print(json.dumps(load.ports), flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(load.run()).decode(), flush=True)


if __name__ == "__main__":
    main()
