"""The two ways of talking to many connected sockets at once, `PlainPeers` and `RingPeers`: they do the same."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import closing

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from gateway.core.ids import SeededIds
from gateway.media.datagrams import USUAL_SIZE
from gateway.media.legs import LegTable
from gateway.media.worker.peers import Peer, Peers, PlainPeers, RingPeers
from gateway.media.worker.uring import LARGEST, Rings

SLOTS = 7


class Pairs:
    """Sockets of ours, joined by row, and the phones they are connected to."""

    def __init__(self, usual: int, rings: Rings | None) -> None:
        """Plain audio is usual in the first rows."""
        table = LegTable(SLOTS, SeededIds(1))
        table.usual_source[:usual] = True
        self.peers: Peers = PlainPeers(table) if rings is None else RingPeers(table, rings)
        self.ours: dict[int, socket.socket] = {}
        self.phones: dict[int, socket.socket] = {}

    def join(self, row: int) -> None:
        ours, phone = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (ours, phone):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        ours.connect(phone.getsockname())
        phone.connect(ours.getsockname())
        self.ours[row], self.phones[row] = ours, phone
        self.peers.join(Peer(ours, f"call{row}", row, phone.getsockname()))

    def leave(self, row: int) -> None:
        self.peers.leave(row)
        self.ours.pop(row).close()
        self.phones.pop(row).close()

    def close(self) -> None:
        for row in list(self.ours):
            self.leave(row)


class Exchange(RuleBasedStateMachine):
    """Rows come and go; datagrams of any size go both ways. What is read and sent is what a list of each says."""

    rings: Rings | None = None

    def __init__(self) -> None:
        super().__init__()
        self.pairs = Pairs(4, self.rings)
        self.coming: dict[int, deque[bytes]] = {}
        self.said = 0

    def teardown(self) -> None:
        self.pairs.close()

    def _octets(self, size: int) -> bytes:
        self.said += 1
        return (self.said.to_bytes(4, "big") * (size // 4 + 1))[:size]

    @rule(row=st.integers(0, SLOTS - 1))
    def join(self, row: int) -> None:
        if row not in self.coming:
            self.pairs.join(row)
            self.coming[row] = deque()

    @precondition(lambda self: self.coming)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.coming)))
        self.pairs.leave(row)
        del self.coming[row]

    @precondition(lambda self: self.coming)
    @rule(data=st.data(), size=st.sampled_from([0, 1, 12, USUAL_SIZE - 1, USUAL_SIZE, USUAL_SIZE, LARGEST]))
    def phone_says(self, data: st.DataObject, size: int) -> None:
        row = data.draw(st.sampled_from(sorted(self.coming)))
        said = self._octets(size)
        self.pairs.phones[row].send(said)
        self.coming[row].append(said)

    @rule()
    def read(self) -> None:
        due = {row: said.popleft() for row, said in self.coming.items() if said}
        came = self.pairs.peers.read(5.0)
        assert (came is None) == (not due)
        if came is None:
            return
        usual = {row: data for row, data, at in came.usual.singly() if at == 5.0}
        others = {int(r.leg[4:]): r.data for r in came.others if r.at == 5.0}
        assert {**usual, **others} == due
        assert set(usual) == {row for row, data in due.items() if len(data) == USUAL_SIZE and row < 4}
        assert all(r.source == self.pairs.phones[int(r.leg[4:])].getsockname() for r in came.others)

    @rule(rows=st.sets(st.integers(0, SLOTS - 1)))
    def send(self, rows: set[int]) -> None:
        order = sorted(rows)
        packets = [self._octets(USUAL_SIZE) for _ in order]
        octets = np.frombuffer(b"".join(packets), np.uint8).reshape(-1, USUAL_SIZE)
        left = self.pairs.peers.send(np.array(order, np.int64), octets)
        assert left == [k for k, row in enumerate(order) if row not in self.coming]
        for row, packet in zip(order, packets, strict=True):
            if row in self.coming:
                assert self.pairs.phones[row].recv(2048) == packet


def test_rows_come_and_go_and_every_datagram_finds_its_own(rings: Rings | None) -> None:
    """Whatever joins and leaves between them, each packet goes to and comes from the socket of its row, in order."""
    machine = type("Exchange", (Exchange,), {"rings": rings})
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


def test_an_error_of_one_socket_is_no_other_ones(rings: Rings | None) -> None:
    """A phone's closed port (ICMP) is told at its own next packet; the others of the same step are sent and read."""
    rows, packets = np.arange(3), np.zeros((3, USUAL_SIZE), np.uint8)
    with closing(Pairs(3, rings)) as pairs:
        for row in range(3):
            pairs.join(row)
        pairs.phones[1].close()
        assert pairs.peers.send(rows, packets) == []  # it is not known yet
        assert pairs.peers.send(rows, packets) == [1]
        for row in (0, 2):
            pairs.phones[row].send(bytes(USUAL_SIZE))
        came = pairs.peers.read(0.0)
        assert came is not None
        assert came.usual.rows.tolist() == [0, 2]


def test_larger_datagrams_are_cut_off(rings: Rings | None) -> None:
    """Nobody's audio is as long as `LARGEST`: what is longer is cut, and harms none beside it."""
    with closing(Pairs(0, rings)) as pairs:
        for row in range(2):
            pairs.join(row)
            pairs.phones[row].send(bytes([row + 1]) * 9000)
        came = pairs.peers.read(0.0)
        assert came is not None
        assert [r.data for r in came.others] == [b"\x01" * LARGEST, b"\x02" * LARGEST]
