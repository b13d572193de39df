"""The sockets of one plane's legs: read and sent from with as little as possible for each packet.

A leg has an RTP port and the RTCP port above it. Once its peer is latched it gets a second socket on its RTP port,
connected to the peer: the kernel then sorts out strangers and knows the way, which makes a packet a fifth cheaper in
both directions. Strangers, and a peer that moves, still come to the first socket.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog

from gateway.media.commands import LegLatched
from gateway.media.datagrams import Address, Received, ToSend, Usual
from gateway.media.legs import LegTable
from gateway.media.ports import Int64s, Said
from gateway.media.rtp import Bytes
from gateway.media.worker.peers import Peer, Peers, PlainPeers, RingPeers
from gateway.media.worker.uring import LARGEST, Rings

log = structlog.get_logger()


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


class Network:
    def __init__(self, table: LegTable, rings: Rings | None = None) -> None:
        """With `rings`, packets between latched peers go through them."""
        self._table = table
        self._sockets: dict[str, LegSockets] = {}
        self._peers: Peers = PlainPeers(table) if rings is None else RingPeers(table, rings)
        # Of the sockets that hear anybody nothing is expected.
        self._others = select.epoll()
        self._other_of: dict[int, _Other] = {}
        self._usual, self._received = list[Usual](), list[Received]()
        self.unsent = 0
        """Datagrams the network would not take."""

    # Legs

    def attend(self, leg: str, sockets: LegSockets) -> None:
        """Read the leg's sockets from now on, and send from them."""
        self._sockets[leg] = sockets
        for sock in (sockets.rtp, sockets.rtcp):
            self._other_of[sock.fileno()] = _Other(sock, leg)
            self._others.register(sock, select.EPOLLIN)

    def follow(self, leg: str, now: float) -> None:
        """To be called when the leg's peer may have been latched, or may be no more."""
        sockets, row = self._sockets.get(leg), self._table.legs[leg].row
        if sockets is None or sockets.peer_address == (latched := self._table.latched[row]):
            return
        self._leave_peer(row, sockets)
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
        self._peers.join(Peer(sockets.peer, leg, row, address))

    def _leave_peer(self, row: int, sockets: LegSockets) -> None:
        if sockets.peer is not None:
            self._peers.leave(row)
            self._usual = [part.pick(part.rows != row) for part in self._usual]
            sockets.disconnect()

    def ignore(self, leg: str) -> bool:
        """Read the leg's sockets no more; they may still send. Whether it has any."""
        sockets = self._sockets.get(leg)
        if sockets is None:
            return False
        row = self._table.legs[leg].row
        self._leave_peer(row, sockets)
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

    def send(self, rows: Int64s, packets: Bytes) -> None:
        """A packet of `USUAL_SIZE` for each of `rows`, to `LegTable.remote` of the row."""
        try:
            left = self._peers.send(rows, packets)
        except OSError as error:
            self._do_without_rings(error)
            left = self._peers.send(rows, packets)
        for k in left:
            self._send_freely(int(rows[k]), packets[k].tobytes())

    def _send_freely(self, row: int, packet: bytes) -> None:
        """Of a row without a peer; or where the peer's socket told of an earlier packet that had not arrived (by
        ICMP), and has not tried this one."""
        sockets, remote = self._sockets.get(self._table.names[row]), self._table.remote[row]
        if sockets is not None and remote is not None:
            self._try(sockets.rtp, packet, remote)

    def send_others(self, datagrams: Sequence[ToSend]) -> None:
        for datagram in datagrams:
            if (sockets := self._sockets.get(datagram.leg)) is not None:
                self._try(sockets.rtcp if datagram.control else sockets.rtp, datagram.data, datagram.destination)

    def _try(self, sock: socket.socket, data: bytes, destination: Address) -> None:
        try:
            sock.sendto(data, destination)
        except OSError:
            self.unsent += 1

    def read(self, now: float, again: bool = False) -> bool:
        """One datagram of every socket that has any; False when none has. To be called `again` at once, it may pass
        over peers that had none."""
        if not self._sockets:
            return False
        others = self._others.poll(0)
        for number, _event in others:
            self._read_other(self._other_of[number], now)
        try:
            came = self._peers.read(now, again)
        except OSError as error:
            self._do_without_rings(error)
            came = self._peers.read(now)
        if came is not None:
            self._usual.append(came.usual)
            self._received += came.others
        return bool(others or came)

    def _do_without_rings(self, error: OSError) -> None:
        log.error("media.io_uring_failed", error=str(error))
        self._peers = PlainPeers(self._table)
        for leg, sockets in self._sockets.items():
            if sockets.peer is not None and sockets.peer_address is not None:
                self._peers.join(Peer(sockets.peer, leg, self._table.legs[leg].row, sockets.peer_address))

    def _read_other(self, other: _Other, now: float) -> bool:
        try:
            data, source = other.sock.recvfrom(LARGEST)
        except OSError:
            return False
        # IPv6: flow and scope are no part of our addresses.
        self._received.append(Received(other.leg, data, source[:2], now))
        return True

    def take(self) -> tuple[list[Received], Usual]:
        """What was read since the last time."""
        taken = self._received, Usual.all_of(self._usual)
        self._received, self._usual = [], []
        return taken
