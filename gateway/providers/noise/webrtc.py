"""`kind: webrtc`: the noise suppressor of WebRTC's audio processing, as browsers use it. Extra `webrtc-noise`.

It works at 16 kHz, so each call's audio is doubled before and halved after; that and its own window delay what is
heard by some 14 ms. One object a call: dearer than `spectral`, whose arithmetic all calls share.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta
from pywebrtc_audio import NoiseSuppressor as _WebRtc

from gateway.media.ports import Float32s, Int64s

FRAME: Final = 160
_RATE: Final = 16000
_HALF: Final = 22
"""Samples at 8 kHz that the filter reaches to each side: 80 dB of stop band from 4.4 kHz on."""


def _kernel() -> Float32s:
    offset = np.arange(-2 * _HALF, 2 * _HALF + 1)
    kernel = np.sinc(offset / 2) * np.kaiser(len(offset), 8.0)
    scaled: Float32s = (kernel / kernel.sum()).astype(np.float32)
    return scaled


_KERNEL: Final = _kernel()
_TAPS: Final = len(_KERNEL)


class Options(msgspec.Struct, frozen=True):
    slots: Annotated[int, Meta(ge=1)]
    """Calls at once; set by the media plane."""
    level: Annotated[int, Meta(ge=0, le=3)] = 1
    """How hard noise is turned down: 6, 12, 18 or 21 dB."""


class WebRtcSuppressor:
    """Implements `NoiseSuppressor`. Rows do not influence one another."""

    def __init__(self, options: Options) -> None:
        self._level = options.level
        self._calls: dict[int, Any] = {}
        self._narrow: Float32s = np.zeros((options.slots, 2 * _HALF), np.float32)
        self._wide: Float32s = np.zeros((options.slots, _TAPS - 1), np.float32)

    def reset(self, rows: Int64s) -> None:
        for row in rows.tolist():
            self._calls.pop(row, None)
        self._narrow[rows] = self._wide[rows] = 0.0

    def clean(self, rows: Int64s, audio: Float32s) -> Float32s:
        wide = self._doubled(rows, np.clip(audio, -1.0, 1.0))
        for k, row in enumerate(rows.tolist()):
            wide[k] = self._of(row).process(wide[k])
        return self._halved(rows, wide)

    def _of(self, row: int) -> Any:
        call = self._calls.get(row)
        if call is None:
            call = self._calls[row] = _WebRtc(sample_rate=_RATE, level=self._level)
        return call

    def _doubled(self, rows: Int64s, audio: Float32s) -> Float32s:
        heard = np.concatenate([self._narrow[rows], audio], axis=1)
        self._narrow[rows] = heard[:, -2 * _HALF :]
        spread = np.zeros((len(rows), 2 * heard.shape[1]), np.float32)
        spread[:, ::2] = 2 * heard
        return _filtered(spread[:, 1:])[:, -2 * FRAME :]

    def _halved(self, rows: Int64s, wide: Float32s) -> Float32s:
        heard = np.concatenate([self._wide[rows], wide], axis=1)
        self._wide[rows] = heard[:, -(_TAPS - 1) :]
        return np.ascontiguousarray(_filtered(heard)[:, ::2])


def _filtered(audio: Float32s) -> Float32s:
    """Row by row, so that no row's sums depend on how many there are."""
    windows = np.lib.stride_tricks.sliding_window_view(audio, _TAPS, axis=1)
    summed: Float32s = np.stack([row @ _KERNEL for row in windows])
    return summed


def build(options: Options) -> WebRtcSuppressor:
    return WebRtcSuppressor(options)
