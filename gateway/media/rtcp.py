"""RTCP (RFC 3550 6): sender and receiver reports, the source's name, goodbye."""

from __future__ import annotations

import struct
from typing import NamedTuple

from gateway.core.errors import PeerError

_SENDER, _RECEIVER, _SOURCE, _BYE = 200, 201, 202, 203
_NTP_OF_1970 = 2_208_988_800


class Block(NamedTuple):
    """What a receiver says of one source. `fraction` of 256 lost since the last report; `jitter` in samples.

    `last_report` is the middle 32 bits of that source's last sender report, `delay` since it came in 1/65536 s.
    """

    ssrc: int
    fraction: int
    lost: int
    highest: int
    jitter: int
    last_report: int
    delay: int


class SenderInfo(NamedTuple):
    """`ntp` is 64 bits: seconds since 1900 in the upper half."""

    ntp: int
    timestamp: int
    packets: int
    octets: int


class Report(NamedTuple):
    ssrc: int
    sender: SenderInfo | None
    blocks: tuple[Block, ...]


def ntp(seconds: float) -> int:
    """Seconds since 1970 as a 64-bit NTP time."""
    return int((seconds + _NTP_OF_1970) * 0x1_0000_0000) & 0xFFFF_FFFF_FFFF_FFFF


def middle(ntp_time: int) -> int:
    """The 32 bits by which reports refer to each other: 16 of seconds, 16 of fraction."""
    return (ntp_time >> 16) & 0xFFFF_FFFF


def build(report: Report, cname: str, *, bye: bool = False) -> bytes:
    """A compound packet: the report, the source's name, and the goodbye when it is one."""
    sender = b"" if report.sender is None else struct.pack("!QIII", *report.sender)
    blocks = b"".join(
        struct.pack(
            "!IIIIII", b.ssrc, b.fraction << 24 | b.lost & 0xFFFFFF, b.highest, b.jitter, b.last_report, b.delay
        )
        for b in report.blocks
    )
    kind = _RECEIVER if report.sender is None else _SENDER
    name = cname.encode()[:255]
    item = bytes([1, len(name)]) + name
    chunk = struct.pack("!I", report.ssrc) + item + bytes(4 - len(item) % 4)
    packets = _packet(kind, len(report.blocks), struct.pack("!I", report.ssrc) + sender + blocks)
    packets += _packet(_SOURCE, 1, chunk)
    return packets + _packet(_BYE, 1, struct.pack("!I", report.ssrc)) if bye else packets


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def parse(data: bytes) -> list[Report]:
    """The reports of a compound (or reduced-size, RFC 5506) packet; other kinds are passed over.

    Raises `PeerError` when the lengths do not add up.
    """
    reports, at = [], 0
    while at < len(data):
        if len(data) < at + 4 or data[at] >> 6 != 2:
            raise PeerError("not an RTCP packet")
        flags, kind, words = struct.unpack_from("!BBH", data, at)
        body = data[at + 4 : at + 4 + 4 * words]
        if len(body) < 4 * words:
            raise PeerError("RTCP packet is cut off")
        if kind in (_SENDER, _RECEIVER):
            reports.append(_parse_report(kind, flags & 0x1F, body))
        at += 4 + 4 * words
    return reports


def _parse_report(kind: int, count: int, body: bytes) -> Report:
    start = 24 if kind == _SENDER else 4
    if len(body) < start + 24 * count:
        raise PeerError("RTCP report is shorter than it says")
    (ssrc,) = struct.unpack_from("!I", body)
    sender = SenderInfo(*struct.unpack_from("!QIII", body, 4)) if kind == _SENDER else None
    return Report(ssrc, sender, tuple(_parse_block(body, start + 24 * k) for k in range(count)))


def _parse_block(body: bytes, at: int) -> Block:
    ssrc, losses, highest, jitter, last_report, delay = struct.unpack_from("!IIIIII", body, at)
    lost = losses & 0xFFFFFF
    return Block(ssrc, losses >> 24, lost - 0x1000000 if lost & 0x800000 else lost, highest, jitter, last_report, delay)
