"""Ports on loopback: ranges for test processes side by side, free ones for others' programs, and who has taken one."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO

BLOCKS = 22
"""From 10000 on, a thousand ports each: below what Linux gives away by itself."""
FIRST_FREE, FREE = 6700, 150
"""And from here on so many for each of them, for others' programs."""


def rtp_ports(part: int = 0) -> tuple[int, int]:
    """The first and the last port of a range for this process alone, so that tests may run side by side.

    Part 0 is the gateway's and holds 200 calls; parts 1 to 6 are the callers', and hold 50 each.
    """
    base = 10000 + _claimed_block() * 1000
    return (base, base + 399) if part == 0 else (base + 300 + part * 100, base + 399 + part * 100)


_claims: list[IO[str]] = []


@cache
def _claimed_block() -> int:
    """A number that no other test process on this machine has, in this run or another; free again when we end."""
    for block in range(BLOCKS):
        claim = open(Path(tempfile.gettempdir()) / f"voicebot-test-ports-{block}", "w")  # noqa: SIM115 - held on purpose
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            claim.close()
        else:
            _claims.append(claim)
            return block
    raise AssertionError(f"{BLOCKS} test processes hold their ports already")


def free_port() -> int:
    """For a program that must be told its port, UDP or TCP. None that Linux gives away by itself: between our asking
    and the program's taking it, any connection on this machine could come to have it."""
    return next(port for port in _turn() if _is_free(port))


def free_pair() -> int:
    """One whose next is free too: baresip listens for TLS on the port after its plain one."""
    return next(port for port in _turn() if _is_free(port) and _is_free(port + 1))


_given = 0


def _turn() -> Iterator[int]:
    """Once through the ports of this process, from the one after the last given: the same comes again late."""
    global _given
    first = FIRST_FREE + _claimed_block() * FREE
    for _ in range(FREE // 2):
        _given = (_given + 2) % FREE
        yield first + _given
    raise AssertionError(f"no port is free between {first} and {first + FREE}")


def _is_free(port: int) -> bool:
    """For UDP and for TCP."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        socket.socket() as connections,
        contextlib.suppress(OSError),
    ):
        datagrams.bind(("127.0.0.1", port))
        connections.bind(("127.0.0.1", port))
        return True
    return False


def is_taken(port: int) -> bool:
    """Whether some program receives datagrams, or listens for connections, at this port. Linux tells."""
    return port in _taken("udp", "07") | _taken("tcp", "0A")


def _taken(protocol: str, state: str) -> set[int]:
    """The local ports of IPv4's and IPv6's sockets in this state (`include/net/tcp_states.h`, in hexadecimal)."""
    return {int(local.rpartition(":")[2], 16) for local, current in _sockets(protocol) if current == state}


def _sockets(protocol: str) -> Iterator[tuple[str, str]]:
    for table in (Path("/proc/net") / protocol, Path("/proc/net") / f"{protocol}6"):
        with contextlib.suppress(FileNotFoundError):  # a machine without IPv6
            for line in table.read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                yield local, state
