"""io_uring as media workers use it: what happens where the kernel refuses it."""

from __future__ import annotations

import errno
import os
import socket

import numpy as np
import pytest

from gateway.media.worker import uring
from gateway.media.worker.loop import build_rings
from gateway.media.worker.uring import Rings


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_what_the_kernel_refuses_is_told_and_leaves_nothing_open() -> None:
    """A million requests at once are more than any kernel takes."""
    before = descriptors()
    with pytest.raises(OSError, match="io_uring_setup"):
        Rings(most=1 << 20)
    assert descriptors() == before


def test_the_second_ring_refused_gives_the_first_one_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits may allow one and not the other: a worker then has none, and leaks none."""
    made: list[uring._Ring] = []

    def refuse(opcode: int, most: int) -> uring._Ring:
        if made:
            raise OSError(errno.ENOMEM, "io_uring_setup")
        made.append(real(opcode, most))
        return made[0]

    real = uring._Ring
    monkeypatch.setattr(uring, "_Ring", refuse)
    with pytest.raises(OSError, match="io_uring_setup"):
        Rings(most=2)
    assert [ring._fd for ring in made] == [-1]


def test_a_worker_does_without_where_it_is_forbidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Container runtimes answer EPERM: the worker says so once and goes on with plain sockets."""

    def forbid() -> Rings:
        raise PermissionError(errno.EPERM, "io_uring_setup: Operation not permitted")

    monkeypatch.setattr("gateway.media.worker.loop.Rings", forbid)
    assert build_rings() is None
    assert "media.without_io_uring" in capsys.readouterr().out


def test_every_packet_gets_its_own_result(any_rings: Rings) -> None:
    """One bad socket among good ones: its errno is in its place, whatever order the kernel finished them in."""
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with ours, theirs:
        theirs.bind(("127.0.0.1", 0))
        ours.connect(theirs.getsockname())
        packets = np.arange(20, dtype=np.uint8).reshape(2, 10)
        for order in ([ours.fileno(), -1], [-1, ours.fileno()]):
            sent = any_rings.send(np.array(order, np.int32), packets).tolist()
            assert sent == [10 if number >= 0 else -errno.EBADF for number in order]
        sizes, data = any_rings.receive(np.array([theirs.fileno()] * 2, np.int32))
        assert sizes.tolist() == [10, 10]
        assert np.array_equal(data[:, :10], packets)


def test_an_empty_batch_is_nothing(any_rings: Rings) -> None:
    """A step in which nobody has a packet asks the kernel for nothing."""
    none = np.zeros(0, np.int32)
    assert any_rings.send(none, np.zeros((0, 172), np.uint8)).tolist() == []
    assert any_rings.receive(none)[0].tolist() == []
