"""What crosses the plane's edge: datagrams in and out, and what a tick makes of them.

Nearly all of them are alike: 20 ms of audio, unprotected, between two addresses that are known. Those cross by row and
in columns (`Usual`, `Departures`), so that no object is made for any of them; `Received` and `ToSend` are for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.media.ports import Float64s, Int64s, Said
from gateway.media.rtp import Bytes

USUAL_SIZE = 12 + 160
"""Octets of an RTP header and 20 ms of G.711, or of G.722."""

Address: TypeAlias = tuple[str, int]
"""Host (a literal address) and port."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """A datagram for `leg`, RTP or RTCP, that arrived at `at` on the clock of `now`."""

    leg: str
    data: bytes
    source: Address
    at: float


class ToSend(msgspec.Struct, frozen=True, gc=False):
    """A datagram to leave from the leg's RTP port, or (`control`) from its RTCP port."""

    leg: str
    data: bytes
    destination: Address
    control: bool = False


class Usual(NamedTuple):
    """Datagrams of `USUAL_SIZE` octets for rows of which `LegTable.usual_source` is true, from who is latched there.

    In the order they came for each row.
    """

    rows: Int64s
    data: Bytes
    """(packets, `USUAL_SIZE`)"""

    at: Float64s

    @classmethod
    def of(cls, rows: Sequence[int], data: Sequence[bytes], at: Sequence[float]) -> Usual:
        octets = np.frombuffer(b"".join(data), np.uint8).reshape(-1, USUAL_SIZE)
        return cls(np.array(rows, np.int64), octets, np.array(at, np.float64))

    @classmethod
    def all_of(cls, parts: Sequence[Usual]) -> Usual:
        """One behind the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*map(np.concatenate, zip(*parts, strict=True))) if parts else cls.of([], [], [])

    def pick(self, chosen: npt.NDArray[np.bool_]) -> Usual:
        return Usual(self.rows[chosen], self.data[chosen], self.at[chosen])

    def singly(self) -> list[tuple[int, bytes, float]]:
        return list(zip(self.rows.tolist(), map(bytes, self.data), self.at.tolist(), strict=True))


class Departures(NamedTuple):
    """What leaves in a tick: a packet for each of `rows`, to `LegTable.remote` of the row, and `others`."""

    rows: Int64s
    packets: Bytes
    """(rows, `USUAL_SIZE`)"""

    others: list[ToSend]

    @classmethod
    def nothing(cls) -> Departures:
        return cls(np.zeros(0, np.int64), np.zeros((0, USUAL_SIZE), np.uint8), [])


class Tick(NamedTuple):
    to_send: list[ToSend]
    said: list[Said]
