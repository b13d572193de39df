"""Silero's voice activity detector (8 kHz, MIT licence), for many calls at once, in numpy.

A window of 256 samples with the 32 before it becomes four spectra, four convolutions fold these into one vector of
128 features, a recurrent cell carries them on, and one unit tells the probability of speech. Every layer is a matrix
product over all rows. Equal to onnxruntime on the published `silero_vad.onnx` within 1e-5.

Up to the features, rows are columns: what a convolution sees then stands below each other already, and nothing is
copied between the layers. The cell has a row for each call, as its state is kept by row.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from gateway.media.ports import Float32s, Int64s

_WEIGHTS = Path(__file__).parent / "data" / "silero_vad_8k.npz"

_WINDOW = 256
_CONTEXT = 32
_HEARD = _CONTEXT + _WINDOW
_CELL = 128
_BINS = 65
_FRAMES = 4
_FRAME, _HOP = 128, 64

_NOTHING = np.zeros(_CELL, np.float32)

_BATCH = 208
"""Rows at once: with more of them, what passes between the layers no longer fits the processor's cache."""


class SileroVad:
    """Implements `BatchVad`. Deterministic for a given batch; rows do not influence one another."""

    window = _WINDOW

    def __init__(self, slots: int) -> None:
        with np.load(_WEIGHTS) as weights:
            self._w = _prepared({name: weights[name] for name in weights.files})
        self._context = np.zeros((slots, _CONTEXT), np.float32)
        self._said = np.zeros((slots, _CELL), np.float32)
        self._memory = np.zeros((slots, _CELL), np.float32)

    def reset(self, rows: Int64s) -> None:
        for state in (self._context, self._said, self._memory):
            state[rows] = 0.0

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        if len(rows) <= _BATCH:
            return self._step(rows, audio)
        # Equal parts: a small rest would cost nearly as much as a whole batch.
        parts = -(-len(rows) // _BATCH)
        cuts = [len(rows) * k // parts for k in range(parts + 1)]
        found = [self._step(rows[a:b], audio[a:b]) for a, b in pairwise(cuts)]
        return np.concatenate(found)

    def _step(self, rows: Int64s, audio: Float32s) -> Float32s:
        heard = np.empty((len(rows), _HEARD), np.float32)
        heard[:, :_CONTEXT], heard[:, _CONTEXT:] = self._context[rows], audio
        self._context[rows] = heard[:, -_CONTEXT:]
        said = self._remember(rows, self._features(self._magnitudes(heard)))
        return _sigmoid(np.maximum(said, _NOTHING) @ self._w["out"] + self._w["out_bias"])

    def _magnitudes(self, heard: Float32s) -> Float32s:
        """(4 * 65, rows): the spectra of four frames, 64 samples apart, below each other."""
        parts = np.empty((_FRAMES, _FRAME, len(heard)), np.float32)
        for k in range(_FRAMES - 1):
            np.matmul(self._w["spectrum"], heard[:, _HOP * k : _HOP * k + _FRAME].T, out=parts[k])
        np.matmul(self._w["last_spectrum"], heard[:, _HOP * (_FRAMES - 1) :].T, out=parts[-1])
        np.multiply(parts, parts, out=parts)
        magnitudes = parts[:, :_BINS]
        magnitudes[:, 1:-1] += parts[:, _BINS:]
        return np.sqrt(magnitudes).reshape(_FRAMES * _BINS, -1)

    def _features(self, spectra: Float32s) -> Float32s:
        """(64, rows), the last layer's input. A layer looks at three frames; beyond the edges there is nothing."""
        conv = self._w["conv0"]
        first = np.empty((_FRAMES * 128, spectra.shape[1]), np.float32)
        np.matmul(conv[:, _BINS:], spectra[: 2 * _BINS], out=first[:128])
        np.matmul(conv, spectra[: 3 * _BINS], out=first[128:256])
        np.matmul(conv, spectra[_BINS:], out=first[256:384])
        np.matmul(conv[:, : 2 * _BINS], spectra[2 * _BINS :], out=first[384:])
        _rectify(first.reshape(_FRAMES, 128, -1), self._w["bias0"])
        conv = self._w["conv1"]
        pair = np.empty((2 * 64, spectra.shape[1]), np.float32)
        np.matmul(conv[:, 128:], first[:256], out=pair[:64])
        np.matmul(conv, first[128:], out=pair[64:])
        _rectify(pair.reshape(2, 64, -1), self._w["bias1"])
        return _rectify(self._w["conv2"] @ pair, self._w["bias2"])

    def _remember(self, rows: Int64s, last: Float32s) -> Float32s:
        """The last layer and one step of the LSTM; moves the rows' state on and gives its output."""
        inputs = np.empty((len(rows), 2 * _CELL), np.float32)
        np.matmul(last.T, self._w["conv3"], out=inputs[:, :_CELL])
        _rectify(inputs[:, :_CELL], self._w["bias3"])
        inputs[:, _CELL:] = self._said[rows]
        gates = inputs @ self._w["lstm"]
        gates += self._w["lstm_bias"]
        np.tanh(gates, out=gates)
        # Of sigmoids, (1 + tanh(x / 2)) / 2, the first halving is in the weights (see `_prepared`), and the last one
        # comes when all is summed up: to halve is exact.
        gates[:, : 3 * _CELL] += np.float32(1.0)
        take, keep, give, new = (gates[:, k * _CELL : (k + 1) * _CELL] for k in range(4))
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


def _prepared(w: dict[str, Float32s]) -> dict[str, Float32s]:
    """The weights as the layers want them."""
    # Of 65 bins the first and the last have no imaginary part: 128 columns, and the product is a fifth quicker.
    spectrum = np.delete(w["spectrum"], [_BINS, 2 * _BINS - 1], axis=1)
    # Columns of input first; the last frame lacks its end, which is the window's end mirrored.
    there = _HEARD - _HOP * (_FRAMES - 1)
    last = spectrum[:there].copy()
    last[2 * there - 2 - np.arange(there, _FRAME)] += spectrum[there:]
    # sigmoid(x) is (1 + tanh(x / 2)) / 2: all gates are one tanh, that cannot overflow.
    halves = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), _CELL)
    return {
        **w,
        "spectrum": np.ascontiguousarray(spectrum.T),
        "last_spectrum": np.ascontiguousarray(last.T),
        **{f"conv{k}": np.ascontiguousarray(w[f"conv{k}"].T) for k in range(3)},
        **{f"bias{k}": w[f"bias{k}"][:, None] for k in range(3)},
        "lstm": w["lstm"] * halves,
        "lstm_bias": w["lstm_bias"] * halves,
    }


def _rectify(summed: Float32s, bias: Float32s) -> Float32s:
    summed += bias
    # Against as many zeros as biases: against a lone one numpy is three times as slow.
    return np.maximum(summed, np.zeros_like(bias), out=summed)


def _sigmoid(x: Float32s) -> Float32s:
    # By tanh, which cannot overflow.
    y: Float32s = 0.5 * np.tanh(0.5 * x) + np.float32(0.5)
    return y
