"""Many telephones in one process: sends every call's RTP, takes what comes back, and measures it.

Run by `benchmarks.media_calls`. Reads one line of JSON (`Plan`), answers with its ports, waits for a line that says go,
calls, and prints one line of JSON (`Measured`). Arrival times are the kernel's, so that this process being busy does
not count against the other one.
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
    """Arrival against each call's own steady clock: p50, p99, p99.9, maximum."""


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


class Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._audio = conversations(len(plan.ports), plan.seconds, plan.talk)
        self._sockets = [self._socket() for _ in plan.ports]
        self._call_of = {sock.fileno(): call for call, sock in enumerate(self._sockets)}
        self._epoll = select.epoll()
        for sock in self._sockets:
            self._epoll.register(sock, select.EPOLLIN)
        self._arrived: list[tuple[int, int, int]] = []  # call, sequence, kernel time in ns

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        return sock

    @property
    def ports(self) -> list[int]:
        return [int(sock.getsockname()[1]) for sock in self._sockets]

    def run(self) -> Measured:
        start, frames = time.monotonic() + 0.1, self._audio.shape[1]
        for step in range(frames * _PHASES):
            due = start + step * _STEP_S
            while (left := due - time.monotonic()) > 0:
                self._receive(left)
            self._send(step // _PHASES, step % _PHASES)
        until = time.monotonic() + 0.2
        while (left := until - time.monotonic()) > 0:
            self._receive(left)
        return self._measured(frames)

    def _send(self, frame: int, phase: int) -> None:
        for call in range(phase, len(self._sockets), _PHASES):
            header = struct.pack("!BBHII", 0x80, 0, frame & 0xFFFF, frame * 160 & 0xFFFFFFFF, call)
            self._sockets[call].sendto(
                header + self._audio[call, frame].tobytes(), ("127.0.0.1", self._plan.ports[call])
            )

    def _receive(self, within_s: float) -> None:
        for number, _ in self._epoll.poll(within_s, len(self._sockets)):
            call = self._call_of[number]
            data, extra, _, _ = self._sockets[call].recvmsg(2048, 64)
            seconds, nanoseconds = struct.unpack_from("qq", extra[0][2])
            if not 192 <= data[1] <= 223:
                self._arrived.append((call, data[2] << 8 | data[3], seconds * 10**9 + nanoseconds))

    def _measured(self, frames: int) -> Measured:
        calls = len(self._sockets)
        arrived = np.array(self._arrived, np.int64).reshape(-1, 3)
        late, missing, received = [], 0, []
        for call in range(calls):
            mine = arrived[arrived[:, 0] == call]
            received.append(len(mine))
            if len(mine) < 2:
                continue
            place = np.unwrap(mine[:, 1], period=65536).astype(np.int64)
            place -= place[0]
            missing += int(place.max() + 1 - len(np.unique(place)))
            offset = mine[:, 2] - place * 20_000_000
            late.append((offset - offset.min()) / 1e6)
        every = np.concatenate(late) if late else np.zeros(1)
        late_ms = [float(ms) for ms in np.percentile(every, [50, 99, 99.9, 100])]
        return Measured([frames] * calls, received, missing, late_ms)


def main() -> None:
    load = Load(msgspec.json.decode(sys.stdin.readline(), type=Plan))
    print(json.dumps(load.ports), flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(load.run()).decode(), flush=True)


if __name__ == "__main__":
    main()
