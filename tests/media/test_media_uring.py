"""Rings of io_uring that go round and round: what each request gave is its own, whatever went before.

Sockets are real ones on loopback, which has a datagram before `sendto` returns.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from gateway.media.worker.uring import Rings

_MOST = 8
_NOBODY = -1


@pytest.fixture
def rings() -> Iterator[Rings]:
    try:
        made = Rings(_MOST)
    except OSError as error:
        pytest.skip(f"no io_uring here: {error}")
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets, each connected to the other."""
    with ExitStack() as stack:
        one, other = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
        for sock in (one, other):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        one.connect(other.getsockname())
        other.connect(one.getsockname())
        yield one, other


def test_every_request_has_its_own_result_all_around_the_ring(
    rings: Rings, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Batches of every size from one to all, so that they begin everywhere in the ring: those to nobody fail, and
    those alone; the others are there, in order."""
    one, other = pair
    rng = np.random.default_rng(5)
    for turn in range(10 * _MOST):
        count = 1 + turn % _MOST
        packets = rng.integers(0, 256, (count, 20), np.uint8)
        goes = rng.random(count) < 0.7
        sent = rings.send(np.where(goes, one.fileno(), _NOBODY).astype(np.int32), packets)
        assert sent.tolist() == np.where(goes, 20, -errno.EBADF).tolist()
        for packet in packets[goes]:
            assert other.recv(100) == packet.tobytes()


def test_every_datagram_is_read_into_its_own_place(rings: Rings, pair: tuple[socket.socket, socket.socket]) -> None:
    """Of the sockets asked, those with nothing to say tell so; what the others have comes in the order of asking."""
    one, other = pair
    for turn in range(10 * _MOST):
        count = 1 + turn % _MOST
        waiting = [bytes([turn, k]) * (10 + k) for k in range(turn % (count + 1))]
        for data in waiting:
            one.send(data)
        sizes, places = rings.receive(np.full(count, other.fileno(), np.int32))
        assert sizes.tolist() == [len(data) for data in waiting] + [-errno.EAGAIN] * (count - len(waiting))
        assert [bytes(places[k, : len(data)]) for k, data in enumerate(waiting)] == waiting
