"""Sockets to listen on, and the address of ours that a peer sees."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Literal

from gateway.core.errors import ConfigError

Kind = Literal["udp", "tcp"]

_SOCKET_BUFFER = 4 * 1024 * 1024  # bytes; a burst of 4,000 messages must not be lost while the loop is busy
_EPHEMERAL_TRIES = 20
_REMEMBERED_PEERS = 4096


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
        else:
            # Only lets us back in while old connections are in TIME_WAIT; two listeners still collide.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise bind_error(error, kind, host, port) from error
    return sock


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
