"""Which RTP ports a worker may use, and which of them have rested long enough."""

from __future__ import annotations

from collections import deque

REST_S = 5.0
"""How long a closed port is left alone: packets of its last call may still be on their way."""


class PortRange:
    """Even ports of a range, the one that has rested longest first. The odd port above each is its RTCP port."""

    def __init__(self, first: int, last: int) -> None:
        self._rested = deque((port, float("-inf")) for port in range(first + first % 2, last, 2))

    def __len__(self) -> int:
        return len(self._rested)

    def take(self, now: float) -> int | None:
        """A port to try, or None when none is free and rested."""
        if not self._rested or now - self._rested[0][1] < REST_S:
            return None
        return self._rested.popleft()[0]

    def take_back(self, port: int) -> bool:
        """This port, whether it has rested or not; False when it is taken, or not of this range."""
        kept = [entry for entry in self._rested if entry[0] != port]
        found = len(kept) < len(self._rested)
        self._rested = deque(kept)
        return found

    def give_back(self, port: int, now: float) -> None:
        """It was closed, or somebody else holds it: try it again later."""
        self._rested.append((port, now))
