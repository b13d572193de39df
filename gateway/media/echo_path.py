"""What a line returns of what was sent: which lag, which filter, what is left. Arithmetic for many rows at once.

All at 2 kHz and between 200 and 900 Hz, where voices carry most of their power: a tenth of the work.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.ports import Float32s, Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]

DECIMATION = 4

LAGS = 800
"""Longest lag at 2 kHz: 400 ms, for 250 ms in the network and both ends' jitter buffers."""

BEFORE, TAPS = 5, 20
"""Of the filter's coefficients, how many are earlier than the best lag, and all of them: hybrids disperse by 8 ms."""

_LOW = np.array([1, 0, 0, -1, -3, -5, -5, -3, 4, 16, 30, 42, 49, 46, 33, 12], np.float32)
LOW = np.concatenate([_LOW, -_LOW[::-1]])
"""Below 900 Hz by 28 dB against all that would fold into it: folded, a delay is no delay any more, and no filter
explains it. It also takes the difference over 0.5 ms, so that hum goes and spectra become flatter.

Whole numbers of no more than 512 in all: times 16-bit samples every sum is exact, in whatever order it is formed.
"""

SPILL = len(LOW) - DECIMATION
"""Samples at 8 kHz that are needed before a stretch to decimate it."""

GAIN = float(np.square(LOW).sum())
"""Of white noise's mean square."""

_AT_ONCE = 10
_BAND = np.zeros((DECIMATION * _AT_ONCE + SPILL, _AT_ONCE), np.float32)
for _k in range(_AT_ONCE):
    _BAND[DECIMATION * _k :][: len(LOW), _k] = LOW[::-1]

_FFT = 1152
_APART = 6
"""A second lag worth a try is at least 3 ms from the first."""


def low(pcm: Int16s) -> Float32s:
    """(rows, SPILL + 40 k) at 8 kHz -> (rows, 10 k) at 2 kHz, unscaled."""
    rows, step = len(pcm), DECIMATION * _AT_ONCE
    blocks = np.lib.stride_tricks.sliding_window_view(pcm, len(_BAND), axis=1)[:, ::step]
    decimated: Float32s = (blocks.astype(np.float32).reshape(-1, len(_BAND)) @ _BAND).reshape(rows, -1)
    return decimated


def likeness(line: Float32s, sent: Float32s) -> Float32s:
    """(rows, LAGS + 1): how like `line` the stretch of `sent` is that begins there; 1 is the same or its negative."""
    spectrum = np.fft.rfft(sent, _FFT, axis=1)
    spectrum *= np.fft.rfft(line, _FFT, axis=1).conj()
    product = np.fft.irfft(spectrum, _FFT, axis=1)[:, : LAGS + 1]
    power = np.cumsum(np.square(sent, dtype=np.float64), axis=1)
    windows = power[:, line.shape[1] - 1 :].copy()
    windows[:, 1:] -= power[:, :LAGS]
    windows = np.maximum(windows, windows.max(axis=1, keepdims=True) * 1e-3 + 1.0)
    heard = np.maximum(np.square(line).sum(axis=1, keepdims=True), 1.0)  # a line may be digital silence
    alike: Float32s = (np.square(product) / (windows * heard)).astype(np.float32)
    return alike


def second(alike: Float32s, first: Int64s) -> Int64s:
    """The best lag that is not near `first`: pitch and formants make several look good."""
    elsewhere = np.where(np.abs(np.arange(LAGS + 1) - first[:, None]) < _APART, -1.0, alike)
    best: Int64s = np.argmax(elsewhere, axis=1)
    return best


def begins(lag: Int64s) -> Int64s:
    """Where what the filter around that lag needs begins, counted like the lag. It is TAPS - 1 longer than the line."""
    first: Int64s = np.clip(lag - (TAPS - 1 - BEFORE), 0, LAGS - TAPS + 1)
    return first


def fit(line: Float32s, sent: Float32s, there: Float32s | None) -> Float32s:
    """(rows, TAPS): the filter through which `sent` is most like `line`. Nothing is compared where `there` is 0."""
    delayed = _delayed(sent).copy()
    if there is not None:
        delayed *= there[:, None]
    products = delayed @ delayed.transpose(0, 2, 1)
    level = np.trace(products, axis1=1, axis2=2) * np.float32(1e-3 / TAPS) + np.float32(1)
    products += level[:, None, None] * np.eye(TAPS, dtype=np.float32)
    taps: Float32s = np.linalg.solve(products, delayed @ line[:, :, None])[:, :, 0]
    return taps


def through(sent: Float32s, taps: Float32s) -> Float32s:
    """What the filter makes of `sent`."""
    filtered: Float32s = np.einsum("rk,rkn->rn", taps, _delayed(sent))
    return filtered


def _delayed(sent: Float32s) -> Float32s:
    """(rows, TAPS, n): `sent` as each of the filter's coefficients gets it."""
    return np.lib.stride_tricks.sliding_window_view(sent, sent.shape[1] - TAPS + 1, axis=1)
