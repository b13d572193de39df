"""Packet captures (tcpdump's pcap, Wireshark's pcapng) down to their UDP datagrams with times.

Ethernet with VLAN tags, Linux "any" captures, BSD loopback and raw IP; IPv4 and IPv6. Fragments are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, TypeAlias

from gateway.core.errors import ConfigError

Address: TypeAlias = tuple[str, int]

_NULL, _ETHERNET, _RAW, _LINUX_COOKED, _LINUX_COOKED_2 = 0, 1, 101, 113, 276
_SKIPPED: dict[int, tuple[int, int | None]] = {
    _NULL: (4, None),
    _ETHERNET: (14, 12),
    _RAW: (0, None),
    _LINUX_COOKED: (16, 14),
    _LINUX_COOKED_2: (20, 0),
}
"""By link type: octets before the IP header, and where the EtherType stands, if there is one."""
_VLAN_TAGS = (0x8100, 0x88A8)
_IP_TYPES = (0x0800, 0x86DD)
_PCAP_MAGIC = {b"\xd4\xc3\xb2\xa1": ("<", 1e-6), b"\xa1\xb2\xc3\xd4": (">", 1e-6),
               b"\x4d\x3c\xb2\xa1": ("<", 1e-9), b"\xa1\xb2\x3c\x4d": (">", 1e-9)}  # fmt: skip
_PCAPNG_SECTION, _PCAPNG_INTERFACE, _PCAPNG_PACKET = 0x0A0D0D0A, 1, 6
_PCAPNG_RESOLUTION = 9
_UDP = 17


class Datagram(NamedTuple):
    """`at_s` is in seconds since 1970, as captured."""

    at_s: float
    source: Address
    target: Address
    data: bytes


class _Frame(NamedTuple):
    at_s: float
    link: int
    data: bytes


def is_capture(path: Path) -> bool:
    """By its first octets."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError:
        return False
    return magic in _PCAP_MAGIC or magic == b"\x0a\x0d\x0d\x0a"


def read_capture(path: Path) -> list[Datagram]:
    """All UDP datagrams, in the order of the file; of one that was cut off, up to there. Raises `ConfigError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error
    frames = _pcap(content) if content[:4] in _PCAP_MAGIC else _pcapng(content)
    found: list[Datagram] = []
    try:
        for frame in frames:
            datagram = _datagram(frame)
            if datagram is not None:
                found.append(datagram)
    except struct.error as error:
        if not found:
            raise ConfigError("not a packet capture, or cut off before its first packet", path=path) from error
    return found


def _pcap(content: bytes) -> Iterator[_Frame]:
    order, fraction = _PCAP_MAGIC[content[:4]]
    link = struct.unpack_from(f"{order}I", content, 20)[0] & 0x0FFFFFFF
    at = 24
    while at < len(content):
        seconds, part, size, _ = struct.unpack_from(f"{order}IIII", content, at)
        yield _Frame(seconds + part * fraction, link, _cut(content, at + 16, size))
        at += 16 + size


def _pcapng(content: bytes) -> Iterator[_Frame]:
    order, at = "<", 0
    interfaces: list[tuple[int, float]] = []
    while at < len(content):
        kind = struct.unpack_from(f"{order}I", content, at)[0]
        if kind == _PCAPNG_SECTION:
            order = "<" if content[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces.clear()
        length = struct.unpack_from(f"{order}I", content, at + 4)[0]
        body = _cut(content, at + 8, length - 12)
        if kind == _PCAPNG_INTERFACE:
            interfaces.append((struct.unpack_from(f"{order}H", body)[0], _resolution(body[8:], order)))
        elif kind == _PCAPNG_PACKET:
            number, high, low, size, _ = struct.unpack_from(f"{order}IIIII", body)
            if number < len(interfaces):
                link, unit = interfaces[number]
                yield _Frame(((high << 32) | low) * unit, link, body[20 : 20 + size])
        at += length


def _resolution(options: bytes, order: str) -> float:
    """The unit of an interface's time stamps: a microsecond, unless its options name another."""
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from(f"{order}HH", options, at)
        if code == _PCAPNG_RESOLUTION and size:
            value = options[at + 4]
            return float(2.0 ** -(value & 0x7F)) if value & 0x80 else float(10.0**-value)
        at += 4 + size + -size % 4
    return 1e-6


def _cut(content: bytes, at: int, size: int) -> bytes:
    if size < 0 or at + size > len(content):
        raise struct.error
    return content[at : at + size]


def _datagram(frame: _Frame) -> Datagram | None:
    """None for everything that is not a whole UDP datagram."""
    packet = _ip_packet(frame)
    if len(packet) < 28:
        return None
    if packet[0] >> 4 == 4:
        header = 4 * (packet[0] & 0x0F)
        whole = not struct.unpack_from(">H", packet, 6)[0] & 0x3FFF
        protocol, source, target = packet[9], packet[12:16], packet[16:20]
    else:
        header, whole = 40, True
        protocol, source, target = packet[6], packet[8:24], packet[24:40]
    if protocol != _UDP or not whole or len(packet) < header + 8:
        return None
    source_port, target_port, size = struct.unpack_from(">HHH", packet, header)
    data = packet[header + 8 : header + max(8, size)]
    return Datagram(frame.at_s, (str(ip_address(source)), source_port), (str(ip_address(target)), target_port), data)


def _ip_packet(frame: _Frame) -> bytes:
    """Without the link's header; empty when it is no IP, or of a link we do not know."""
    if frame.link not in _SKIPPED:
        return b""
    skip, type_at = _SKIPPED[frame.link]
    data = frame.data
    if type_at is not None:
        while len(data) >= skip and struct.unpack_from(">H", data, type_at)[0] in _VLAN_TAGS:
            data = data[:type_at] + data[type_at + 4 :]
        if len(data) < skip or struct.unpack_from(">H", data, type_at)[0] not in _IP_TYPES:
            return b""
    return data[skip:]
