"""The sockets of one plane's legs: read and sent from with as little as possible for each packet.

A leg has an RTP port and the RTCP port above it. Once its peer is latched it gets a second socket on its RTP port,
connected to the peer: the kernel then sorts out strangers and knows the way, which makes a packet a fifth cheaper in
both directions. Strangers, and a peer that moves, still come to the first socket.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from gateway.media.commands import LegLatched
from gateway.media.datagrams import USUAL_SIZE, Address, Departures, Received, ToSend, Usual
from gateway.media.legs import LegTable
from gateway.media.ports import Said

_LARGEST = 2048


class LegSockets:
    """An RTP port and the RTCP port above it."""

    def __init__(self, bind: str, port: int) -> None:
        """Raises OSError when somebody else holds either of them."""
        self.bind, self.port = bind, port
        self._family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        self.rtp, self.rtcp = (socket.socket(self._family, socket.SOCK_DGRAM) for _ in range(2))
        self.peer: socket.socket | None = None
        """The RTP port again, connected to `peer_address`."""

        self.peer_address: Address | None = None
        try:
            for sock, number in ((self.rtp, port), (self.rtcp, port + 1)):
                sock.setblocking(False)
                sock.bind((bind, number))
        except OSError:
            self.close()
            raise

    def connect(self, address: Address) -> None:
        """Open `peer`. Raises OSError, and is then as before."""
        peer = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            peer.setblocking(False)
            # Both must allow it, for the moment of binding only: afterwards the port is ours alone again.
            _share(self.rtp, True)
            _share(peer, True)
            peer.bind((self.bind, self.port))
            peer.connect(address)
        except OSError:
            peer.close()
            raise
        finally:
            _share(self.rtp, False)
        _share(peer, False)
        self.peer, self.peer_address = peer, address

    def disconnect(self) -> None:
        if self.peer is not None:
            self.peer.close()
        self.peer = self.peer_address = None

    def close(self) -> None:
        self.disconnect()
        self.rtp.close()
        self.rtcp.close()


def _share(sock: socket.socket, on: bool) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, on)


class _Other(NamedTuple):
    """A socket that hears anybody, and whose it is."""

    sock: socket.socket
    leg: str


class _Peer(NamedTuple):
    """A socket that hears `source` alone."""

    recv: Callable[[int], bytes]
    leg: str
    row: int
    source: Address


class Network:
    def __init__(self, table: LegTable) -> None:
        self._table = table
        self._sockets: dict[str, LegSockets] = {}
        # Peers are asked afresh every time: nearly all have something to read, and a socket that somebody waits for
        # wakes him with every packet, sent ones too. Of all others nothing is expected.
        self._peers, self._others = select.poll(), select.epoll()
        self._peer_of: dict[int, _Peer] = {}
        self._other_of: dict[int, _Other] = {}
        self._send: list[Callable[[bytes], object]] = [_nowhere] * len(table.names)
        self._usual, self._received = Usual(), list[Received]()
        self.unsent = 0
        """Datagrams the network would not take."""

    # Legs

    def attend(self, leg: str, sockets: LegSockets) -> None:
        """Read the leg's sockets from now on, and send from them."""
        self._sockets[leg] = sockets
        row = self._table.legs[leg].row
        for sock in (sockets.rtp, sockets.rtcp):
            self._other_of[sock.fileno()] = _Other(sock, leg)
            self._others.register(sock, select.EPOLLIN)
        self._send_freely(row, sockets.rtp)

    def _send_freely(self, row: int, rtp: socket.socket) -> None:
        remote: list[Any] = self._table.remote
        self._send[row] = lambda data: rtp.sendto(data, remote[row])

    def follow(self, leg: str, now: float) -> None:
        """To be called when the leg's peer may have been latched, or may be no more."""
        sockets, row = self._sockets.get(leg), self._table.legs[leg].row
        if sockets is None or sockets.peer_address == (latched := self._table.latched[row]):
            return
        self._leave_peer(sockets)
        self._usual.drop(row)
        self._send_freely(row, sockets.rtp)
        if latched is not None and self._table.remote[row] == latched:
            with contextlib.suppress(OSError):  # then it goes on without
                self._join_peer(leg, row, sockets, latched, now)

    def follow_latched(self, said: Iterable[Said], now: float) -> None:
        for one in said:
            if type(one) is LegLatched and one.leg in self._table.legs:
                self.follow(one.leg, now)

    def _join_peer(self, leg: str, row: int, sockets: LegSockets, address: Address, now: float) -> None:
        sockets.connect(address)
        assert sockets.peer is not None
        # Between binding and connecting, anybody's packet may have come to it.
        while self._read_other(_Other(sockets.peer, leg), now):
            pass
        self._peer_of[sockets.peer.fileno()] = _Peer(sockets.peer.recv, leg, row, address)
        self._peers.register(sockets.peer, select.POLLIN)
        self._send[row] = sockets.peer.send

    def _leave_peer(self, sockets: LegSockets) -> None:
        if sockets.peer is not None:
            self._peers.unregister(sockets.peer)
            del self._peer_of[sockets.peer.fileno()]
            sockets.disconnect()

    def ignore(self, leg: str) -> bool:
        """Read the leg's sockets no more; they may still send. Whether it has any."""
        sockets = self._sockets.get(leg)
        if sockets is None:
            return False
        row = self._table.legs[leg].row
        self._leave_peer(sockets)
        self._send[row] = _nowhere
        self._usual.drop(row)
        for sock in (sockets.rtp, sockets.rtcp):
            self._others.unregister(sock)
            del self._other_of[sock.fileno()]
        return True

    def close(self, leg: str) -> int:
        """Close the sockets of a leg that is ignored; gives its port."""
        sockets = self._sockets.pop(leg)
        sockets.close()
        return sockets.port

    # Packets

    def send(self, departures: Departures) -> None:
        rows, packets, others = departures
        send = self._send
        for row, start in zip(rows, range(0, len(packets), USUAL_SIZE), strict=True):
            try:
                send[row](packets[start : start + USUAL_SIZE])
            except ConnectionRefusedError:
                # Of an earlier packet, by ICMP; this one has not been tried.
                self._try(send[row], packets[start : start + USUAL_SIZE])
            except OSError:
                self.unsent += 1
        self.send_others(others)

    def send_others(self, datagrams: Sequence[ToSend]) -> None:
        for datagram in datagrams:
            if (sockets := self._sockets.get(datagram.leg)) is not None:
                sock = sockets.rtcp if datagram.control else sockets.rtp
                self._try(sock.sendto, datagram.data, datagram.destination)

    def _try(self, send: Callable[..., object], *datagram: Any) -> None:
        try:
            send(*datagram)
        except OSError:
            self.unsent += 1

    def read(self, now: float) -> bool:
        """One datagram of every socket that has any; False when none has."""
        others, peers = self._others.poll(0), self._peers.poll(0)
        for number, _event in others:
            self._read_other(self._other_of[number], now)
        peer_of, usual_source, usual = self._peer_of, self._table.usual_source, self._usual
        rows, usual_data = usual.rows, usual.data
        for number, _event in peers:
            recv, leg, row, source = peer_of[number]
            try:
                data = recv(_LARGEST)
            except OSError:
                continue
            if len(data) == USUAL_SIZE and source == usual_source[row]:
                rows.append(row)
                usual_data.append(data)
            else:
                self._received.append(Received(leg, data, source, now))
        usual.at += [now] * (len(rows) - len(usual.at))
        return bool(others or peers)

    def _read_other(self, other: _Other, now: float) -> bool:
        try:
            data, source = other.sock.recvfrom(_LARGEST)
        except OSError:
            return False
        # IPv6: flow and scope are no part of our addresses.
        self._received.append(Received(other.leg, data, source[:2], now))
        return True

    def take(self) -> tuple[list[Received], Usual]:
        """What was read since the last time."""
        taken = self._received, self._usual
        self._received, self._usual = [], Usual()
        return taken


def _nowhere(data: bytes) -> None:
    """For rows without a socket."""
