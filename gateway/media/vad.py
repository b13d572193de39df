"""Silero's voice activity detector (8 kHz, MIT licence), for many calls at once, in numpy.

A window of 256 samples with the 32 before it becomes four spectra, four convolutions fold these into one vector of
128 features, a recurrent cell carries them on, and one unit tells the probability of speech. Every layer is a matrix
product over all rows. Equal to onnxruntime on the published `silero_vad.onnx` within 1e-5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gateway.media.ports import Float32s, Int64s

_WEIGHTS = Path(__file__).parent / "data" / "silero_vad_8k.npz"

_WINDOW = 256
_CONTEXT = 32
_CELL = 128
_BINS = 65

_BATCH = 112
"""Rows at once: with more of them, what passes between the layers no longer fits the processor's cache."""

# Four frames of 128 samples, 64 apart; what the last one lacks is the window's end mirrored.
_REACH = np.arange(_CONTEXT + _WINDOW + 32)
_MIRRORED = np.where(_REACH < _CONTEXT + _WINDOW, _REACH, 2 * (_CONTEXT + _WINDOW - 1) - _REACH)
_FRAMES = _MIRRORED[64 * np.arange(4)[:, None] + np.arange(128)]


class SileroVad:
    """Implements `BatchVad`. Deterministic for a given batch; rows do not influence one another."""

    window = _WINDOW

    def __init__(self, slots: int) -> None:
        with np.load(_WEIGHTS) as weights:
            self._w = {name: weights[name] for name in weights.files}
        self._context = np.zeros((slots, _CONTEXT), np.float32)
        self._state = np.zeros((slots, 2 * _CELL), np.float32)  # what the cell said, then what it remembers

    def reset(self, rows: Int64s) -> None:
        self._context[rows] = 0.0
        self._state[rows] = 0.0

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        if len(rows) <= _BATCH:
            return self._step(rows, audio)
        parts = [slice(k, k + _BATCH) for k in range(0, len(rows), _BATCH)]
        return np.concatenate([self._step(rows[part], audio[part]) for part in parts])

    def _step(self, rows: Int64s, audio: Float32s) -> Float32s:
        heard = np.concatenate([self._context[rows], audio], axis=1)
        self._context[rows] = heard[:, -_CONTEXT:]
        said = self._remember(rows, self._features(self._spectra(heard)))
        return _sigmoid(np.maximum(said, 0.0) @ self._w["out"] + self._w["out_bias"])

    def _spectra(self, heard: Float32s) -> Float32s:
        """(rows, 4, 65): magnitudes of the four frames."""
        parts = heard[:, _FRAMES].reshape(-1, 128) @ self._w["spectrum"]
        magnitudes: Float32s = np.sqrt(parts[:, :_BINS] ** 2 + parts[:, _BINS:] ** 2)
        return magnitudes.reshape(-1, 4, _BINS)

    def _features(self, spectra: Float32s) -> Float32s:
        """(rows, 128). Three frames side by side make one input of a layer; the edges see silence."""
        n = len(spectra)
        padded = np.zeros((n, 6, _BINS), np.float32)
        padded[:, 1:5] = spectra
        neighbours = np.concatenate([padded[:, 0:4], padded[:, 1:5], padded[:, 2:6]], axis=2).reshape(4 * n, -1)
        padded = np.zeros((n, 5, 128), np.float32)
        padded[:, 1:] = self._layer(0, neighbours).reshape(n, 4, 128)
        halves = np.stack([padded[:, 0:3].reshape(n, -1), padded[:, 2:5].reshape(n, -1)], axis=1)
        pair = self._layer(1, halves.reshape(2 * n, -1)).reshape(n, -1)
        return self._layer(3, self._layer(2, pair))

    def _layer(self, k: int, inputs: Float32s) -> Float32s:
        summed: Float32s = inputs @ self._w[f"conv{k}"]
        summed += self._w[f"bias{k}"]
        np.maximum(summed, 0.0, out=summed)
        return summed

    def _remember(self, rows: Int64s, features: Float32s) -> Float32s:
        """One step of the LSTM; moves the rows' state on and gives its output."""
        memory = self._state[rows, _CELL:]
        gates = np.concatenate([features, self._state[rows, :_CELL]], axis=1) @ self._w["lstm"]
        gates += self._w["lstm_bias"]
        opened = _sigmoid(gates[:, : 3 * _CELL])
        take, keep, give = (opened[:, k * _CELL : (k + 1) * _CELL] for k in range(3))
        memory = keep * memory + take * np.tanh(gates[:, 3 * _CELL :])
        said: Float32s = give * np.tanh(memory)
        self._state[rows, :_CELL], self._state[rows, _CELL:] = said, memory
        return said


def _sigmoid(x: Float32s) -> Float32s:
    # By tanh, which cannot overflow.
    y: Float32s = 0.5 * np.tanh(0.5 * x) + np.float32(0.5)
    return y
