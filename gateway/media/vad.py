"""Silero's voice activity detector (8 kHz, MIT licence), for many calls at once, in numpy.

A window of 256 samples with the 32 before it becomes four spectra, four convolutions fold these into one vector of
128 features, a recurrent cell carries them on, and one unit tells the probability of speech. Every layer is a matrix
product over all rows. Equal to onnxruntime on the published `silero_vad.onnx` within 1e-5.

Each call is a row, and its frames stand beside each other: what a convolution sees is a stretch of it, and nothing is
copied between the layers.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from gateway.media.ports import Float32s, Int64s

_FILE = Path(__file__).parent / "data" / "silero_vad_8k.npz"

_WINDOW = 256
_CONTEXT = 32
_HEARD = _CONTEXT + _WINDOW
_CELL = 128
_BINS = 65
_FRAMES = 4
_FRAME, _HOP = 128, 64
_FRAMED = _FRAME + _HOP * (_FRAMES - 1)
"""Samples in all frames: the last one lacks its end, which is what was heard last, mirrored."""

_FIRST, _SECOND = 128, 64
"""Features of a frame behind the first convolution, and of two behind the second."""


class SileroVad:
    """Implements `BatchVad`. Deterministic for a given batch; rows do not influence one another."""

    window = _WINDOW

    def __init__(self, slots: int) -> None:
        self._w = _weights()
        self._context = np.zeros((slots, _CONTEXT), np.float32)
        self._said = np.zeros((slots, _CELL), np.float32)
        self._memory = np.zeros((slots, _CELL), np.float32)

    def reset(self, rows: Int64s) -> None:
        for state in (self._context, self._said, self._memory):
            state[rows] = 0.0

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        heard = np.empty((len(rows), _FRAMED), np.float32)
        heard[:, :_CONTEXT], heard[:, _CONTEXT:_HEARD] = self._context[rows], audio
        heard[:, _HEARD:] = heard[:, _HEARD - 2 : 2 * _HEARD - 2 - _FRAMED : -1]
        self._context[rows] = audio[:, -_CONTEXT:]
        said = self._remember(rows, self._features(self._magnitudes(heard)))
        return _sigmoid(_rectify(said) @ self._w["out"] + self._w["out_bias"])

    def _magnitudes(self, heard: Float32s) -> Float32s:
        """(rows, 4 * 65): the spectra of four frames, 64 samples apart, beside each other.

        The window is symmetric and so are cosines, about the middle of the frame; sines are so but for their sign. So
        sums of the samples on either side give the real parts, and differences the imaginary ones, by half as many
        weights each. The first sample of a frame has no opposite, and no weight.
        """
        onward = heard[:, 1 : 1 + _HOP * _FRAMES]
        back = heard[:, _HOP:].reshape(-1, _FRAMES, _HOP)[:, :, ::-1].reshape(-1, _HOP * _FRAMES)
        real = (onward + back).reshape(-1, _HOP) @ self._w["cosines"]
        imaginary = (onward - back).reshape(-1, _HOP) @ self._w["sines"]
        real *= real
        imaginary *= imaginary
        real[:, :-1] += imaginary
        return np.sqrt(real, out=real).reshape(-1, _FRAMES * _BINS)

    def _features(self, spectra: Float32s) -> Float32s:
        """(rows, 64), the last layer's input. A layer looks at three frames; beyond the edges there is nothing."""
        conv = self._w["conv0"]
        first = np.empty((len(spectra), _FRAMES * _FIRST), np.float32)
        np.matmul(spectra[:, : 2 * _BINS], conv[_BINS:], out=first[:, :_FIRST])
        np.matmul(spectra[:, : 3 * _BINS], conv, out=first[:, _FIRST : 2 * _FIRST])
        np.matmul(spectra[:, _BINS:], conv, out=first[:, 2 * _FIRST : 3 * _FIRST])
        np.matmul(spectra[:, 2 * _BINS :], conv[: 2 * _BINS], out=first[:, 3 * _FIRST :])
        first += self._w["bias0"]
        _rectify(first)
        conv = self._w["conv1"]
        pair = np.empty((len(spectra), 2 * _SECOND), np.float32)
        np.matmul(first[:, : 2 * _FIRST], conv[_FIRST:], out=pair[:, :_SECOND])
        np.matmul(first[:, _FIRST:], conv, out=pair[:, _SECOND:])
        pair += self._w["bias1"]
        third: Float32s = _rectify(pair) @ self._w["conv2"]
        third += self._w["bias2"]
        return _rectify(third)

    def _remember(self, rows: Int64s, last: Float32s) -> Float32s:
        """The last layer and one step of the LSTM; moves the rows' state on and gives its output."""
        inputs = np.empty((len(rows), 2 * _CELL), np.float32)
        fourth = np.matmul(last, self._w["conv3"], out=inputs[:, :_CELL])
        fourth += self._w["bias3"]
        _rectify(fourth)
        inputs[:, _CELL:] = self._said[rows]
        # A product for each gate: every one lies together then, and of a few rows OpenBLAS makes such small ones
        # without copying the weights first.
        gates = inputs @ self._w["lstm"]
        gates += self._w["lstm_bias"]
        np.tanh(gates, out=gates)
        # Of sigmoids, (1 + tanh(x / 2)) / 2, the first halving is in the weights (see `_prepared`), and the last one
        # comes when all is summed up: to halve is exact.
        gates[:3] += np.float32(1.0)
        take, keep, give, new = gates
        memory = self._memory[rows]
        memory *= keep
        new *= take
        memory += new
        memory *= np.float32(0.5)
        self._memory[rows] = memory
        said: Float32s = np.tanh(memory, out=memory)
        said *= give
        said *= np.float32(0.5)
        self._said[rows] = said
        return said


@cache
def _weights() -> dict[str, Float32s]:
    """As the layers want them; the same for all planes of a process, so that they stay in its caches."""
    with np.load(_FILE) as file:
        w = {name: file[name] for name in file.files}
    # From a frame's second sample to its middle, which is its own opposite and comes twice.
    spectrum = w["spectrum"][1 : _HOP + 1].copy()
    spectrum[-1] *= np.float32(0.5)
    # sigmoid(x) is (1 + tanh(x / 2)) / 2: all gates are one tanh, that cannot overflow.
    halves = np.array([0.5, 0.5, 0.5, 1.0], np.float32)[:, None, None]
    return {
        **w,
        "cosines": np.ascontiguousarray(spectrum[:, :_BINS]),
        "sines": np.ascontiguousarray(spectrum[:, _BINS:-1]),  # the last one has no imaginary part
        "bias0": np.tile(w["bias0"], _FRAMES),
        "bias1": np.tile(w["bias1"], 2),
        "lstm": np.ascontiguousarray(w["lstm"].reshape(2 * _CELL, 4, _CELL).transpose(1, 0, 2)) * halves,
        "lstm_bias": w["lstm_bias"].reshape(4, 1, _CELL) * halves,
    }


def _rectify(summed: Float32s) -> Float32s:
    """In place. Gives the same array."""
    # Against a row of zeros: against a lone one numpy is three times as slow.
    return np.maximum(summed, np.zeros(summed.shape[1], np.float32), out=summed)


def _sigmoid(x: Float32s) -> Float32s:
    # By tanh, which cannot overflow.
    half = np.float32(0.5)
    y: Float32s = half * np.tanh(half * x) + half
    return y
