"""Many sockets in one system call: Linux's io_uring, as far as connected UDP sockets that never wait need it.

A ring here does one thing for a batch of sockets, over and over: it is filled, entered, and when the kernel comes back
every request is done. Nothing is in flight between two batches, so there is nothing to cancel; and as the kernel
works in our own thread (IORING_SETUP_DEFER_TASKRUN, Linux 6.1) there are no memory barriers to think of. See
io_uring_setup(2) and io_uring_enter(2). Where it is forbidden, as in most containers, there is `peers.PlainPeers`.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from socket import MSG_DONTWAIT
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.rtp import Bytes

Int32s: TypeAlias = npt.NDArray[np.int32]

LARGEST = 2048
"""Octets that are read of a datagram."""

_APART = LARGEST + 64
"""Octets from one datagram's place to the next. Were it a power of two, all would share a few lines of the cache."""

_WRAPS = 0xFFFFFFFF
"""The kernel counts requests and results in 32 bits, round and round."""

_SETUP, _ENTER = 425, 426
"""System calls, by the same numbers on every architecture."""

_SINGLE_ISSUER, _DEFER_TASKRUN = 1 << 12, 1 << 13
_GET_EVENTS = 1
_REQUESTS_AT = 0x10000000
_SEND, _RECEIVE = 26, 27


def _system_call(*argument_types: Any) -> Any:
    # Not CDLL: letting the thread that writes recordings run in between could make the tick wait for it.
    call = ctypes.PyDLL(None, use_errno=True).syscall
    call.argtypes, call.restype = (ctypes.c_long, *argument_types), ctypes.c_long
    return call


_setup = _system_call(ctypes.c_uint, ctypes.c_void_p)
_enter = _system_call(ctypes.c_int, *[ctypes.c_uint] * 3, ctypes.c_void_p, ctypes.c_size_t)


def _numbers(*names: str) -> list[tuple[str, type[ctypes.c_uint32]]]:
    return [(name, ctypes.c_uint32) for name in names]


class _RequestOffsets(ctypes.Structure):
    """struct io_sqring_offsets"""

    _fields_ = (
        *_numbers("head", "tail", "mask", "entries", "flags", "dropped", "order", "_"),
        ("_at", ctypes.c_uint64),
    )


class _ResultOffsets(ctypes.Structure):
    """struct io_cqring_offsets"""

    _fields_ = (*_numbers("head", "tail", "mask", "entries", "lost", "results", "flags", "_"), ("_at", ctypes.c_uint64))


class _Params(ctypes.Structure):
    """struct io_uring_params"""

    _fields_ = (
        *_numbers("requests", "results", "flags", "thread_cpu", "thread_idle", "features", "work_fd", "_1", "_2", "_3"),
        ("request_offsets", _RequestOffsets),
        ("result_offsets", _ResultOffsets),
    )


_REQUEST = np.dtype(
    [
        *[("opcode", "u1"), ("flags", "u1"), ("priority", "u2"), ("fd", "i4"), ("offset", "u8"), ("address", "u8")],
        *[("length", "u4"), ("message_flags", "u4"), ("user_data", "u8"), ("unused", "u8", 3)],
    ]
)
"""struct io_uring_sqe"""

_RESULT = np.dtype([("user_data", "u8"), ("result", "i4"), ("flags", "u4")])
"""struct io_uring_cqe"""


class _Ring:
    """Requests of one kind. Only the thread that made it may use it."""

    def __init__(self, opcode: int, most: int) -> None:
        """Room for `most` (a power of two) at once. Raises OSError where the kernel cannot or must not do it."""
        self.most = most
        params = _Params(flags=_SINGLE_ISSUER | _DEFER_TASKRUN)
        self._fd = _setup(_SETUP, most, ctypes.byref(params))
        if self._fd < 0:
            raise _error("io_uring_setup")
        try:
            self._map(params)
        except OSError:
            os.close(self._fd)
            raise
        # The k-th request is always the same piece of memory, so that most of it is written once.
        self._k = np.arange(most, dtype=np.uint32)
        requests = self._requests
        requests["opcode"], requests["message_flags"], requests["user_data"] = opcode, MSG_DONTWAIT, self._k
        self.fds, self.addresses, self.lengths = (requests[field] for field in ("fd", "address", "length"))
        self._in_order = np.empty(most, np.int32)
        self._done = 0
        """Requests so far."""

    def _map(self, params: _Params) -> None:
        requests, results = params.request_offsets, params.result_offsets
        size = max(requests.order + 4 * params.requests, results.results + _RESULT.itemsize * params.results)
        shared = np.frombuffer(mmap.mmap(self._fd, size), np.uint8)
        mapped = mmap.mmap(self._fd, _REQUEST.itemsize * params.requests, offset=_REQUESTS_AT)
        self._requests = np.frombuffer(mapped, _REQUEST)

        def part(offset: int, length: int, kind: npt.DTypeLike) -> Any:
            return shared[offset : offset + length].view(kind)

        self._order = part(requests.order, 4 * params.requests, np.uint32)
        self._requested = part(requests.tail, 4, np.uint32)
        self._taken, self._finished = part(results.head, 4, np.uint32), part(results.tail, 4, np.uint32)
        told = part(results.results, _RESULT.itemsize * params.results, _RESULT)
        self._told_of, self._told = told["user_data"], told["result"]

    def run(self, count: int) -> Int32s:
        """Carry out the first `count` requests. What each gave, or minus its errno; the next run overwrites it.

        Raises OSError when the kernel refuses; the ring is of no use any more then.
        """
        given = 0
        for part in _around(self._done, count, self.most):
            size = part.stop - part.start
            self._order[part] = self._k[given : given + size]
            given += size
        done = self._done + count & _WRAPS
        self._requested[0] = done
        self._enter(count, done)
        for part in _around(self._done, count, len(self._told)):
            self._in_order[self._told_of[part]] = self._told[part]
        self._taken[0] = self._done = done
        return self._in_order[:count]

    def _enter(self, count: int, done: int) -> None:
        """Until all results are there, at the end of which the kernel's own count is `done`."""
        left = count
        while left or self._finished[0] != done:
            taken = _enter(_ENTER, self._fd, left, count, _GET_EVENTS, None, 0)
            if taken >= 0:
                left -= taken
            elif ctypes.get_errno() != errno.EINTR:
                raise _error("io_uring_enter")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class Rings:
    """A worker's: one to send, one to receive."""

    def __init__(self, most: int = 512) -> None:
        """`most` (a power of two) packets go in one system call. Raises OSError where there is no io_uring."""
        self._sends = _Ring(_SEND, most)
        try:
            self._receives = _Ring(_RECEIVE, most)
        except OSError:
            self._sends.close()
            raise
        self._k = np.arange(most, dtype=np.uint64)
        self._inbox = np.zeros((most, _APART), np.uint8)
        self._receives.addresses[:] = _address(self._inbox) + _APART * self._k
        self._receives.lengths[:] = LARGEST
        self.most = most

    def send(self, sockets: Int32s, packets: Bytes) -> Int32s:
        """Send the k-th of `packets` (at most `most` rows, contiguous) through the k-th of these file descriptors.

        What each gave, as of `_Ring.run`.
        """
        count, ring = len(sockets), self._sends
        ring.fds[:count] = sockets
        ring.addresses[:count] = _address(packets) + packets.shape[1] * self._k[:count]
        ring.lengths[:count] = packets.shape[1]
        return ring.run(count)

    def receive(self, sockets: Int32s) -> tuple[Int32s, Bytes]:
        """A datagram from each of these file descriptors, at most `most`: their lengths (or minus an errno), and
        below each other the datagrams, until the next time."""
        self._receives.fds[: len(sockets)] = sockets
        return self._receives.run(len(sockets)), self._inbox

    def close(self) -> None:
        self._sends.close()
        self._receives.close()


def _around(first: int, count: int, size: int) -> list[slice]:
    """Where `count` entries from the `first` on lie in a ring of `size` (a power of two): one piece, or two."""
    start = first % size
    end = start + count
    return [slice(start, end)] if end <= size else [slice(start, size), slice(0, end - size)]


def _address(array: Bytes) -> np.uint64:
    return np.uint64(array.__array_interface__["data"][0])


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
