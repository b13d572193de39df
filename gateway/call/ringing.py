"""The sound of a telephone that rings elsewhere, for callers who wait for somebody to pick it up."""

from __future__ import annotations

from functools import cache

import numpy as np

from gateway.media.history import FRAME
from gateway.media.tones import RATE, sine

RINGING_HZ, RINGING_DBM0 = 425.0, -13.0
"""ITU-T E.180, as most of the world has it."""
RINGS_S, PAUSES_S = 1.0, 4.0


@cache
def ringing() -> bytes:
    """One ring and its pause, 8 kHz PCM."""
    frames = int(RINGS_S * RATE) // FRAME
    tone = np.concatenate([sine(RINGING_HZ, RINGING_DBM0, 0, k * FRAME) for k in range(frames)])
    return tone.tobytes() + bytes(2 * int(PAUSES_S * RATE))
