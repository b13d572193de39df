"""Sockets to listen on, and the address of ours that a peer sees."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from typing import Literal, NamedTuple

import structlog

from gateway.core.errors import ConfigError
from gateway.sip.flow import Flow, Transport

log = structlog.get_logger()

Kind = Literal["udp", "tcp"]

_SOCKET_BUFFER = 4 * 1024 * 1024  # bytes; a burst of 4,000 messages must not be lost while the loop is busy
_EPHEMERAL_TRIES = 20
_REMEMBERED_PEERS = 4096
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # of Linux; Python names the first from 3.14 on
_ANSWER = b"SIP/2.0 "
_UNREACHABLE = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOPROTOOPT)


def bind(kind: Kind, host: str, port: int) -> socket.socket:
    """A socket on that address that blocks nobody. Raises `ConfigError` with the remedy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == "udp":
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
            _ask_for_icmp(sock)
        else:
            # Only lets us back in while old connections are in TIME_WAIT; two listeners still collide.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise bind_error(error, kind, host, port) from error
    return sock


def _ask_for_icmp(sock: socket.socket) -> None:
    """So that `undelivered` has something to tell."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def bind_pair(host: str, port: int, *, udp: bool, tcp: bool) -> tuple[socket.socket | None, socket.socket | None]:
    """Both sockets on one port number. A free UDP port may be taken for TCP, so an ephemeral one is tried again."""
    for attempt in range(_EPHEMERAL_TRIES):
        datagrams = bind("udp", host, port) if udp else None
        if not tcp:
            return datagrams, None
        number = datagrams.getsockname()[1] if datagrams else port
        try:
            return datagrams, bind("tcp", host, number)
        except ConfigError:
            if datagrams is not None:
                datagrams.close()
            if port or attempt == _EPHEMERAL_TRIES - 1:
                raise
    return None, None


def bind_error(error: OSError, kind: Kind, host: str, port: int) -> ConfigError:
    name = f"{kind.upper()} port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        remedy = "stop the other program (ss -lpn shows it) or choose another port"
        return ConfigError(f"{name} is in use: {remedy}")
    if error.errno == errno.EACCES:
        return ConfigError(f"{name} is not permitted: choose a port above 1023 or run with CAP_NET_BIND_SERVICE")
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"{host} is not an address of this machine: bind to one that `ip address` lists")
    return ConfigError(f"{name} cannot be used: {error.strerror or error}")


class OurAddresses:
    """Which of our addresses a peer reaches us at: the bound one; by the routing table when that is everywhere."""

    def __init__(self, bound: str) -> None:
        self._bound = bound
        self._known: dict[str, str] = {}

    def towards(self, host: str) -> str:
        if self._bound not in ("0.0.0.0", "::"):
            return self._bound
        ours = self._known.get(host)
        if ours is None:
            ours = _source_address(host) or self._bound
            if len(self._known) >= _REMEMBERED_PEERS:
                self._known.clear()
            self._known[host] = ours
        return ours


def _source_address(host: str) -> str | None:
    """The address the kernel would send from. Connecting a datagram socket sends nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return str(probe.getsockname()[0])
    return None


class Unreached:
    """Peers that cannot be reached are tried again and again; the log need hear of each but once."""

    def __init__(self) -> None:
        self._told: dict[tuple[Transport, tuple[str, int]], str] = {}

    def tell(self, event: str, flow: Flow, reason: str) -> None:
        far = (flow.transport, flow.remote)
        if self._told.get(far) != reason:
            if len(self._told) >= _REMEMBERED_PEERS:
                self._told.clear()
            self._told[far] = reason
            log.warning(event, transport=flow.transport, remote=flow.remote, error=reason)

    def forget(self, flow: Flow) -> None:
        """It has been heard of."""
        if self._told:
            self._told.pop((flow.transport, flow.remote), None)


class Undelivered(NamedTuple):
    """What ICMP has told since it was last asked. `told` counts all of it, `requests` are those of ours it concerns."""

    told: int
    requests: list[tuple[tuple[str, int], str]]


def undelivered(sock: socket.socket) -> Undelivered:
    """Where requests could not be delivered, and why. Takes everything off the socket's queue of errors.

    Answers that reach nobody concern nobody: a flood with forged senders brings one error for each.
    """
    told, requests = 0, []
    with contextlib.suppress(OSError):
        while True:
            head, notes, _, remote = sock.recvmsg(len(_ANSWER), 512, socket.MSG_ERRQUEUE)
            told += 1
            number = next((_errno(data) for _, kind, data in notes if kind in (_IP_RECVERR, _IPV6_RECVERR)), 0)
            # RFC 3261 18.4: unreachable hosts, networks, ports and protocols; the rest may pass by itself.
            if number in _UNREACHABLE and head != _ANSWER:
                requests.append(((remote[0], remote[1]), os.strerror(number)))
    return Undelivered(told, requests)


def _errno(data: bytes) -> int:
    """The first member of Linux's `sock_extended_err`."""
    return int.from_bytes(data[:4], sys.byteorder)
