"""What crosses the plane's edge: datagrams in and out, and what a tick makes of them.

Nearly all of them are alike: 20 ms of audio, unprotected, between two addresses that are known. Those cross by row and
in columns (`Usual`, `Departures`), so that no object is made for any of them; `Received` and `ToSend` are for the rest.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import msgspec

from gateway.media.ports import Said

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


@dataclass(slots=True)
class Usual:
    """Datagrams of `USUAL_SIZE` octets, each from the one address that `LegTable.usual_source` names for its row."""

    rows: list[int] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def take_out(self, rows: Container[int]) -> list[tuple[int, bytes, float]]:
        """What came for these rows; it is here no more."""
        every = list(zip(self.rows, self.data, self.at, strict=True))
        taken = [one for one in every if one[0] in rows]
        if taken:
            left = [one for one in every if one[0] not in rows]
            self.rows, self.data, self.at = [r for r, _, _ in left], [d for _, d, _ in left], [at for _, _, at in left]
        return taken

    def drop(self, row: int) -> None:
        """Forget what came for a row whose leg or peer is no more."""
        while row in self.rows:
            k = self.rows.index(row)
            del self.rows[k], self.data[k], self.at[k]


class Departures(NamedTuple):
    """What leaves in a tick: a packet for each of `rows`, to `LegTable.remote` of the row, and `others`.

    `packets` are all of `USUAL_SIZE` octets, one behind the other.
    """

    rows: list[int]
    packets: bytes
    others: list[ToSend]


class Tick(NamedTuple):
    to_send: list[ToSend]
    said: list[Said]
