"""The plane in motion: inline on virtual time, and in worker processes over real sockets on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from media_world import FRAME, PHONE, Phone, frames, sine, speech, through_code
from pylibsrtp import Policy, Session
from structlog.testing import capture_logs

from gateway.core.clock import LoopClock, SystemClock
from gateway.core.errors import ConfigError, MisuseError
from gateway.core.events import DigitPressed, RecordingStarted, SpeechBegan, SpeechEnded
from gateway.core.ids import SeededIds
from gateway.core.loops import run_virtual
from gateway.media import g711, rtcp, rtp
from gateway.media.commands import (
    Bridge,
    ClipFinished,
    ClipStarted,
    CloseLeg,
    ConnectLeg,
    HeardAudio,
    LegClosed,
    LegDoing,
    LegFailed,
    LegLatched,
    LegOpened,
    LegRestored,
    Listen,
    MediaDied,
    OpenLeg,
    PacketReady,
    QueueAudio,
    RelayPacket,
    SendDigits,
    SetLoopback,
    Srtp,
    TellStats,
)
from gateway.media.dtmf import DIGITS
from gateway.media.io import InlineMedia, MediaPool
from gateway.media.plane import MediaPlane, PlaneOptions
from gateway.media.ports import Said
from gateway.media.relapses import Losses
from gateway.media.trace import read as read_trace
from gateway.media.vad import SileroVad
from gateway.media.wire import WorkerSetup
from gateway.media.worker.link import WorkerLink

T = TypeVar("T")


# Inline


def test_inline_media_runs_a_call_on_virtual_time() -> None:
    """Five seconds of call in no time: packets in and out by the tick, events at the times of the virtual clock."""

    async def call() -> tuple[list[Said], list[bytes], float]:
        clock = LoopClock(asyncio.get_running_loop())
        media = InlineMedia(MediaPlane(PlaneOptions(slots=4), SeededIds(1), SileroVad(4)), clock)
        said: list[Said] = []
        sent: list[bytes] = []
        media.subscribe("call", said.append)
        media.on_packet("call", sent.append)
        media.send(OpenLeg("call"))
        media.send(ConnectLeg("call", *PHONE, "PCMU", 0, 101))
        media.send(Listen("call", "pcm_16k"))
        media.send(QueueAudio("call", 1, sine(440, 1.0).tobytes(), last=True))
        phone = Phone()
        for frame in frames(speech()):
            media.inject("call", phone.packet(frame), PHONE)
            await clock.sleep_until(clock.now() + 0.02)
        media.send(CloseLeg("call"))
        await clock.sleep_until(clock.now() + 0.1)
        return said, sent, clock.now()

    before = time.monotonic()
    said, sent, ended = run_virtual(call())
    assert time.monotonic() - before < ended
    kinds = [type(s) for s in said]
    for expected in (LegOpened, LegLatched, ClipStarted, SpeechBegan, HeardAudio, ClipFinished, SpeechEnded, LegClosed):
        assert expected in kinds
    assert kinds[-1] is LegClosed
    began = next(s for s in said if isinstance(s, SpeechBegan))
    assert began.began_at == pytest.approx(0.75, abs=0.1)
    spoken = b"".join(rtp.parse(p).payload for p in sent)
    assert g711.encode(sine(440, 1.0)).tobytes() in spoken
    again, sent_again, _ = run_virtual(call())
    assert (again, sent_again) == (said, sent)


def test_inline_media_ticks_only_while_a_leg_is_open() -> None:
    """Nothing is left running after the last leg: a virtual loop ends, and injecting is the caller's mistake."""

    async def calls() -> None:
        clock = LoopClock(asyncio.get_running_loop())
        media = InlineMedia(MediaPlane(PlaneOptions(slots=4), SeededIds(1), None), clock)
        for name in ("first", "second"):
            said: list[Said] = []
            media.subscribe(name, said.append)
            media.send(OpenLeg(name))
            await clock.sleep_until(clock.now() + 1.0)
            media.send(CloseLeg(name))
            await clock.sleep_until(clock.now() + 1.01)
            assert [type(s) for s in said] == [LegOpened, LegClosed]
        with pytest.raises(MisuseError):
            media.inject("second", b"", PHONE)

    run_virtual(calls())


def test_statistics_go_on_where_another_plane_takes_over() -> None:
    """The closing log line counts all of a call; asked between two planes, it says what it knows."""

    async def call() -> tuple[list[Said], int]:
        clock = LoopClock(asyncio.get_running_loop())
        media = InlineMedia(MediaPlane(PlaneOptions(slots=4), SeededIds(1), None), clock)
        said: list[Said] = []
        sent: list[bytes] = []
        media.subscribe("call", said.append)
        media.on_packet("call", sent.append)
        media.send(OpenLeg("call"))
        media.send(ConnectLeg("call", *PHONE, "PCMU", 0, 101))
        await clock.sleep_until(1.01)
        media.lose("call")
        media.send(TellStats("call"))
        await clock.sleep_until(1.51)
        media.restore("call")
        await clock.sleep_until(2.51)
        media.send(CloseLeg("call"))
        await clock.sleep_until(2.61)
        return said, len(sent)

    said, sent = run_virtual(call())
    assert [type(one) for one in said] == [LegOpened, LegDoing, LegRestored, LegClosed]
    assert [one.stats.packets_sent for one in said if isinstance(one, LegDoing | LegClosed)] == [51, sent]
    assert sent == pytest.approx(100, abs=3)


# The pool


class Caller:
    """A telephone with a real socket, and everything said of its leg."""

    def __init__(self, pool: MediaPool, leg: str) -> None:
        self.pool, self.leg, self.phone = pool, leg, Phone(leg)
        self.said: list[Said] = []
        self._news = asyncio.Event()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.received: list[rtp.RtpPacket] = []
        self._next_due: float | None = None  # of the stream's next packet
        self.unprotect: Callable[[bytes], bytes] = lambda data: data
        pool.subscribe(leg, self._hear)

    def _hear(self, said: Said) -> None:
        self.said.append(said)
        self._news.set()

    async def hear(self, kind: type[T], within_s: float = 10.0) -> T:
        """The first of this kind that was said or will be."""
        async with asyncio.timeout(within_s):
            while not (found := [s for s in self.said if isinstance(s, kind)]):
                self._news.clear()
                await self._news.wait()
        return found[0]

    async def open(self, **options: object) -> LegOpened:
        self.pool.send(OpenLeg(self.leg, **options))  # type: ignore[arg-type]
        opened = await self.hear(LegOpened)
        self.far_end = ("127.0.0.1", opened.port)
        self.pool.send(ConnectLeg(self.leg, *self.socket.getsockname(), "PCMU", 0, 101))
        return opened

    async def talk(self, payloads: list[bytes], payload_type: int = 0) -> float:
        """A packet every 20 ms, taking in what comes meanwhile. By how much the latest of them was late, in seconds.

        In real time: what listens is a worker process on the machine's clock, and counts late packets as lost. A
        telephone's clock goes on between two talks, so its packets keep their distance from the playout.
        """
        clock, late_s = SystemClock(), 0.0
        due = self._resume(clock.now())
        for k, payload in enumerate(payloads):
            late_s = max(late_s, clock.now() - due - 0.02 * k)
            self.socket.sendto(self.phone.build(payload_type, payload), self.far_end)
            self.phone.timestamp += FRAME
            await clock.sleep_until(due + 0.02 * (k + 1))
            self.take()
        self._next_due = due + 0.02 * len(payloads)
        return late_s

    def _resume(self, now: float) -> float:
        """When the next packet is due, or was, less than 20 ms ago: as after silence that was not sent."""
        if self._next_due is None:
            return now
        unsent = max(0, int((now - self._next_due) / 0.02))
        self.phone.timestamp += unsent * FRAME
        return self._next_due + 0.02 * unsent

    def take(self) -> None:
        while True:
            try:
                data = self.socket.recv(2048)
            except BlockingIOError:
                return
            if not rtp.is_rtcp(data):
                self.received.append(rtp.parse(self.unprotect(data)))

    async def close(self) -> LegClosed:
        self.pool.send(CloseLeg(self.leg))
        closed = await self.hear(LegClosed)
        self.socket.close()
        return closed

    @property
    def heard(self) -> np.ndarray:
        payloads = [p.payload for p in self.received if p.payload_type == 0]
        return g711.decode(np.frombuffer(b"".join(payloads), np.uint8))


def free_range(pairs: int) -> tuple[int, int]:
    """A stretch of ports that is free at this moment."""
    for first in range(30000 + os.getpid() % 500 * 40, 60000, 2 * pairs):
        sockets = []
        try:
            for port in range(first, first + 2 * pairs):
                sockets.append(probe := socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
        return first, first + 2 * pairs - 1
    raise AssertionError("no free ports")


PUNCTUAL_S = 0.02
"""As late as a packet may leave: the jitter buffer begins with 20 to 40 ms."""

Start = Callable[..., "asyncio.Future[MediaPool]"]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    pools: list[MediaPool] = []

    async def begin(
        *,
        workers: int = 1,
        pairs: int = 16,
        ports: tuple[int, int] | None = None,
        hung_after_s: float = 10.0,
        io_uring: bool = True,
    ) -> MediaPool:
        options = PlaneOptions(slots=32)
        pool = MediaPool(
            workers=workers,
            bind="127.0.0.1",
            rtp_ports=ports or free_range(pairs),
            clock=SystemClock(),
            options=options,
            hung_after_s=hung_after_s,
            io_uring=io_uring,
        )
        pools.append(pool)
        await pool.start()
        return pool

    yield begin  # type: ignore[misc]
    for pool in pools:
        await pool.close()


def coded(pcm: np.ndarray) -> list[bytes]:
    return [g711.encode(frame).tobytes() for frame in frames(pcm)]


async def test_one_call_from_end_to_end(start: Start, tmp_path: Path) -> None:
    """Over real UDP and a real process: a clip, speech with its audio, a digit, the echo, the recording."""
    pool = await start()
    caller = Caller(pool, "call")
    await caller.open(record=str(tmp_path / "call.wav"))
    pool.send(Listen("call", "ulaw_8k"))
    pool.send(QueueAudio("call", 1, sine(300, 0.5).tobytes(), last=True))
    await caller.talk(coded(speech()[:20000]))
    assert (await caller.hear(ClipFinished)).played_s == 0.5
    at = caller.heard.tolist().index(int(through_code(sine(300, 0.5))[1])) - 1
    assert np.array_equal(caller.heard[at : at + 4000], through_code(sine(300, 0.5)))
    pool.send(SetLoopback("call", True))
    pool.send(Listen("call", None))
    tone = sine(500, 0.4)
    before = len(caller.heard)
    await caller.talk(coded(np.concatenate([tone, np.zeros(8 * FRAME, np.int16)])))
    echoed = caller.heard[before:].tobytes()
    assert through_code(tone)[:2400].tobytes() in echoed
    began = caller.phone.timestamp
    for payload in [bytes([5, 10, 0, 160]), bytes([5, 10, 1, 64])] + [bytes([5, 138, 1, 224])] * 3:
        caller.socket.sendto(caller.phone.build(101, payload, timestamp=began), caller.far_end)
    pressed = await caller.hear(DigitPressed)
    assert (pressed.digit, pressed.duration_ms) == ("5", 60)
    speech_began = await caller.hear(SpeechBegan)
    pieces = [s for s in caller.said if isinstance(s, HeardAudio)]
    assert len(pieces) >= 10
    assert caller.said.index(speech_began) < caller.said.index(pieces[0])
    closed = await caller.close()
    assert closed.stats.packets_lost == closed.stats.packets_foreign == closed.stats.packets_malformed == 0
    started = await caller.hear(RecordingStarted)
    with wave.open(started.path) as file:
        assert file.getnframes() / 8000 == pytest.approx(closed.at - started.at, abs=0.1)


def rings_of(pool: MediaPool) -> list[int]:
    """How many descriptors of io_uring each worker has open."""
    folders = [Path(f"/proc/{link.pid}/fd") for link in pool._links]
    return [sum("[io_uring]" in os.readlink(fd) for fd in folder.iterdir()) for folder in folders]


@pytest.mark.usefixtures("any_rings")
async def test_workers_use_io_uring_where_it_is_allowed_and_wanted(start: Start) -> None:
    """The kernel's own list of what a worker has open: rings by default, and with `io_uring = false` none."""
    assert min(rings_of(await start())) > 0
    assert rings_of(await start(io_uring=False)) == [0]


async def test_a_call_without_io_uring(start: Start) -> None:
    """`io_uring = false`, and every machine that forbids it: the same call with a system call for each packet."""
    caller = Caller(await start(io_uring=False), "call")
    await caller.open()
    caller.pool.send(QueueAudio("call", 1, sine(300, 0.2).tobytes(), last=True))
    await caller.talk(coded(speech()[:4000]))
    assert (await caller.hear(ClipFinished)).played_s == 0.2
    stats = (await caller.close()).stats
    assert (stats.packets_received, stats.packets_lost) == (25, 0)


async def test_digits_reach_the_phone(start: Start) -> None:
    """RFC 4733 out over the wire, at the pace of a telephone."""
    caller = Caller(await start(), "call")
    await caller.open()
    caller.pool.send(SendDigits("call", "7*", 60))
    await caller.talk([bytes([0xFF]) * FRAME] * 20)
    events = [p for p in caller.received if p.payload_type == 101]
    ended = {p.timestamp: DIGITS[p.payload[0]] for p in events if p.payload[1] & 0x80}
    assert "".join(ended.values()) == "7*"
    await caller.close()


async def test_reports_tell_the_time_of_day(start: Start) -> None:
    """RFC 3550 4: the wall's clock, by which others put our reports beside theirs."""
    caller = Caller(await start(), "call")
    await caller.open()
    caller.pool.send(ConnectLeg("call", *caller.socket.getsockname(), "PCMU", 0, 101, rtcp_mux=True))
    await caller.talk([bytes([0xFF]) * FRAME] * 5)
    before = time.time()
    caller.pool.send(CloseLeg("call"))
    await caller.hear(LegClosed)
    goodbye = next(data for data in iter(lambda: caller.socket.recv(2048), b"") if rtp.is_rtcp(data))
    caller.socket.close()
    (report,) = rtcp.parse(goodbye)
    assert report.sender is not None
    assert report.sender.ntp / 2**32 - 2_208_988_800 == pytest.approx(before, abs=1.0)


async def test_a_port_that_is_taken_is_passed_over(start: Start) -> None:
    """Another program in our range costs nothing but its port; when none is left the leg fails with a reason."""
    first, last = free_range(3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as squatter:
        squatter.bind(("127.0.0.1", first + 1))
        pool = await start(ports=(first, last))
        callers = [Caller(pool, f"call{k}") for k in range(3)]
        assert [(await caller.open()).port for caller in callers[:2]] == [first + 2, first + 4]
        pool.send(OpenLeg("call2"))
        assert (await callers[2].hear(LegFailed)).reason == "no free RTP port"
        for caller in callers[:2]:
            await caller.close()
        # Closed ports rest: a new call does not get one at once, with the last caller's packets still under way.
        late = Caller(pool, "late")
        pool.send(OpenLeg("late"))
        assert (await late.hear(LegFailed)).reason == "no free RTP port"


async def test_a_pool_knows_when_it_is_full(start: Start) -> None:
    """One leg for each pair of its ports, over all workers: then it has no room, says so to who asks for a leg all the
    same, and to the operator; a leg that closes makes room."""
    pool = await start(workers=2, ports=free_range(2))
    callers = [Caller(pool, f"call{k}") for k in range(3)]
    assert pool.has_room
    for caller in callers[:2]:
        await caller.open()
    assert not pool.has_room
    with capture_logs() as logs:
        pool.send(OpenLeg("call2"))
        assert (await callers[2].hear(LegFailed)).reason == "no media worker has room"
    assert logs == [
        {"event": "media.no_leg", "log_level": "warning", "leg": "call2", "reason": "no media worker has room"}
    ]
    await callers[0].close()
    assert pool.has_room


def kill(pool: MediaPool, leg: str, sign: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pool._link_of[leg].pid, sign)


async def test_a_worker_that_dies_is_replaced_and_its_calls_go_on(start: Start, tmp_path: Path) -> None:
    """On the ports they had: the bot's words go on with none lost, as one clip; the caller is heard again; the
    recording keeps its clock, and its beginning; the trace goes on beside. Other workers' calls do not notice."""
    pool = await start(workers=2)
    callers = [Caller(pool, f"call{k}") for k in range(2)]
    record, trace = tmp_path / "call.wav", tmp_path / "packets.trace"
    opened = await callers[0].open(record=str(record), trace=str(trace))
    await callers[1].open()
    pool.send(Listen("call0", "ulaw_8k"))
    said = np.concatenate([sine(300 + 20 * k, 0.05) for k in range(60)])
    pool.send(QueueAudio("call0", 1, said.tobytes(), last=True))
    await callers[0].talk(coded(sine(440, 1.4)))
    kill(pool, "call0")
    pool.send(SetLoopback("call1", True))
    await asyncio.gather(callers[0].talk(coded(speech()[:32000])), callers[1].talk(coded(sine(440, 0.3))))
    restored = await callers[0].hear(LegRestored)
    assert (restored.port, restored.ssrc == opened.ssrc) == (opened.port, False)
    assert (await callers[0].hear(ClipFinished)).complete
    assert (await callers[0].hear(ClipFinished)).played_s == pytest.approx(3.0, abs=0.02)
    callers[0].take()  # what came after the caller's own last word, where the next worker was slow to start
    assert [type(one) for one in callers[0].said].count(ClipStarted) == 1
    before, after = (
        [p for p in callers[0].received if p.ssrc == ssrc and p.payload_type == 0]
        for ssrc in (opened.ssrc, restored.ssrc)
    )
    assert after[0].marker
    heard = [g711.decode(np.frombuffer(b"".join(p.payload for p in part), np.uint8)) for part in (before, after)]
    first, second = ([heard_in(part, k) for k in range(60)] for part in heard)
    assert all(a or b for a, b in zip(first, second, strict=True)), "a piece that was not heard at all"
    assert 0 < sum(a and b for a, b in zip(first, second, strict=True)) < 20, "what was said twice"
    await callers[0].hear(SpeechBegan)
    assert not [s for s in callers[1].said if isinstance(s, MediaDied | LegRestored)]
    assert len(callers[1].received) > 10
    closed = await callers[0].close()
    with wave.open(str(record)) as file:
        recorded = np.frombuffer(file.readframes(10**6), "<i2").reshape(-1, 2)
        started = await callers[0].hear(RecordingStarted)
        assert file.getnframes() / 8000 == pytest.approx(closed.at - started.at, abs=0.1)
    assert [type(one) for one in callers[0].said].count(RecordingStarted) == 1
    lost_from, lost_to = (round(8000 * (at - started.at)) for at in (restored.at - restored.without_s, restored.at))
    assert np.abs(recorded[2000:4000, 0]).max() > 7000
    assert np.abs(recorded[lost_from + 400 : lost_to - 400]).max() == 0
    assert np.abs(recorded[lost_to + 4000 :, 1]).max() > 7000
    ticks = [[one.tick for one in read_trace(path.read_bytes())] for path in (trace, tmp_path / "packets.2.trace")]
    assert 0 < ticks[0][-1] < ticks[1][0] == pytest.approx((restored.at - opened.at) / 0.02, abs=20)


def heard_in(heard: np.ndarray, number: int) -> bool:
    """Whether the tone of this number sounds anywhere for most of its 50 ms."""
    tone = through_code(sine(300 + 20 * number, 0.05))[40:360]
    return tone.tobytes() in heard.tobytes()


async def test_a_protected_leg_goes_on_under_its_keys(start: Start) -> None:
    """With another SSRC, so that no key stream comes twice (RFC 3711 9.1); and the caller is heard, though it had
    wrapped before."""
    pool, ours, theirs = await start(), bytes(range(30)), bytes(range(30, 60))
    caller = Caller(pool, "call")
    caller.phone.sequence = 0xFFF8
    outbound = Session(Policy(key=theirs, ssrc_type=Policy.SSRC_ANY_OUTBOUND))
    inbound = Session(Policy(key=ours, ssrc_type=Policy.SSRC_ANY_INBOUND))
    opened = await caller.open()
    build = caller.phone.build
    caller.phone.build = lambda *packet, **options: outbound.protect(build(*packet, **options))  # type: ignore[method-assign]
    caller.unprotect = inbound.unprotect
    srtp = Srtp("AES_CM_128_HMAC_SHA1_80", ours, theirs)
    pool.send(ConnectLeg("call", *caller.socket.getsockname(), "PCMU", 0, 101, srtp=srtp))
    pool.send(SetLoopback("call", True))
    await caller.talk(coded(sine(440, 0.5)))
    kill(pool, "call")
    restored = await caller.hear(LegRestored)
    await caller.talk(coded(sine(500, 0.5)))
    after = [p for p in caller.received if p.ssrc == restored.ssrc]
    echoed = g711.decode(np.frombuffer(b"".join(p.payload for p in after), np.uint8))
    assert through_code(sine(500, 0.5))[160:2400].tobytes() in echoed.tobytes()
    assert {p.ssrc for p in caller.received} == {opened.ssrc, restored.ssrc}
    assert (await caller.close()).stats.packets_forged == 0


async def test_bridges_and_browsers_outlive_their_worker(start: Start) -> None:
    """Two callers who hear each other do so again; a leg whose packets are relayed gives and takes them again."""
    pool = await start()
    one, other, browser = Caller(pool, "c"), Caller(pool, "c.2"), Caller(pool, "browser")
    for caller in (one, other):
        await caller.open()
    pool.send(OpenLeg("browser", kind="relayed"))
    pool.send(ConnectLeg("browser", "", 0, "PCMU", 0))
    pool.send(Bridge("c", "c.2"))
    await browser.hear(PacketReady)
    kill(pool, "c")
    for caller in (one, other, browser):
        await caller.hear(LegRestored)
        caller.received.clear()
        caller.said.clear()
    pool.send(SetLoopback("browser", True))
    tone, page = sine(440, 0.6), Phone("browser")
    for frame in frames(tone):
        pool.send(RelayPacket("browser", page.packet(frame), time.monotonic()))
        await asyncio.gather(one.talk(coded(frame)), other.talk([bytes([0xFF]) * FRAME]))
    assert sum(np.abs(other.heard) > 7000) > 1000
    assert not np.abs(one.heard).any()
    async with asyncio.timeout(5):
        while not any(loudest(s) > 7000 for s in browser.said if isinstance(s, PacketReady)):
            browser.said.clear()
            await browser.hear(PacketReady)


def loudest(packet: PacketReady) -> int:
    return int(g711.decode(np.frombuffer(rtp.parse(packet.data).payload, np.uint8)).max())


async def test_what_a_dead_worker_had_counted_is_not_lost(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked now and then, unnoticed by the call; its successor hears no packet, and the call has had some."""
    monkeypatch.setattr("gateway.media.io.pool._ASKED_EVERY", 1)
    pool = await start()
    caller = Caller(pool, "call")
    await caller.open()
    await caller.talk([bytes([0xFF]) * FRAME] * 20)
    beats: asyncio.Queue[int] = asyncio.Queue()
    pool.on_pulse = lambda worker, pulse: beats.put_nowait(worker)
    for _ in range(2):  # what was asked at the first is answered before the second
        await asyncio.wait_for(beats.get(), 10)
    kill(pool, "call")
    await caller.hear(LegRestored)
    assert (await caller.close()).stats.packets_received == 20
    assert not [one for one in caller.said if isinstance(one, LegDoing)]


async def test_a_worker_that_cannot_be_started_again_ends_its_calls(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process is to be had: it is tried three times, then the calls are told; and tried on, for calls to come."""
    pool = await start()
    caller = Caller(pool, "call")
    await caller.open()

    async def refuse(link: WorkerLink, setup: WorkerSetup) -> None:
        raise BlockingIOError("no process to be had")

    monkeypatch.setattr(WorkerLink, "start", refuse)
    kill(pool, "call")
    assert (await caller.hear(MediaDied)).leg == "call"
    up = asyncio.Event()
    pool.on_pulse = lambda worker, pulse: up.set()
    monkeypatch.undo()
    await asyncio.wait_for(up.wait(), 20)
    await Caller(pool, "again").open()


async def test_calls_wait_for_their_worker_and_may_end_meanwhile(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a leg is told between two workers is done by the next, and its end is answered at once."""
    pool = await start()
    staying, leaving = Caller(pool, "stays"), Caller(pool, "leaves")
    for caller in (staying, leaving):
        await caller.open()
    lost = asyncio.Event()
    monkeypatch.setattr(pool, "lost", lambda link: (MediaPool.lost(pool, link), lost.set()))
    kill(pool, "stays")
    await lost.wait()
    pool.send(CloseLeg("leaves"))
    pool.send(SendDigits("stays", "5", 60))
    pool.send(QueueAudio("stays", 1, sine(440, 0.2).tobytes(), last=True))
    await leaving.hear(LegClosed, within_s=0.4)
    await staying.hear(LegRestored)
    assert (await staying.hear(ClipFinished)).complete
    await staying.talk([bytes([0xFF]) * FRAME] * 5)
    assert {p.payload_type for p in staying.received} == {0, 101}
    assert not [one for one in leaving.said if isinstance(one, LegRestored | MediaDied)]


async def test_a_worker_that_dies_again_and_again_takes_its_calls_along(start: Start) -> None:
    """The third time in a minute its legs are told that it is over; a new worker comes all the same."""
    pool = await start()
    caller = Caller(pool, "call")
    await caller.open()
    for _ in range(2):
        kill(pool, "call")
        await caller.hear(LegRestored)
        caller.said.clear()
    up = asyncio.Event()
    kill(pool, "call")
    assert (await caller.hear(MediaDied)).leg == "call"
    assert pool.losses == Losses(worker_deaths=3, legs_restored=2, legs_given_up=1)
    pool.on_pulse = lambda worker, pulse: up.set()
    await asyncio.wait_for(up.wait(), 20)
    again = Caller(pool, "again")
    await again.open()


async def test_a_worker_that_hangs_is_replaced_and_its_calls_go_on(start: Start) -> None:
    """No call hangs for ever: a worker that goes on living but says nothing any more is as good as dead."""
    pool = await start(workers=2, hung_after_s=3.0)
    callers = [Caller(pool, f"call{k}") for k in range(2)]
    for caller in callers:
        await caller.open()
    kill(pool, "call0", signal.SIGSTOP)
    restored = await callers[0].hear(LegRestored)
    assert 3.0 < restored.without_s < 20.0
    assert not [s for s in callers[1].said if isinstance(s, LegRestored | MediaDied)]


async def test_more_legs_than_room_are_refused(start: Start) -> None:
    """Full is an answer, not a hang; a leg that closes makes room again."""
    pool = await start(pairs=40)
    callers = [Caller(pool, f"call{k}") for k in range(33)]
    for caller in callers[:32]:
        await caller.open()
    pool.send(OpenLeg("call32"))
    assert "room" in (await callers[32].hear(LegFailed)).reason
    await callers[0].close()
    callers[32].said.clear()
    await callers[32].open()


async def test_a_flood_on_one_port_leaves_the_other_calls_alone(start: Start) -> None:
    """Thousands of packets a second of rubbish at one call: the one beside it loses nothing.

    On a machine so busy that this process itself sends late, the echo has gaps that no flood made: such a take is
    no evidence, and the flood comes again.
    """
    pool = await start()
    victim, caller = Caller(pool, "victim"), Caller(pool, "call")
    await victim.open()
    await caller.open()
    pool.send(SetLoopback("call", True))

    async def flood() -> None:
        rng, clock = np.random.default_rng(1), SystemClock()
        for _ in range(50):  # for as long as the caller talks beside it
            due = clock.now() + 0.02
            for _ in range(100):
                victim.socket.sendto(rng.bytes(172), victim.far_end)
            await clock.sleep_until(due)

    for _ in range(30):
        caller.received.clear()
        _, late_s = await asyncio.gather(flood(), caller.talk(coded(sine(440, 1.0))))
        await caller.talk(coded(np.zeros(1600, np.int16)))
        if late_s < PUNCTUAL_S:
            break
    else:
        pytest.fail("this process never came to send in time")
    assert through_code(sine(440, 1.0))[160:6400].tobytes() in caller.heard.tobytes()
    assert (await caller.close()).stats.packets_lost == 0
    assert (await victim.close()).stats.packets_malformed > 100


def test_a_port_range_that_is_too_small_is_a_configuration_error() -> None:
    """Told before anything is started."""
    for ports in ((40000, 40001), (0, 10), (50000, 40000)):
        with pytest.raises(ConfigError):
            MediaPool(workers=2, bind="127.0.0.1", rtp_ports=ports, clock=SystemClock())
