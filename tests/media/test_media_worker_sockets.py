"""The sockets of a worker's legs: who is heard through which, real ones on loopback, under a clock moved by hand.

Each rule holds for both ways of talking to the kernel: a system call for each packet, and io_uring where there is one.
Loopback delivers a datagram before `sendto` returns, so nothing here waits.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from media_world import Phone, sine

from gateway.core.ids import SeededIds
from gateway.media import rtp
from gateway.media.commands import CloseLeg, ConnectLeg, LegClosed, LegLatched, OpenLeg, Srtp
from gateway.media.plane import TICK_S, MediaPlane, PlaneOptions
from gateway.media.ports import Said
from gateway.media.worker.network import LegSockets, Network
from gateway.media.worker.uring import Rings

TONE = sine(440, 0.02)


class Peer:
    """A telephone's socket."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.address = self.sock.getsockname()
        self.phone = Phone()

    def says(self, port: int) -> None:
        self.sock.sendto(self.phone.packet(TONE), ("127.0.0.1", port))

    def heard(self) -> list[rtp.RtpPacket]:
        packets = []
        try:
            while True:
                packets.append(self.sock.recv(2048))
        except BlockingIOError:
            return [rtp.parse(p) for p in packets if not rtp.is_rtcp(p)]


class Line:
    """One leg of one plane with its sockets, ticking by hand."""

    def __init__(self, port: int, rings: Rings | None) -> None:
        self.port, self.now = port, 100.0
        self.plane = MediaPlane(PlaneOptions(slots=2), SeededIds(1), None)
        self.network = Network(self.plane.table, rings)
        self.sockets = LegSockets("127.0.0.1", port)
        self.plane.command(OpenLeg("call"), self.now, port=port)
        self.network.attend("call", self.sockets)

    def _send(self) -> None:
        rows, packets, others = self.plane.depart(self.now)
        self.network.send(rows, packets)
        self.network.send_others(others)

    def connect(self, peer: Peer, srtp: Srtp | None = None) -> None:
        self.plane.command(ConnectLeg("call", *peer.address, "PCMU", 0, 101, srtp=srtp), self.now)
        self.network.follow("call", self.now)

    def tick(self) -> list[Said]:
        self._send()
        while self.network.read(self.now):
            pass
        said = self.plane.receive(self.now, *self.network.take())
        self.network.follow_latched(said, self.now)
        self.now += TICK_S
        return said

    def close(self) -> LegClosed:
        self.network.ignore("call")
        self.plane.command(CloseLeg("call"), self.now)
        self._send()
        self.network.close("call")
        (closed,) = (s for s in self.plane.receive(self.now, []) if isinstance(s, LegClosed))
        return closed


LineBy = Callable[[Rings | None], Line]


@pytest.fixture
def line_by() -> Iterator[LineBy]:
    with ExitStack() as opened:

        def make(rings: Rings | None) -> Line:
            for port in range(23000, 23400, 2):
                try:
                    made = Line(port, rings)
                except OSError:
                    continue
                opened.callback(made.sockets.close)
                return made
            raise AssertionError("no free port")

        yield make


@pytest.fixture
def line(rings: Rings | None, line_by: LineBy) -> Line:
    return line_by(rings)


def test_a_latched_peer_is_heard_and_spoken_to_on_the_same_port(line: Line) -> None:
    """A call keeps its one port: what the phone hears comes from where it sends, before and after it was latched."""
    peer = Peer()
    line.connect(peer)
    for _ in range(5):
        peer.says(line.port)
        line.tick()
    assert line.sockets.peer_address == peer.address
    assert len(peer.heard()) == 5
    assert line.close().stats.packets_received == 5


def test_strangers_are_still_noticed_and_change_nothing(line: Line) -> None:
    """Symmetric RTP latches once: a stranger who finds the port is counted, neither heard nor answered."""
    peer, stranger = Peer(), Peer()
    line.connect(peer)
    for _ in range(5):
        peer.says(line.port)
        line.tick()
        stranger.says(line.port)
    line.tick()
    stats = line.close().stats
    assert (stats.packets_received, stats.packets_foreign) == (5, 5)
    assert stranger.heard() == []


def test_a_peer_that_moves_is_followed(line: Line) -> None:
    """A re-INVITE names another address: the call is spoken to there at once, heard from there, and latched anew."""
    first, second = Peer(), Peer()
    line.connect(first)
    first.says(line.port)
    line.tick()
    line.connect(second)
    assert line.sockets.peer is None
    line.tick()
    assert len(second.heard()) == 1
    second.phone = first.phone
    second.says(line.port)
    assert any(isinstance(s, LegLatched) and s.port == second.address[1] for s in line.tick())
    assert line.sockets.peer_address == second.address
    first.heard(), second.heard()
    line.tick()
    assert (len(first.heard()), len(second.heard())) == (0, 1)


def test_a_peer_whose_nat_moves_it_is_followed(line: Line) -> None:
    """Its stream falls silent and goes on from another port: heard there, and spoken to there alone."""
    before, after = Peer(), Peer()
    line.connect(before)
    before.says(line.port)
    for _ in range(510):
        line.tick()
    after.phone = before.phone
    after.says(line.port)
    assert any(isinstance(s, LegLatched) and s.port == after.address[1] for s in line.tick())
    assert line.sockets.peer_address == after.address
    before.heard(), after.heard()
    after.says(line.port)
    line.tick()
    assert (len(before.heard()), len(after.heard())) == (0, 1)
    assert line.close().stats.packets_received == 3


def test_what_came_while_the_peer_was_latched_is_not_lost(line: Line) -> None:
    """Packets on their way when the second socket opens wait at the first one, and are played."""
    peer = Peer()
    line.connect(peer)
    for _ in range(3):
        peer.says(line.port)
    line.tick()
    peer.says(line.port)
    line.tick()
    assert line.close().stats.packets_received == 4


def test_nobody_else_gets_the_port(line: Line) -> None:
    """The second socket shares the port with the first, and with nobody: a stranger cannot listen in."""
    peer = Peer()
    line.connect(peer)
    peer.says(line.port)
    line.tick()
    assert line.sockets.peer is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", line.port))


def test_a_phone_that_is_away_for_a_moment_misses_only_that_moment(line: Line) -> None:
    """An ICMP error tells of an earlier packet; it must not cost the next one."""
    peer = Peer()
    line.connect(peer)
    peer.says(line.port)
    line.tick()
    peer.sock.close()
    for _ in range(3):
        line.tick()
    back = Peer.__new__(Peer)
    back.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    back.sock.bind(peer.address)
    back.sock.setblocking(False)
    for _ in range(4):
        line.tick()
    assert len(back.heard()) == 4
    assert line.network.unsent <= 1


def test_a_protected_leg_is_opened_packet_by_packet(line: Line) -> None:
    """SRTP does not take the way for plain audio: a plain packet on a protected leg is refused."""
    peer = Peer()
    line.connect(peer, Srtp("AES_CM_128_HMAC_SHA1_80", bytes(range(30)), bytes(range(30, 60))))
    for _ in range(3):
        peer.says(line.port)
        line.tick()
    stats = line.close().stats
    assert (stats.packets_received, stats.packets_forged) == (0, 3)


def test_a_ring_that_fails_costs_no_packet(any_rings: Rings, line_by: LineBy) -> None:
    """Should the kernel refuse io_uring in mid-call (a policy may change), the call goes on with plain sockets."""
    line, peer = line_by(any_rings), Peer()
    line.connect(peer)
    for k in range(6):
        peer.says(line.port)
        if k == 3:
            any_rings.close()
        line.tick()
    assert len(peer.heard()) == 6
    assert line.close().stats.packets_received == 6
