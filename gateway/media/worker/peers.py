"""The connected sockets of one plane's legs: nearly all packets of a worker go through them.

Two ways with the same effect: a system call for each packet (`PlainPeers`), or one for a whole step's (`RingPeers`).
"""

from __future__ import annotations

import ctypes
import errno
import select
import socket
from collections.abc import Callable
from typing import NamedTuple, NoReturn, Protocol

import numpy as np

from gateway.media.datagrams import USUAL_SIZE, Address, Received, Usual
from gateway.media.legs import LegTable
from gateway.media.ports import Int64s
from gateway.media.rtp import Bytes
from gateway.media.worker.uring import LARGEST, Int32s, Rings


class Peer(NamedTuple):
    """A socket that hears `source` alone, and whose it is."""

    sock: socket.socket
    leg: str
    row: int
    source: Address


class Came(NamedTuple):
    """What was read: audio as usual, and everything else."""

    usual: Usual
    others: list[Received]


class Peers(Protocol):
    """At most one peer a row."""

    def join(self, peer: Peer) -> None: ...

    def leave(self, row: int) -> None: ...

    def send(self, rows: Int64s, packets: Bytes) -> list[int]:
        """Send the k-th packet to the peer of the k-th row. Gives each k that did not go: a packet the network did not
        take, or a row without a peer."""
        ...

    def read(self, now: float, again: bool = False) -> Came | None:
        """One datagram from each socket that has any; None when none has. With `again`, the sockets that gave none
        the last time may be passed over."""
        ...


class PlainPeers:
    def __init__(self, table: LegTable) -> None:
        self._table = table
        self._send: list[Callable[[bytes], object]] = [_to_nobody] * len(table.names)
        self._peers: dict[int, Peer] = {}
        self._by_number: dict[int, tuple[Callable[[int], bytes], Peer]] = {}
        # Asked afresh every time: nearly all have something to read, and a socket that somebody waits for wakes him
        # with every packet, sent ones too.
        self._poll = select.poll()

    def join(self, peer: Peer) -> None:
        self._peers[peer.row], self._send[peer.row] = peer, peer.sock.send
        self._by_number[peer.sock.fileno()] = peer.sock.recv, peer
        self._poll.register(peer.sock, select.POLLIN)

    def leave(self, row: int) -> None:
        peer = self._peers.pop(row)
        self._send[row] = _to_nobody
        del self._by_number[peer.sock.fileno()]
        self._poll.unregister(peer.sock)

    def send(self, rows: Int64s, packets: Bytes) -> list[int]:
        send, octets, left = self._send, packets.tobytes(), []
        for k, row in enumerate(rows.tolist()):
            try:
                send[row](octets[USUAL_SIZE * k : USUAL_SIZE * (k + 1)])
            except OSError:
                left.append(k)
        return left

    def read(self, now: float, again: bool = False) -> Came | None:
        ready = self._poll.poll(0)
        if not ready:
            return None
        by_number, usual_source = self._by_number, self._table.usual_source.tolist()
        rows: list[int] = []
        usual: list[bytes] = []
        others: list[Received] = []
        for number, _event in ready:
            recv, (_, leg, row, source) = by_number[number]
            try:
                data = recv(LARGEST)
            except OSError:
                continue
            if len(data) == USUAL_SIZE and usual_source[row]:
                rows.append(row)
                usual.append(data)
            else:
                others.append(Received(leg, data, source, now))
        return Came(Usual.of(rows, usual, [now] * len(rows)), others)


class PollList:
    """File descriptors in places, asked all at once which of them have something to say."""

    def __init__(self, places: int) -> None:
        polled = np.zeros(places, _POLLED)
        polled["events"] = select.POLLIN
        # Asking a structured array for its address or a field costs more than polling a few sockets does.
        self._at = polled.__array_interface__["data"][0]
        self.numbers: Int32s = polled["fd"]
        self._told = polled["told"]

    def ready(self, count: int) -> Int64s:
        """Which of the first `count` places."""
        if not count or _poll(self._at, count, 0) <= 0:
            return _NONE
        return self._told[:count].nonzero()[0]


class RingPeers:
    def __init__(self, table: LegTable, rings: Rings) -> None:
        slots = len(table.names)
        self._table, self._rings = table, rings
        self._number = np.full(slots, -1, np.int32)  # of each row's socket; sending by -1 fails, as it should
        self._peers: list[Peer] = []
        # In the order of `_peers`:
        self._rows = np.zeros(slots, np.int64)
        self._polled = PollList(slots)
        self._polled_again = PollList(slots)
        self._ready = _NONE

    def join(self, peer: Peer) -> None:
        place, number = len(self._peers), peer.sock.fileno()
        self._peers.append(peer)
        self._rows[place], self._polled.numbers[place], self._number[peer.row] = peer.row, number, number

    def leave(self, row: int) -> None:
        self._number[row] = -1
        self._ready = _NONE  # places change
        place = int(np.flatnonzero(self._rows[: len(self._peers)] == row)[0])
        last = self._peers.pop()
        if last.row != row:
            self._peers[place] = last
            self._rows[place], self._polled.numbers[place] = last.row, self._number[last.row]

    def send(self, rows: Int64s, packets: Bytes) -> list[int]:
        left: list[int] = []
        for first in range(0, len(rows), self._rings.most):
            batch = slice(first, first + self._rings.most)
            sent = self._rings.send(self._number[rows[batch]], packets[batch])
            left += ((sent < 0).nonzero()[0] + first).tolist()
        return left

    def read(self, now: float, again: bool = False) -> Came | None:
        ready = self._ready = self._which_again() if again else self._polled.ready(len(self._peers))
        if not len(ready):
            return None
        came = [self._receive(ready[k : k + self._rings.most], now) for k in range(0, len(ready), self._rings.most)]
        return Came(Usual.all_of([c.usual for c in came]), [other for c in came for other in c.others])

    def _which_again(self) -> Int64s:
        """Of those that were ready."""
        numbers = self._polled.numbers[self._ready]
        self._polled_again.numbers[: len(numbers)] = numbers
        return self._ready[self._polled_again.ready(len(numbers))]

    def _receive(self, places: Int64s, now: float) -> Came:
        sizes, data = self._rings.receive(self._polled.numbers[places])
        rows = self._rows[places]
        usual = (sizes == USUAL_SIZE) & self._table.usual_source[rows]
        if np.count_nonzero(usual) == len(rows):
            return Came(Usual(rows, data[: len(rows), :USUAL_SIZE].copy(), np.full(len(rows), now)), [])
        others = np.flatnonzero((sizes >= 0) & ~usual).tolist()
        return Came(
            Usual(rows[usual], data[: len(rows), :USUAL_SIZE][usual], np.full(int(usual.sum()), now)),
            [_received(self._peers[places[k]], data[k, : sizes[k]], now) for k in others],
        )


_POLLED = np.dtype([("fd", "i4"), ("events", "i2"), ("told", "i2")])
"""struct pollfd"""

_NONE: Int64s = np.zeros(0, np.int64)

_poll = ctypes.PyDLL(None).poll
_poll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int)


def _received(peer: Peer, data: Bytes, now: float) -> Received:
    return Received(peer.leg, bytes(data), peer.source, now)


def _to_nobody(data: bytes) -> NoReturn:
    raise OSError(errno.ENOTCONN, "the row has no peer")
