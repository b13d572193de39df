"""Telephone audio made ready for a recogniser trained on wide-band speech: twice the rate, and one level for all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FRAME = 80
"""Samples of 10 ms at 8 kHz, the recogniser's own step."""
RANGE_DB = 25.0
"""How far below the loudest frame still counts as sound."""
ABOVE_NOISE_DB = 6.0
"""How far above the line's own noise a sound must be, and how far below the loudest frame that noise can be at most."""
QUIET_SHARE = 0.1
"""At least this much of an utterance is none: the preroll and the silence that ended it."""
TARGET_DBFS = -20.0
MAX_GAIN = 100.0
"""A quieter line than this allows for carries no speech: 40 dB."""

Pcm = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]


def energies(pcm: Pcm) -> npt.NDArray[np.float64]:
    """Mean square of each whole frame."""
    frames = pcm[: len(pcm) // FRAME * FRAME].astype(np.float64).reshape(-1, FRAME)
    means: npt.NDArray[np.float64] = np.square(frames).mean(axis=1)
    return means


def sounding(energy: npt.NDArray[np.float64]) -> Mask:
    """Which frames have something in them."""
    if not len(energy):
        return np.zeros(0, np.bool_)
    loudest = np.max(energy)
    noise = min(np.quantile(energy, QUIET_SHARE) * 10 ** (ABOVE_NOISE_DB / 10), loudest * 10 ** (-ABOVE_NOISE_DB / 10))
    mask: Mask = (energy >= max(noise, loudest * 10 ** (-RANGE_DB / 10))) & (energy > 0)
    return mask


def gain(energy: npt.NDArray[np.float64]) -> float:
    """What brings the sounding frames to `TARGET_DBFS` on average; 1 for silence."""
    loud = energy[sounding(energy)]
    if not len(loud):
        return 1.0
    return float(min(MAX_GAIN, 32768 * 10 ** (TARGET_DBFS / 20) / np.sqrt(loud.mean())))


def doubled(pcm: Pcm, factor: float, previous: int = 0) -> bytes:
    """16 kHz from 8 kHz by straight lines between samples, scaled by `factor`; `previous` is the sample before.

    The mirror image above 4 kHz that better filters would remove is what the recogniser's wide-band filters need to
    find there: something quiet, and not nothing.
    """
    samples = np.concatenate(([previous], pcm)).astype(np.float64) * factor
    out = np.empty(2 * len(pcm))
    out[0::2] = (samples[:-1] + samples[1:]) / 2
    out[1::2] = samples[1:]
    return bytes(np.clip(np.rint(out), -32768, 32767).astype("<i2").data)
