"""Many telephones in one process: sends every call's RTP, takes what comes back, and measures it.

Run by `benchmarks.media_calls`. Reads one line of JSON (`Plan`), answers with its ports, waits for a line that says go,
calls, and prints one line of JSON (`Measured`). It is frugal, as it shares the machine with what it measures: a frame
of all calls is made at once, only every eighth call's arrivals are timed, and it waits for no socket, as being woken
by a packet would be paid for by who sends it. Times are the kernel's, so that this process being busy does not count
against the other one.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import struct
import sys
import time
import wave
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.media import g711

SPEECH = Path(__file__).parents[1] / "tests" / "media" / "silero_expected.npz"
SIZE = 172

_PHASES = 4
_STEP_S = 0.02 / _PHASES
_BEGINNING = 50
"""Frames (a second) over which the calls begin. A thousand first packets within 20 ms come nowhere, and would be the
worst moment of the whole run."""

_SO_TIMESTAMPNS = 35
_HEAD = 4
"""Octets of a packet that are looked at: enough to tell its place."""

_SILENCE = b"\xff" * 160
TIMED = 8
"""One call of so many is timed."""


PROMPTS = Path(__file__).parents[1] / "dialplans" / "prompts"


def bot_speech(seconds: float = 20.0) -> npt.NDArray[np.int16]:
    """What the bot says: prompts as they are shipped, 8 kHz. Not what the callers say, which would be an echo."""
    said: list[npt.NDArray[np.int16]] = []
    for path in sorted(PROMPTS.glob("*.wav")):
        with wave.open(str(path)) as file:
            said.append(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
    return np.concatenate(said)[: int(8000 * seconds)]


class Plan(msgspec.Struct):
    ports: list[int]
    """The gateway's RTP port of each call."""

    seconds: float
    talk: float
    """Part of the time each caller speaks; the rest is silence with a little line noise."""


class Measured(msgspec.Struct):
    sent: int
    """Packets of all calls."""

    missing: int
    """Gaps in the sequence numbers that came back, of all calls."""

    own_late_ms: float
    """How late this process sent, at its worst."""

    late_ms: list[float]
    """Arrival against each timed call's own steady clock: p50, p99, p99.9, maximum."""

    last_audible: list[float]
    """When the last packet that was not silent came to each timed call, in seconds since the epoch."""

    cpu_s: float
    """Of this process while it called."""


class Callers:
    """What all callers say: sentences and pauses, each call somewhere else in them."""

    def __init__(self, calls: int, talk: float) -> None:
        with np.load(SPEECH) as file:
            speech = file["pcm"][4000:-4000]
        rng = np.random.default_rng(7)
        pause = rng.normal(0, 8, int(len(speech) * (1 - talk) / max(talk, 0.01)))
        turn = np.concatenate([speech if talk > 0 else speech[:0], pause]).astype(np.int16)
        self._turn = len(turn)
        self._frames = np.lib.stride_tricks.sliding_window_view(g711.encode(np.tile(turn, 2)), 160)
        self._starts = rng.integers(0, len(turn), calls)
        self._packets = np.zeros((calls, SIZE), np.uint8)
        self._packets[:, 0] = 0x80
        self._packets[:, 8:12] = np.arange(calls).astype(">u4").view(np.uint8).reshape(calls, 4)  # the SSRC

    def packets(self, frame: int, calls: slice = slice(None)) -> npt.NDArray[np.uint8]:
        """(calls, 172): a packet of each call. Overwritten by the next frame's."""
        made = self._packets[calls]
        made[:, 2:4] = np.frombuffer(struct.pack("!H", frame & 0xFFFF), np.uint8)
        made[:, 4:8] = np.frombuffer(struct.pack("!I", 160 * frame), np.uint8)
        made[:, 12:] = self._frames[(self._starts[calls] + 160 * frame) % self._turn]
        return made


class Load:
    def __init__(self, plan: Plan) -> None:
        self._frames = int(plan.seconds * 50)
        self._callers = Callers(len(plan.ports), plan.talk)
        self._sockets = [self._socket(call, port) for call, port in enumerate(plan.ports)]
        self._heads: list[list[bytes]] = [[] for _ in plan.ports]  # the first octets of what came
        calls = enumerate(self._sockets)
        self._plain = {sock.fileno(): (sock.recv, self._heads[call].append) for call, sock in calls if call % TIMED}
        self._timed = {self._sockets[call].fileno(): call for call in range(0, len(plan.ports), TIMED)}
        self._poll = select.poll()
        for sock in self._sockets:
            self._poll.register(sock, select.POLLIN)
        self._times: dict[int, list[int]] = {call: [] for call in range(0, len(plan.ports), TIMED)}  # ns
        self._last_audible = dict.fromkeys(self._times, 0)  # ns
        self._late_s, self._sent = 0.0, 0

    def _socket(self, call: int, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        if call % TIMED == 0:
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        return sock

    @property
    def ports(self) -> list[int]:
        return [int(sock.getsockname()[1]) for sock in self._sockets]

    def run(self) -> Measured:
        calls = len(self._sockets)
        cuts = [calls * phase // _PHASES for phase in range(_PHASES + 1)]
        phases = [slice(first, last) for first, last in pairwise(cuts)]
        sends = [sock.send for sock in self._sockets]
        cpu_s, start = time.process_time(), time.monotonic() + 0.1
        for frame in range(self._frames):
            for phase, part in enumerate(phases):
                packets = self._callers.packets(frame, part).tobytes()
                self._receive_until(start + (frame * _PHASES + phase) * _STEP_S)
                begun = sends[part][: -(-(part.stop - part.start) * (frame + 1) // _BEGINNING)]
                self._sent += len(begun)
                for k, send in enumerate(begun):
                    send(packets[SIZE * k : SIZE * k + SIZE])
        time.sleep(0.2)
        while self._receive():
            pass
        return self._measured(time.process_time() - cpu_s)

    def _receive_until(self, due: float) -> None:
        """Once at least: who is late with sending is late with this, too."""
        left = due - time.monotonic()
        self._late_s = max(self._late_s, -left)
        if left > 0:
            time.sleep(left)
        self._receive()

    def _receive(self) -> bool:
        ready = self._poll.poll(0)
        plain = self._plain
        for number, _ in ready:
            if number in plain:
                recv, keep = plain[number]
                keep(recv(_HEAD))
            else:
                self._receive_timed(self._timed[number])

        return bool(ready)

    def _receive_timed(self, call: int) -> None:
        data, extra, _, _ = self._sockets[call].recvmsg(2048, 64)
        if 192 <= data[1] <= 223:
            return
        seconds, nanoseconds = struct.unpack_from("qq", extra[0][2])
        at = seconds * 10**9 + nanoseconds
        self._heads[call].append(data[:_HEAD])
        self._times[call].append(at)
        if data[12:] != _SILENCE:
            self._last_audible[call] = at

    def _measured(self, cpu_s: float) -> Measured:
        late, missing = [], 0
        for call, heads in enumerate(self._heads):
            octets = np.frombuffer(b"".join(heads), np.uint8).reshape(-1, _HEAD).astype(np.int64)
            octets = octets[(octets[:, 1] < 192) | (octets[:, 1] > 223)]  # no RTCP
            if len(octets) < 2:
                continue
            place = np.unwrap(octets[:, 2] << 8 | octets[:, 3], period=65536).astype(np.int64)
            missing += int(np.ptp(place)) + 1 - len(np.unique(place))
            if call in self._times:
                offset = np.array(self._times[call]) - (place - place[0]) * 20_000_000
                late.append((offset - offset.min()) / 1e6)
        every = np.concatenate(late) if late else np.zeros(1)
        return Measured(
            sent=self._sent,
            missing=missing,
            own_late_ms=1000 * self._late_s,
            late_ms=[float(ms) for ms in np.percentile(every, [50, 99, 99.9, 100])],
            last_audible=[at / 1e9 for at in self._last_audible.values()],
            cpu_s=cpu_s,
        )


def main() -> None:
    with contextlib.suppress(OSError):
        # Before all else here, but behind the workers: telephones have processors of their own, and never keep a
        # gateway from its tick. What they are late by themselves is told (`behind`).
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = Load(msgspec.json.decode(sys.stdin.readline(), type=Plan))
    print(msgspec.json.encode(load.ports).decode(), flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(load.run()).decode(), flush=True)


if __name__ == "__main__":
    main()
