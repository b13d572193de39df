"""Test tones at exact levels, and the dual tones of a telephone's keys (ITU-T Q.23)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.history import FRAME

Int16s: TypeAlias = npt.NDArray[np.int16]

RATE = 8000

# G.711 3: the sine that just reaches a law's last decision value has +3.17 dBm0 (mu-law) and +3.14 dBm0 (A-law).
_FULL_SCALE = (32636 / 10 ** (3.17 / 20), 32768 / 10 ** (3.14 / 20))

_ROWS, _COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
_KEYS = "123A456B789C*0#D"
KEY_HZ = {key: (_ROWS[k // 4], _COLUMNS[k % 4]) for k, key in enumerate(_KEYS)}

_KEY_DBM0 = -6.0
"""Level of each of a key's two tones, within Q.24's range for receivers."""


def amplitude(dbm0: float, law: int) -> float:
    """Peak of a sine of `dbm0`, in 16-bit steps, when coded by `law`."""
    return float(_FULL_SCALE[law] * 10 ** (dbm0 / 20))


def sine(hz: float, dbm0: float, law: int, position: int, scale: int = 1) -> Int16s:
    """20 ms of the tone, from sample `position` of it, at `scale` times 8 kHz. Louder than the code can carry, it is
    clipped."""
    # The phase in whole samples times hz is exact for hours, where adding up steps of it would drift.
    turns = (scale * position + np.arange(scale * FRAME)) * hz / (scale * RATE)
    wave = amplitude(dbm0, law) * np.sin(2 * np.pi * (turns % 1.0))
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)


def key(digit: str, position: int, scale: int = 1) -> Int16s:
    """20 ms of a telephone key's sound, for peers that take no RFC 4733."""
    low, high = (sine(hz, _KEY_DBM0, 0, position, scale) for hz in KEY_HZ[digit])
    return low + high
