"""Packets of any length, cut and joined to whole cells of 10 ms: RFC 3551 4.2 asks receivers for 0 to 200 ms.

Programs that send what their file gives them send 128 ms, or as much as a datagram holds, and shorter packets where
their blocks end. Octets are samples of 8 kHz, of G.722 as well, which can be cut anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.media.jitter import CELL

LONGEST = 20 * CELL
MOST_CELLS = 6
"""What the jitter buffer takes in one packet."""

_NEAR = 20 * CELL
"""What begins farther than this from the end of the packet before begins anew."""


class Piece(NamedTuple):
    timestamp: int
    octets: bytes


def are_whole(octets: int) -> bool:
    """Whether a packet of so many octets can be played as it came."""
    return octets % CELL == 0 and octets <= MOST_CELLS * CELL


@dataclass(slots=True)
class Cells:
    """One stream's grid of cells, and what has come of those that are not whole yet.

    A stream that has once been cut stays on its grid: where a short packet is lost, nobody else knows how to go on.
    """

    begun: bool = False
    _end: int = 0
    """Where the latest packet ended: a timestamp."""

    _cell: int = 0
    """Of the grid, the one that the end lies in; and its timestamp:"""

    _origin: int = 0
    _parts: dict[int, dict[int, bytes]] = field(default_factory=dict)
    """Octets by their offsets in cells."""

    def concern(self, payload: bytes) -> bool:
        """Whether this packet has to be cut, or joined with what waits."""
        return self.begun or not are_whole(len(payload))

    def feed(self, timestamp: int, payload: bytes) -> list[Piece]:
        """What of a packet, and of those before it, is whole now: up to 60 ms each."""
        if not self.begun or abs(_signed(timestamp - self._end)) > _NEAR:
            self.begun, self._origin, self._end, self._cell = True, timestamp, timestamp, 0
            self._parts.clear()
        position = self._cell * CELL + _signed(timestamp - self._origin)
        whole = self._fill(*divmod(position, CELL), payload)
        runs = _runs(sorted(whole))
        pieces = [Piece(self._timestamp(cells[0]), b"".join(whole[cell] for cell in cells)) for cells in runs]
        end = timestamp + len(payload) & 0xFFFFFFFF
        if _signed(end - self._end) > 0:
            self._end, cell = end, (position + len(payload)) // CELL
            self._origin, self._cell = self._timestamp(cell), cell
            self._parts = {at: parts for at, parts in self._parts.items() if abs(at - cell) <= LONGEST // CELL}
        return pieces

    def _timestamp(self, cell: int) -> int:
        return self._origin + (cell - self._cell) * CELL & 0xFFFFFFFF

    def _fill(self, cell: int, offset: int, payload: bytes) -> dict[int, bytes]:
        """Lay a packet that begins at `offset` of `cell` onto the grid; gives the cells that it made whole."""
        whole: dict[int, bytes] = {}
        at = 0
        while at < len(payload):
            octets = payload[at : at + CELL - offset]
            parts = self._parts.setdefault(cell, {})
            parts[offset] = octets
            joined = b"".join(parts[start] for start in sorted(parts))
            if len(joined) == CELL:
                whole[cell] = joined
                del self._parts[cell]
            at, cell, offset = at + len(octets), cell + 1, 0
        return whole


def _signed(difference: int) -> int:
    return (difference + 0x80000000) % 0x100000000 - 0x80000000


def _runs(cells: list[int]) -> list[list[int]]:
    """Cells that follow on each other, `MOST_CELLS` at a time."""
    runs: list[list[int]] = []
    for cell in cells:
        if runs and runs[-1][-1] == cell - 1 and len(runs[-1]) < MOST_CELLS:
            runs[-1].append(cell)
        else:
            runs.append([cell])
    return runs
