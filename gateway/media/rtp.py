"""RTP packets (RFC 3550 5.1): one at a time for the odd ones, as columns of a matrix for the many."""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.errors import PeerError
from gateway.media.ports import Int64s

HEADER = 12
COMFORT_NOISE = 13

Bytes: TypeAlias = npt.NDArray[np.uint8]


class RtpPacket(NamedTuple):
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False


def is_rtcp(data: bytes) -> bool:
    """Tells RTCP from RTP on one port, RFC 5761 4."""
    return len(data) >= 2 and 192 <= data[1] <= 223


def parse(data: bytes) -> RtpPacket:
    """Any well-formed packet, with contributing sources, extension and padding taken off. Raises `PeerError`."""
    if len(data) < HEADER or data[0] >> 6 != 2:
        raise PeerError("not an RTP packet")
    flags, kind, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", data)
    start, end = HEADER + 4 * (flags & 0x0F), len(data)
    if flags & 0x10:
        if end < start + 4:
            raise PeerError("RTP header extension is cut off")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if flags & 0x20:
        end -= data[-1] or end
    if end < start:
        raise PeerError("RTP packet is shorter than it says")
    return RtpPacket(kind & 0x7F, sequence, timestamp, ssrc, data[start:end], bool(kind & 0x80))


def build(packet: RtpPacket) -> bytes:
    """The inverse of `parse` for a packet with nothing but a payload."""
    kind = packet.payload_type | (0x80 if packet.marker else 0)
    return struct.pack("!BBHII", 0x80, kind, packet.sequence, packet.timestamp, packet.ssrc) + packet.payload


class Headers(NamedTuple):
    """The fields of many packets of one length, in columns."""

    plain: npt.NDArray[np.bool_]
    """Nothing but the twelve octets and the payload follows."""

    payload_types: Int64s
    sequences: Int64s
    timestamps: Int64s
    ssrcs: Int64s

    def pick(self, chosen: npt.NDArray[np.bool_]) -> Headers:
        """Only these packets'."""
        of = self.payload_types[chosen], self.sequences[chosen], self.timestamps[chosen], self.ssrcs[chosen]
        return Headers(self.plain[chosen], *of)


_FIELDS = np.dtype([("flags", "u1"), ("kind", "u1"), ("sequence", ">u2"), ("timestamp", ">u4"), ("ssrc", ">u4")])


def parse_many(packets: Bytes) -> Headers:
    """The headers of packets laid under each other, (packets, octets)."""
    fields = packets[:, :HEADER].view(_FIELDS)[:, 0]
    return Headers(
        fields["flags"] == 0x80,
        (fields["kind"] & 0x7F).astype(np.int64),
        fields["sequence"].astype(np.int64),
        fields["timestamp"].astype(np.int64),
        fields["ssrc"].astype(np.int64),
    )


def build_many(headers: Headers, markers: npt.NDArray[np.bool_], payloads: Bytes) -> Bytes:
    """Packets laid under each other, (packets, 12 + payload)."""
    packets = np.empty((len(payloads), HEADER + payloads.shape[1]), np.uint8)
    fields = packets[:, :HEADER].view(_FIELDS)[:, 0]
    fields["flags"] = 0x80
    fields["kind"] = headers.payload_types | 0x80 * markers
    fields["sequence"], fields["timestamp"], fields["ssrc"] = headers.sequences, headers.timestamps, headers.ssrcs
    packets[:, HEADER:] = payloads
    return packets
