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


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_pair() -> int:
    """A TCP port whose next one is free too: baresip listens for TLS on the port after its plain one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


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
