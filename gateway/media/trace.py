"""Packet traces: every datagram a leg received and when, so that a replay can feed exactly the same ones again.

All numbers are little-endian. The file begins with the 8 octets `RTPTRACE` and a version, u16 = 2. Then records:

    source    u8 = 0, u16 index, u16 port, u8 length, host in ASCII
    datagram  u8 = 1, u16 source, u32 tick, u16 before, u16 size, the datagram
    left out  u8 = 2, u32 tick, u32 count

A source is named once, before its first datagram; indices count from 0. `tick` is the tick that took the datagram,
counted from the leg's opening (20 ms each); it arrived `before` microseconds earlier. Feeding a datagram in just ahead
of its tick therefore repeats the call, whatever the machine. On a machine that was too busy some ticks never came:
`count` of them from `tick` on. What arrived meanwhile may name one of these, and was taken by the first one after.
Version 1 knew none of that. A file that ends in the middle of a record was cut off by a crash; what is before it holds.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from typing import NamedTuple, TypeAlias

from gateway.core.errors import PeerError
from gateway.media.datagrams import Address

TICK_S = 0.02

_HEAD, _FIRST_HEAD = (struct.pack("<8sH", b"RTPTRACE", version) for version in (2, 1))
_SOURCE = struct.Struct("<BHHB")
_DATAGRAM = struct.Struct("<BHIHH")
_LEFT_OUT = struct.Struct("<BII")
_LONGEST_BEFORE_S = 0xFFFF / 1e6
_MOST_SOURCES = 1000
"""A flood from ever new addresses shall not fill the disk with their names."""


class Traced(NamedTuple):
    """`at_s` is the arrival in seconds after the leg's opening; the datagram belongs to the tick `tick`."""

    tick: int
    at_s: float
    source: Address
    data: bytes


class LeftOut(NamedTuple):
    """So many ticks, from number `tick` on, never came."""

    tick: int
    ticks: int


Record: TypeAlias = Traced | LeftOut


class TraceWriter:
    """Turns datagrams into octets for a file; keeps nothing but the sources' indices."""

    def __init__(self) -> None:
        self._sources: dict[Address, int] = {}

    def begin(self) -> bytes:
        return _HEAD

    def datagram(self, tick: int, before_s: float, source: Address, data: bytes) -> bytes:
        index = self._sources.get(source)
        named = b""
        if index is None:
            if len(self._sources) >= _MOST_SOURCES:
                return b""
            index = self._sources[source] = len(self._sources)
            host = source[0].encode()[:255]
            named = _SOURCE.pack(0, index, source[1], len(host)) + host
        if before_s > _LONGEST_BEFORE_S:
            # Ticks were left out in between: one of those was its own.
            whole = min(tick, int(before_s / TICK_S))
            tick, before_s = tick - whole, before_s - whole * TICK_S
        before_us = min(max(round(before_s * 1e6), 0), 0xFFFF)
        return named + _DATAGRAM.pack(1, index, tick, before_us, len(data)) + data

    def left_out(self, tick: int, count: int) -> bytes:
        return _LEFT_OUT.pack(2, tick, count)


def read(trace: bytes) -> Iterator[Record]:
    """The datagrams in the order they came, and between them which ticks did not come. Raises `PeerError` for a file
    that is no trace."""
    if trace[: len(_HEAD)] not in (_HEAD, _FIRST_HEAD):
        raise PeerError("not an RTP trace of a version we know")
    sources: dict[int, Address] = {}
    at = len(_HEAD)
    while at < len(trace):
        try:
            at = yield from _record(trace, at, sources)
        except struct.error:
            return


def _record(trace: bytes, at: int, sources: dict[int, Address]) -> Generator[Record, None, int]:
    """One record; its end is the generator's value. Raises struct.error where the file was cut off."""
    if trace[at] == 0:
        index: int
        length: int
        _, index, port, length = _SOURCE.unpack_from(trace, at)
        at += _SOURCE.size
        sources[index] = (_cut(trace, at, length).decode("ascii", "replace"), port)
        return at + length
    if trace[at] == 2:
        _, first, count = _LEFT_OUT.unpack_from(trace, at)
        yield LeftOut(first, count)
        return at + _LEFT_OUT.size
    if trace[at] != 1:
        raise PeerError(f"unknown record in RTP trace at octet {at}")
    size: int
    _, index, tick, before_us, size = _DATAGRAM.unpack_from(trace, at)
    at += _DATAGRAM.size
    if index not in sources:
        raise PeerError(f"RTP trace names no source {index}")
    yield Traced(tick, tick * TICK_S - before_us / 1e6, sources[index], _cut(trace, at, size))
    return at + size


def _cut(trace: bytes, at: int, length: int) -> bytes:
    if at + length > len(trace):
        raise struct.error
    return trace[at : at + length]
