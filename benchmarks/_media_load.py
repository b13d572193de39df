"""Many telephones in one process: sends every call's RTP, takes what comes back, and measures it.

Run by `benchmarks.media_calls`. Reads one line of JSON (`Plan`), answers with its ports, waits for a line that says go,
calls, and prints one line of JSON (`Measured`). It is frugal, as it shares the machine with what it measures: a frame
of all calls is made at once and goes by io_uring where the kernel has it, only every eighth call's arrivals are timed,
and it waits for no socket, as being woken by a packet would be paid for by who sends it. Times are the kernel's, so
that this process being busy does not count against the other one.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import sys
import time
import wave
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import structlog
from scipy.signal import resample_poly

from gateway.media import codecs, g711
from gateway.media.commands import Codec
from gateway.media.ports import Int64s
from gateway.media.rtp import Bytes
from gateway.media.worker.loop import build_rings
from gateway.media.worker.peers import PollList

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

_TOO_MANY = 200
"""Packets beyond those a call should get: what comes more often than that is not counted."""

_SETTLED = 100
"""A timed call's first packets (2 s) are not timed: meanwhile all others begin, a thousand within a second."""

_LATEST = 150
_AUDIBLE = 30
"""Of the last packets (3 s) of a timed call those are audible that have a sample beyond this, -60 dBFS."""

TIMED = 8
"""One call of so many is timed."""

_NO_PACKET = 200
"""In each of a packet's first octets it is RTCP's payload type, and counts for nothing."""

PAYLOAD_TYPES: dict[Codec, int] = {"PCMU": 0, "PCMA": 8, "G722": 9, "opus": 107}


PROMPTS = Path(__file__).parents[1] / "dialplans" / "prompts"


def bot_speech(seconds: float = 20.0, rate: int = 8000) -> npt.NDArray[np.int16]:
    """What the bot says: prompts as they are shipped. Not what the callers say, which would be an echo."""
    said: list[npt.NDArray[np.int16]] = []
    for path in sorted(PROMPTS.glob("*.wav")):
        with wave.open(str(path)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            said.append(_at_rate(pcm, file.getframerate(), rate))
    return np.concatenate(said)[: int(rate * seconds)]


def _at_rate(pcm: npt.NDArray[np.int16], given: int, rate: int) -> npt.NDArray[np.int16]:
    same = given == rate
    return pcm if same else np.clip(np.rint(resample_poly(pcm, rate, given)), -32768, 32767).astype(np.int16)


class Plan(msgspec.Struct):
    ports: list[int]
    """The gateway's RTP port of each call."""

    seconds: float
    talk: float
    """Part of the time each caller speaks; the rest is silence with a little line noise."""

    codec: Codec = "PCMU"


class Measured(msgspec.Struct):
    sent: int
    """Packets of all calls."""

    missing: int
    """Gaps in the sequence numbers that came back, of all calls."""

    own_late_ms: float
    """How late this process sent, at its worst."""

    late_ms: list[float]
    """Arrival against each timed call's own steady clock, once it has settled: p50, p99, p99.9, maximum."""

    last_audible: list[float]
    """When the last packet that was not silent came to each timed call, in seconds since the epoch."""

    cpu_s: float
    """Of this process while it called."""


@dataclass(frozen=True)
class Coded:
    """A turn of speech, round and round, by payloads of 20 ms; the next one of each is `step` further on."""

    payloads: npt.NDArray[np.uint8]
    """(places, octets), those that are shorter filled up."""
    lengths: npt.NDArray[np.int64]
    step: int


def coded(pcm: npt.NDArray[np.int16], codec: Codec) -> Coded:
    """`pcm` is at 8 kHz. Of a codec with an octet a sample a payload may begin at any of them."""
    if codec == "opus":
        encoder = codecs.encoder(codec)
        wide = _at_rate(pcm, 8000, codecs.RATE)
        packets = [encoder.encode(wide[k : k + 320]) for k in range(0, len(wide) - 319, 320)]
        longest = max(map(len, packets))
        filled = b"".join(packet.ljust(longest) for packet in packets)
        payloads = np.frombuffer(filled, np.uint8).reshape(-1, longest)
        return Coded(payloads, np.array([len(packet) for packet in packets]), 1)
    twice = np.tile(pcm, 2)
    if codec == "G722":
        octets = np.frombuffer(codecs.encoder(codec).encode(_at_rate(twice, 8000, codecs.RATE)), np.uint8)
    else:
        octets = g711.encode(twice, int(codec == "PCMA"))
    payloads = np.lib.stride_tricks.sliding_window_view(octets, 160)[: len(pcm)]
    return Coded(payloads, np.full(len(pcm), 160), 160)


def decoder_of(codec: Codec) -> Callable[[bytes], npt.NDArray[np.int16]]:
    if codec == "G722" or codec == "opus":
        return codecs.decoder(codec).decode
    return lambda payload: g711.decode(np.frombuffer(payload, np.uint8), int(codec == "PCMA"))


class Callers:
    """What all callers say: sentences and pauses, each call somewhere else in them."""

    def __init__(self, calls: int, talk: float, codec: Codec = "PCMU") -> None:
        with np.load(SPEECH) as file:
            speech = file["pcm"][4000:-4000]
        rng = np.random.default_rng(7)
        pause = rng.normal(0, 8, int(len(speech) * (1 - talk) / max(talk, 0.01)))
        turn = np.concatenate([speech if talk > 0 else speech[:0], pause]).astype(np.int16)
        self._coded = coded(turn, codec)
        self.of_one_size = bool((self._coded.lengths == self._coded.lengths[0]).all())
        self._starts = rng.integers(0, len(self._coded.payloads), calls)
        self._clock = 160 * codecs.CLOCK_RATIO.get(codec, 1)
        self._packets = np.zeros((calls, 12 + self._coded.payloads.shape[1]), np.uint8)
        self._packets[:, :2] = 0x80, PAYLOAD_TYPES[codec]
        self._packets[:, 8:12] = np.arange(calls).astype(">u4").view(np.uint8).reshape(calls, 4)  # the SSRC

    def packets(self, frame: int, calls: slice = slice(None)) -> npt.NDArray[np.uint8]:
        """(calls, octets): a packet of each call, filled up to the longest. Overwritten by the next frame's."""
        made = self._packets[calls]
        made[:, 2:4] = np.frombuffer(struct.pack("!H", frame & 0xFFFF), np.uint8)
        made[:, 4:8] = np.frombuffer(struct.pack("!I", self._clock * frame), np.uint8)
        made[:, 12:] = self._coded.payloads[self._places(frame, calls)]
        return made

    def sizes(self, frame: int, calls: slice) -> list[int]:
        """Octets of each call's packet."""
        sizes: list[int] = (12 + self._coded.lengths[self._places(frame, calls)]).tolist()
        return sizes

    def _places(self, frame: int, calls: slice) -> npt.NDArray[np.int64]:
        places: npt.NDArray[np.int64] = (self._starts[calls] + self._coded.step * frame) % len(self._coded.payloads)
        return places


class Load:
    def __init__(self, plan: Plan) -> None:
        self._frames = int(plan.seconds * 50)
        self._callers, self._codec = Callers(len(plan.ports), plan.talk, plan.codec), plan.codec
        self._sockets = [self._socket(call, port) for call, port in enumerate(plan.ports)]
        # Of each call, the sequence numbers that came, and how many.
        self._sequences = np.zeros((len(plan.ports), self._frames + _TOO_MANY), np.uint16)
        self._came = np.zeros(len(plan.ports), np.int64)
        self._rings = build_rings()
        self._numbers = np.array([sock.fileno() for sock in self._sockets], np.int32)
        cuts = [len(plan.ports) * phase // _PHASES for phase in range(_PHASES + 1)]
        self._phases = [slice(first, last) for first, last in pairwise(cuts)]
        self._polls = [PollList(part.stop - part.start) for part in self._phases]
        for poll, part in zip(self._polls, self._phases, strict=True):
            poll.numbers[:] = self._numbers[part]
        self._times: dict[int, list[int]] = {call: [] for call in range(0, len(plan.ports), TIMED)}  # ns
        self._latest = {call: deque[tuple[int, bytes]](maxlen=_LATEST) for call in self._times}
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
        cpu_s, start = time.process_time(), time.monotonic() + 0.1
        for frame in range(self._frames):
            for phase, part in enumerate(self._phases):
                packets = self._callers.packets(frame, part)
                sizes = None if self._callers.of_one_size else self._callers.sizes(frame, part)
                self._receive_until(start + (frame * _PHASES + phase) * _STEP_S, phase)
                begun = min(part.stop - part.start, -(-(part.stop - part.start) * (frame + 1) // _BEGINNING))
                self._send(part.start, packets[:begun], sizes)
                self._sent += begun
        time.sleep(0.2)
        while any(self._receive(phase) for phase in range(_PHASES)):
            pass
        return self._measured(time.process_time() - cpu_s)

    def _send(self, first: int, packets: npt.NDArray[np.uint8], sizes: Sequence[int] | None) -> None:
        """Each from its own call, from the `first` on; they are all of one size, or of `sizes`."""
        width = packets.shape[1]
        if self._rings is None or sizes is not None:
            octets = packets.tobytes()
            for k in range(len(packets)):
                self._sockets[first + k].send(octets[width * k : width * k + (sizes[k] if sizes else width)])
            return
        for k in range(0, len(packets), self._rings.most):
            part = packets[k : k + self._rings.most]
            self._rings.send(self._numbers[first + k : first + k + len(part)], part)

    def _receive_until(self, due: float, phase: int) -> None:
        """Who is late does no more than who is not, or would never catch up; a socket holds the packets of seconds."""
        left = due - time.monotonic()
        self._late_s = max(self._late_s, -left)
        if left > 0:
            time.sleep(left)
        self._receive(phase)

    def _receive(self, phase: int) -> bool:
        """A packet of each call of this phase that has any; False when none has."""
        part = self._phases[phase]
        ready = self._polls[phase].ready(part.stop - part.start) + part.start
        timed = ready % TIMED == 0
        if timed.any():
            self._note(ready[timed], self._heads_timed(ready[timed].tolist()))
        plain = ready[~timed]
        most = len(plain) or 1 if self._rings is None else self._rings.most
        for first in range(0, len(plain), most):
            calls = plain[first : first + most]
            self._note(calls, self._heads(calls))
        return bool(len(ready))

    def _heads(self, calls: Int64s) -> Bytes:
        """(calls, `_HEAD`): the beginning of a packet of each."""
        if self._rings is not None:
            sizes, data = self._rings.receive(self._numbers[calls])
            return np.where((sizes >= _HEAD)[:, None], data[: len(calls), :_HEAD], _NO_PACKET)
        octets = b"".join(self._sockets[call].recv(_HEAD).ljust(_HEAD, bytes([_NO_PACKET])) for call in calls.tolist())
        return np.frombuffer(octets, np.uint8).reshape(-1, _HEAD)

    def _note(self, calls: Int64s, heads: Bytes) -> None:
        control = (heads[:, 1] >= 192) & (heads[:, 1] <= 223)
        counts = ~control & (self._came[calls] < self._sequences.shape[1])
        calls, heads = calls[counts], heads[counts].astype(np.uint16)
        self._sequences[calls, self._came[calls]] = heads[:, 2] << 8 | heads[:, 3]
        self._came[calls] += 1

    def _heads_timed(self, calls: list[int]) -> Bytes:
        """As `_heads`, of calls whose packets are kept with their times."""
        heads = []
        for call in calls:
            data, extra, _, _ = self._sockets[call].recvmsg(2048, 64)
            heads.append(data[:_HEAD])
            if not 192 <= data[1] <= 223:
                seconds, nanoseconds = struct.unpack_from("qq", extra[0][2])
                at = seconds * 10**9 + nanoseconds
                self._times[call].append(at)
                self._latest[call].append((at, data[12:]))
        return np.frombuffer(b"".join(heads), np.uint8).reshape(-1, _HEAD)

    def _last_audible(self, call: int) -> int:
        """In ns; 0 when there was nothing to be heard."""
        last, decode = 0, decoder_of(self._codec)
        for at, payload in self._latest[call]:
            if np.abs(decode(payload).astype(np.int32)).max() > _AUDIBLE:
                last = at
        return last

    def _measured(self, cpu_s: float) -> Measured:
        late, missing = [], 0
        for call, count in enumerate(self._came.tolist()):
            if count < 2:
                continue
            place = np.unwrap(self._sequences[call, :count].astype(np.int64), period=65536)
            missing += int(np.ptp(place)) + 1 - len(np.unique(place))
            if call in self._times:
                offset = np.array(self._times[call][:count]) - (place - place[0]) * 20_000_000
                if len(steady := offset[_SETTLED:]):
                    late.append((steady - steady.min()) / 1e6)
        every = np.concatenate(late) if late else np.zeros(1)
        return Measured(
            sent=self._sent,
            missing=missing,
            own_late_ms=1000 * self._late_s,
            late_ms=[float(ms) for ms in np.percentile(every, [50, 99, 99.9, 100])],
            last_audible=[self._last_audible(call) / 1e9 for call in self._times],
            cpu_s=cpu_s,
        )


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is for the answers
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
