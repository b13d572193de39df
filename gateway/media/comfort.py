"""Comfort noise, RFC 3389: a peer that stops sending tells how quiet its line is, and we may do the same.

Only the level is used; the shape of the spectrum, which the RFC leaves to the receiver, is white.
"""

from __future__ import annotations

import numpy as np

from gateway.media.codecs import Int16s
from gateway.media.history import FRAME
from gateway.media.jitter import CELL, Bools
from gateway.media.ports import Int64s

_SOON = 25
"""Ticks (0.5 s) within which the stream must stop after its noise was announced; else it was a lost packet."""

_AGAIN = 25
"""Ticks after which our noise is announced again: routers and the peer's patience must not forget us."""

_OUR_LEVEL = 70
"""-70 dBov: our silence is digital, and a line without any noise sounds dead."""

_OVERLOAD = 32768.0
_NOISE = np.random.default_rng(3389).standard_normal(8 * FRAME + CELL).astype(np.float32)


class NoiseFiller:
    """Fills what a resting peer does not send. Rows whose peers never rest take no part."""

    def __init__(self) -> None:
        self._levels: dict[int, float] = {}
        self._patience: dict[int, int] = {}  # ticks until the stream must have stopped; -1: it has

    def reset(self, row: int) -> None:
        self._levels.pop(row, None)
        self._patience.pop(row, None)

    def announce(self, row: int, payload: bytes) -> None:
        """A comfort noise packet. Raises ValueError for one without a level."""
        if not payload:
            raise ValueError("comfort noise has a level")
        self._levels[row] = _OVERLOAD * 10 ** (-(payload[0] & 0x7F) / 20)
        if self._patience.get(row, 0) >= 0:
            self._patience[row] = _SOON

    def fill(self, rows: Int64s, position: int, pcm: Int16s, have: Bools) -> None:
        """Noise in place of what `have` (rows, 2) misses of `pcm` (rows, 160)."""
        for row in list(self._levels):
            k = int(np.searchsorted(rows, row))
            if k < len(rows) and rows[k] == row:
                self._fill(row, position, pcm[k], have[k])

    def _fill(self, row: int, position: int, pcm: Int16s, have: Bools) -> None:
        patience = self._patience[row]
        if have.all():
            # Audio again after the rest, or audio that never stopped.
            if patience <= 0:
                self.reset(row)
            else:
                self._patience[row] = patience - 1
            return
        self._patience[row] = -1
        start = (position // CELL + row) * 57 % (len(_NOISE) - FRAME)
        noise = np.rint(self._levels[row] * _NOISE[start : start + FRAME]).clip(-32768, 32767).astype(np.int16)
        for half in np.flatnonzero(~have):
            part = slice(half * CELL, half * CELL + CELL)
            pcm[part] = noise[part]


class Resting:
    """Which of the rows that may rest do, and when that is to be said."""

    def __init__(self, slots: int) -> None:
        self._since = np.zeros(slots, np.int64)  # ticks of rest; 0: awake

    def reset(self, row: int) -> None:
        self._since[row] = 0

    def tick(self, rows: Int64s, quiet: Bools) -> tuple[Bools, Bools, Bools]:
        """Of `rows` that may rest, and whether each has nothing to say: who sends no audio, who announces its noise
        now, and who wakes up."""
        since = self._since[rows]
        wakes = ~quiet & (since > 0)
        self._since[rows] = np.where(quiet, since + 1, 0)
        return quiet, quiet & (since % _AGAIN == 0), wakes


def announcement() -> bytes:
    return bytes([_OUR_LEVEL])
