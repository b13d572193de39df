"""A worker's own loop, in this process and with real sockets: its only clock is moved by its own sleeps.

Loopback delivers a datagram before `sendto` returns, so a packet is there at the very moment the scenario says.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count

import numpy as np
import pytest
from media_world import Phone, frames, sine, through_code
from test_media_io import free_range
from test_media_lent import way

from gateway.media import g711, rtp
from gateway.media.commands import AnyCommand, Bridge, ConnectLeg, LegDoing, LegOpened, OpenLeg, TellStats
from gateway.media.options import PlaneOptions
from gateway.media.plane import TICK_S
from gateway.media.ports import Said
from gateway.media.wire import FromWorker, Guest, WorkerSetup, of_reports, pack
from gateway.media.worker import loop, pacing
from gateway.media.worker.lending import Borrower
from gateway.media.worker.loop import Worker
from gateway.media.worker.uring import Rings

STEP_S = 0.005


class Scene:
    """The gateway's end of a worker, and the time it lives in. What is to happen happens while it sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.said: list[FromWorker] = []
        self.woken_at: list[float] = []
        """Since its first step was due."""

        self._plan: list[tuple[float, int, Callable[[], None]]] = []
        self._order, self._reports = count(), of_reports()
        self._gateway, control = socket.socketpair()
        ours, theirs = way()
        self.sockets = [self._gateway, control, ours, theirs]
        for end in self.sockets:
            end.setblocking(False)
        setup = WorkerSetup("127.0.0.1", free_range(8), PlaneOptions(slots=8), Guest("none"))
        self._worker = Worker(control, setup, Borrower(theirs))

    # What the worker takes for the module `time`

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self._plan and self._plan[0][0] <= until:
            due, _, happen = heappop(self._plan)
            self.now = max(self.now, due)
            happen()
        self.now = until
        self.woken_at.append(until - 1000.0)

    # The gateway

    def at(self, seconds: float, happen: Callable[[], None]) -> None:
        """Since the worker's first step was due."""
        heappush(self._plan, (1000.0 + seconds, next(self._order), happen))

    def tell(self, *commands: AnyCommand) -> None:
        self._gateway.sendall(pack(commands))

    def heard(self, kind: type[Said], leg: str) -> Said:
        """The latest of its kind."""
        with suppress(BlockingIOError):
            self.said += self._reports.feed(self._gateway.recv(1 << 20))
        return next(s for s in reversed(self.said) if isinstance(s, kind) and s.leg == leg)  # type: ignore[union-attr]

    def run(self, seconds: float) -> None:
        """Then the gateway goes away, which ends a worker."""
        self.at(seconds, lambda: self._gateway.shutdown(socket.SHUT_WR))
        self._worker.run()
        self.woken_at = [at for at in self.woken_at if at < seconds]

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        for group in self._worker._groups:  # what the end of its process closes
            for leg in list(group.network._sockets):
                group.network.close(leg)


class Caller:
    """A telephone that takes part in a scene, by the leg it is on."""

    def __init__(self, scene: Scene, leg: str = "call") -> None:
        self._scene, self.leg, self.phone = scene, leg, Phone(leg)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        scene.sockets.append(self.sock)
        scene.tell(OpenLeg(leg), ConnectLeg(leg, *self.sock.getsockname(), "PCMU", 0))

    def says(self, pcm: np.ndarray, seconds: float) -> None:
        """A packet, at this moment."""
        self._scene.at(seconds, lambda: self._send(self.phone.packet(pcm)))

    def _send(self, packet: bytes) -> None:
        opened = self._scene.heard(LegOpened, self.leg)
        assert isinstance(opened, LegOpened)
        self.sock.sendto(packet, ("127.0.0.1", opened.port))

    def heard(self) -> np.ndarray:
        packets = []
        with suppress(BlockingIOError):
            while True:
                packets.append(self.sock.recv(2048))
        payloads = [rtp.parse(p).payload for p in packets if not rtp.is_rtcp(p)]
        return g711.decode(np.frombuffer(b"".join(payloads), np.uint8))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, rings: Rings | None) -> Iterator[Scene]:
    monkeypatch.setattr(loop, "build_rings", lambda: rings)
    made = Scene()
    monkeypatch.setattr(loop, "time", made)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("came_ms", "known_ms"),
    [((5, 5), 0), ((1, 9), 0), ((11, 19), 0), ((1, 11), 10), ((9, 11), 10), ((19, 21), 10), ((1, 19), 10)],
)
def test_when_a_packet_came_is_known_to_10_ms(scene: Scene, came_ms: tuple[int, int], known_ms: int) -> None:
    """Of a leg whose turn is every 20 ms: its sockets are read half-way between as well. The jitter of packets that
    come by turns so and so long after their leg's turn (RFC 3550 A.8) tells by which reading each was found."""
    caller = Caller(scene)
    for k in range(5, 205):
        caller.says(sine(440, TICK_S), k * TICK_S + came_ms[k % 2] / 1000)
    scene.at(4.2, lambda: scene.tell(TellStats("call")))
    scene.at(4.3, lambda: scene.heard(LegDoing, "call"))
    scene.run(4.4)
    doing = scene.heard(LegDoing, "call")
    assert isinstance(doing, LegDoing)
    assert doing.stats.packets_received == 200
    assert doing.stats.jitter_ms == pytest.approx(known_ms, abs=0.01)


@pytest.mark.parametrize("legs", [1, 2, 3])
def test_nobody_is_woken_for_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch, legs: int) -> None:
    """The worker gets up for each turn of a group that has legs, and half-way between: every 10 ms while its legs are
    of one group or of two opposite ones; with legs of a third, every 5 ms."""
    monkeypatch.setattr(loop, "_CROWDED", 1)
    for k in range(legs):
        Caller(scene, f"call{k}")
    scene.run(1.0)
    every = 2 if legs < 3 else 1
    assert scene.woken_at == pytest.approx([STEP_S * k for k in range(every, 200, every)])


def test_what_waits_in_one_socket_is_read_in_one_step(scene: Scene) -> None:
    """A burst of three packets for the second of three legs, after a stall somewhere on the way: none of them waits
    for the next reading, when it would be late, and no other leg's socket is taken for it."""
    callers = [Caller(scene, f"call{k}") for k in range(3)]
    for caller in callers:
        caller.says(sine(440, TICK_S), 5 * TICK_S + 0.001)  # latched by this
    for _ in range(3):
        callers[1].says(sine(440, TICK_S), 9 * TICK_S + 0.018)
    scene.at(10 * TICK_S + 0.005, lambda: scene.tell(*(TellStats(caller.leg) for caller in callers)))
    scene.at(11 * TICK_S + 0.005, lambda: scene.heard(LegDoing, "call2"))
    scene.run(0.3)
    counts = []
    for caller in callers:
        doing = scene.heard(LegDoing, caller.leg)
        assert isinstance(doing, LegDoing)
        counts.append(doing.stats.packets_received)
    assert counts == [1, 4, 1]


def test_a_step_sends_in_bursts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pacing` says of when packets leave is what a worker does: here one at a time, a millisecond apart."""
    for name, value in (("time", scene), ("_BURST", 1), ("_PACKET_S", 1e-3)):
        monkeypatch.setattr(pacing, name, value)
    for k in range(3):
        Caller(scene, f"call{k}")
    scene.run(0.5)
    turn = 20 * TICK_S
    woken = [at - turn for at in scene.woken_at if -0.001 < at - turn < 0.009]
    assert woken == pytest.approx([0.0, 0.001, 0.002, 0.003], abs=1e-4)


def test_the_legs_of_a_call_are_of_one_group(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However crowded it is there: only on one plane they can hear each other."""
    monkeypatch.setattr(loop, "_CROWDED", 1)
    caller, other, target = (Caller(scene, leg) for leg in ("c-1", "c-2", "c-1.2"))
    scene.tell(Bridge("c-1", "c-1.2"))
    tone = sine(440, 0.4)
    for k, frame in enumerate(frames(tone)):
        caller.says(frame, (5 + k) * TICK_S + 0.003)
    scene.run(1.0)
    assert through_code(tone).tobytes() in target.heard().tobytes()
    assert not other.heard().any()
