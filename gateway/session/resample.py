"""Sample-rate conversion for the bot's voice: any engine's rate to the line's 8 kHz, piece by piece.

A polyphase FIR filter with memory: the pieces of a stream give the same samples as the whole at once. Offline quality
at live cost; the group delay is taken out, so that nothing is shifted.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np
import numpy.typing as npt
from scipy.signal import firwin

LINE_RATE = 8000
HALF_WIDTH = 24
"""Filter reach to each side, in samples of the slower rate: about 80 dB of stop band from 3.8 kHz on."""
KAISER_BETA = 8.0

Floats = npt.NDArray[np.float64]


class Resampler:
    """16-bit mono from `rate` to `to` Hz. `feed` what comes, `finish` for the tail; the instance is used up then."""

    def __init__(self, rate: int, to: int = LINE_RATE) -> None:
        common = gcd(rate, to)
        self._up, self._down = to // common, rate // common
        self._phases = _phases(self._up, self._down)
        self._reach = self._phases.shape[1]
        self._delay = HALF_WIDTH * max(self._up, self._down)
        self._taken = 0
        self._given = 0
        self._window: Floats = np.zeros(self._reach - 1)
        self._first = -(self._reach - 1)
        self._odd = b""

    def feed(self, pcm: bytes) -> bytes:
        """Little-endian samples in and out; half a sample at the end of a piece waits for the next one."""
        pcm = self._odd + pcm
        self._odd = pcm[len(pcm) & ~1 :]
        samples = np.frombuffer(pcm[: len(pcm) & ~1], "<i2").astype(np.float64)
        self._taken += len(samples)
        if self._up == self._down:
            return pcm[: len(pcm) & ~1]
        return self._convert(samples, (self._taken * self._up - self._delay - 1) // self._down + 1)

    def finish(self) -> bytes:
        """The rest, so that n samples give ceil(n * to / rate) in all."""
        if self._up == self._down:
            return b""
        rest = np.zeros(self._delay // self._up + self._reach)
        return self._convert(rest, -(-self._taken * self._up // self._down))

    def _convert(self, samples: Floats, until: int) -> bytes:
        """Output samples `_given` up to `until`, as far as the input that is there determines them."""
        self._window = np.concatenate((self._window, samples))
        wanted = np.arange(self._given, max(self._given, until), dtype=np.int64)
        if not len(wanted):
            return b""
        self._given = int(wanted[-1]) + 1
        places = wanted * self._down + self._delay
        newest = places // self._up - self._first
        windows = np.lib.stride_tricks.sliding_window_view(self._window, self._reach)[newest - self._reach + 1]
        out = np.einsum("ij,ij->i", windows, self._phases[places % self._up])
        self._forget(int(newest[-1]) - self._reach + 1)
        return bytes(np.clip(np.rint(out), -32768, 32767).astype("<i2").data)

    def _forget(self, count: int) -> None:
        self._window = self._window[count:]
        self._first += count


@lru_cache(maxsize=16)
def _phases(up: int, down: int) -> Floats:
    """The filter's taps by output phase, newest sample last: (up, taps per phase)."""
    wider = max(up, down)
    length = 2 * HALF_WIDTH * wider + 1
    cutoff = 1.0 if wider == 1 else 0.95 / wider
    taps = firwin(length, cutoff, window=("kaiser", KAISER_BETA)) * up if wider > 1 else np.ones(1)
    padded = np.concatenate((taps, np.zeros(-len(taps) % up)))
    return np.ascontiguousarray(padded.reshape(-1, up).T[:, ::-1])


def to_8k(pcm: bytes, rate: int) -> bytes:
    """A whole recording at once, 16-bit little-endian mono in and out."""
    resampler = Resampler(rate)
    return resampler.feed(pcm) + resampler.finish()
