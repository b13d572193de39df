"""A lower rate from a stream: 48 to 16 kHz and 16 to 8 kHz, packet by packet without seams.

The filter is a Kaiser-windowed sinc below the lower rate's half: images 60 dB down from 4.4 kHz (8.4) on,
flat within 0.05 dB to 3.4 kHz (7). It delays by `delay` samples of the higher rate, 2 ms.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Int16s: TypeAlias = npt.NDArray[np.int16]
Float32s: TypeAlias = npt.NDArray[np.float32]

_DELAY_S = 0.002
_SHAPE = 6.2


@cache
def _kernel(factor: int, rate: int) -> Float32s:
    half = round(_DELAY_S * rate)
    offset = np.arange(-half, half + 1)
    kernel = np.sinc(offset * 0.965 / factor) * np.kaiser(2 * half + 1, _SHAPE)
    level: Float32s = (kernel / kernel.sum()).astype(np.float32)
    return level


class Decimator:
    """One stream of `rate` Hz to `rate / factor`; feed it multiples of `factor` samples."""

    def __init__(self, factor: int, rate: int) -> None:
        kernel = _kernel(factor, rate)
        self._factor, self._phases = factor, [np.ascontiguousarray(kernel[k::factor][::-1]) for k in range(factor)]
        self.delay = len(kernel) // 2
        """In samples of the higher rate."""
        self._past = np.zeros(2 * self.delay, np.int16)

    def feed(self, pcm: Int16s) -> tuple[Int16s, Int16s]:
        """The stream at the lower rate, and as it was, both later by `delay`."""
        heard = np.concatenate([self._past, pcm])
        self._past = heard[len(pcm) :]
        samples, count, factor = heard.astype(np.float32), len(pcm) // self._factor, self._factor
        # The phases of the filter one by one: nothing is reckoned that is thrown away.
        parts = [np.convolve(samples[k::factor], self._phases[k], "valid")[:count] for k in range(factor)]
        low = np.clip(np.rint(sum(parts[1:], parts[0])), -32768, 32767).astype(np.int16)
        return low, heard[self.delay : self.delay + len(pcm)]
