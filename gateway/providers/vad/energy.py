"""`kind: energy`: speech is what stands out from the line's own noise. Costs nothing, takes music for speech."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta

from gateway.media.ports import Float32s, Int64s

WINDOW: Final = 256
QUIETEST_DB: Final = -75.0
"""Below this is nothing, on any line: the floor never falls lower."""
FLOOR_UNKNOWN_DB: Final = -50.0
"""A call begins with the noise of an ordinary line."""
FLOOR_RISE_DB_PER_S: Final = 6.0
"""How fast the floor follows a line that becomes louder: slower than speech, whose pauses pull it down again."""


class Options(msgspec.Struct, frozen=True):
    slots: Annotated[int, Meta(ge=1)]
    """Calls at once; set by the media plane."""
    above_floor_db: Annotated[float, Meta(ge=3, le=40)] = 12.0
    """How far above the noise a window must be to be speech as likely as not."""


class EnergyVad:
    """Implements `BatchVad`."""

    window = WINDOW

    def __init__(self, options: Options) -> None:
        self._above_floor_db = np.float32(options.above_floor_db)
        self._floor_db = np.full(options.slots, FLOOR_UNKNOWN_DB, np.float32)

    def reset(self, rows: Int64s) -> None:
        self._floor_db[rows] = FLOOR_UNKNOWN_DB

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        level_db = 10 * np.log10(np.square(audio).mean(axis=1) + np.float32(1e-9))
        rise_db = np.float32(FLOOR_RISE_DB_PER_S * WINDOW / 8000)
        floor_db = np.maximum(np.minimum(level_db, self._floor_db[rows] + rise_db), np.float32(QUIETEST_DB))
        self._floor_db[rows] = floor_db
        above: Float32s = (level_db - floor_db - self._above_floor_db) / np.float32(2.0)
        probabilities: Float32s = np.float32(0.5) + np.float32(0.5) * np.tanh(above / 2)
        return probabilities


def build(options: Options) -> EnergyVad:
    return EnergyVad(options)
