"""`kind: spectral`: takes steady noise (a fan, a road, a hissing line) out of what callers say. Adds 20 ms of delay.

Each call's noise is learnt all the time, by how likely each frequency holds speech (Gerkmann and Hendriks, 2012), and
frequencies are turned down by how little of them is speech (a Wiener filter on the decision-directed estimate of
Ephraim and Malah, 1984). Music and other voices stay.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from gateway.media.ports import Float32s, Int64s

HOP: Final = 160
_BINS: Final = HOP + 1
_WINDOW: Final = np.sin(np.pi * (np.arange(2 * HOP) + 0.5) / (2 * HOP)).astype(np.float32)
"""Squared and overlapped by half it sums to one: applied before and after, what is left alone comes out as it was."""

_SPEECH_SNR: Final = 10**1.5
"""Speech, where there is any, is taken to be 15 dB above the noise: a fixed value, since a followed one would sleep."""
_NOISE_KEEPS: Final = 0.8
_PRESENCE_KEEPS: Final = 0.9
_SURE: Final = 0.99
"""Beyond this for long, the noise itself has grown: it is let in a little, or it would never be learnt."""
_SNR_KEEPS: Final = 0.98
_LEARNING: Final = 5
"""The first frames of a call are taken for its noise: nobody speaks in the first 100 ms."""
_SILENCE: Final = 1e-8


class Options(msgspec.Struct, frozen=True):
    slots: Annotated[int, Meta(ge=1)]
    """Calls at once; set by the media plane."""
    at_most_db: Annotated[float, Meta(ge=0, le=40)] = 10.0
    """How far noise is turned down. More leaves musical tones behind, which mislead the built-in recogniser."""


class SpectralSuppressor:
    """Implements `NoiseSuppressor`. Rows do not influence one another."""

    def __init__(self, options: Options) -> None:
        self._floor = np.float32(10 ** (-options.at_most_db / 20))
        self._before: Float32s = np.zeros((options.slots, HOP), np.float32)
        self._tail: Float32s = np.zeros((options.slots, HOP), np.float32)
        self._noise: Float32s = np.zeros((options.slots, _BINS), np.float32)
        self._presence: Float32s = np.zeros((options.slots, _BINS), np.float32)
        self._speech: Float32s = np.zeros((options.slots, _BINS), np.float32)
        self._heard = np.zeros(options.slots, np.int64)

    def reset(self, rows: Int64s) -> None:
        for state in (self._before, self._tail, self._noise, self._presence, self._speech, self._heard):
            state[rows] = 0

    def clean(self, rows: Int64s, audio: Float32s) -> Float32s:
        spectrum = np.fft.rfft(np.concatenate([self._before[rows], audio], axis=1) * _WINDOW, axis=1)
        self._before[rows] = audio
        power = (np.abs(spectrum) ** 2).astype(np.float32) + np.float32(_SILENCE)
        self._learn(rows, power)
        frame = (np.fft.irfft(spectrum * self._gain(rows, power), axis=1) * _WINDOW).astype(np.float32)
        cleaned: Float32s = self._tail[rows] + frame[:, :HOP]
        self._tail[rows] = frame[:, HOP:]
        return cleaned

    def _learn(self, rows: Int64s, power: Float32s) -> None:
        """Move the noise on by as much of this frame as is likely no speech."""
        heard = self._heard[rows][:, None]
        noise = np.maximum(self._noise[rows], np.float32(_SILENCE))
        ratio = np.minimum(power / noise, 100.0) * (_SPEECH_SNR / (1 + _SPEECH_SNR))
        likely = 1 / (1 + (1 + _SPEECH_SNR) * np.exp(-ratio))
        presence = _PRESENCE_KEEPS * self._presence[rows] + (1 - _PRESENCE_KEEPS) * likely
        likely = np.where(presence > _SURE, np.minimum(likely, _SURE), likely)
        learnt = _NOISE_KEEPS * noise + (1 - _NOISE_KEEPS) * (likely * noise + (1 - likely) * power)
        averaged = (self._noise[rows] * heard + power) / (heard + 1)
        self._noise[rows] = np.where(heard < _LEARNING, averaged, learnt)
        self._presence[rows] = np.where(heard < _LEARNING, 0.0, presence)
        self._heard[rows] += 1

    def _gain(self, rows: Int64s, power: Float32s) -> npt.NDArray[Any]:
        noise = self._noise[rows]
        snr = _SNR_KEEPS * self._speech[rows] / noise + (1 - _SNR_KEEPS) * np.maximum(power / noise - 1, 0.0)
        gain: npt.NDArray[Any] = np.maximum(snr / (1 + snr), self._floor)
        self._speech[rows] = gain**2 * power
        return gain


def build(options: Options) -> SpectralSuppressor:
    return SpectralSuppressor(options)
