"""Sample-rate conversion for the bot's voice: any engine's rate to the line's 8 kHz, piece by piece.

A polyphase FIR filter with memory: the pieces of a stream give the same samples as the whole at once. Offline quality
at live cost; the group delay is taken out, so that nothing is shifted.

`scipy.signal` takes up to a second to import, and 70 MB: it is imported where a rate really has to be converted.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np
import numpy.typing as npt

LINE_RATE = 8000
WIDE_RATE = 16000
HALF_WIDTH = 24
"""Filter reach to each side, in samples of the slower rate: about 80 dB of stop band from 3.8 kHz on."""
KAISER_BETA = 8.0

Floats = npt.NDArray[np.float64]


class Resampler:
    """16-bit mono from `rate` to `to` Hz. `feed` what comes, `finish` for the tail; the instance is used up then."""

    def __init__(self, rate: int, to: int = LINE_RATE) -> None:
        common = gcd(rate, to)
        self._up, self._down = to // common, rate // common
        self._taps = _taps(self._up, self._down)
        self._reach = -(-len(self._taps) // self._up)  # input samples that one output sample is made of
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
        from scipy.signal import upfirdn

        self._window = np.concatenate((self._window, samples))
        wanted = until - self._given
        if wanted <= 0:
            return b""
        # Sample n of the output is the filter at n * down + delay on the grid of up * the input rate; the library's
        # grid begins at our window, and the filter is moved until one of its samples falls on our first.
        place = self._given * self._down + self._delay - self._first * self._up
        shift = -place % self._down
        taps = np.concatenate((np.zeros(shift), self._taps))
        skipped = (place + shift) // self._down
        out = upfirdn(taps, self._window, self._up, self._down)[skipped : skipped + wanted]
        self._given = until
        newest = ((until - 1) * self._down + self._delay) // self._up - self._first
        self._forget(newest - self._reach + 1)
        return bytes(np.clip(np.rint(out), -32768, 32767).astype("<i2").data)

    def _forget(self, count: int) -> None:
        self._window = self._window[count:]
        self._first += count


class LineResampler:
    """A voice's audio at the line's rate, and the same at 16 kHz beside it where the line carries that."""

    def __init__(self, rate: int, *, wideband: bool) -> None:
        self._narrow = Resampler(rate)
        self._wide = Resampler(rate, WIDE_RATE) if wideband else None
        self._waiting = b"", b""

    def feed(self, pcm: bytes) -> tuple[bytes, bytes]:
        """The next samples at 8 kHz, and twice as many at 16 kHz (or none)."""
        if self._wide is None:
            return self._narrow.feed(pcm), b""
        narrow, wide = self._waiting[0] + self._narrow.feed(pcm), self._waiting[1] + self._wide.feed(pcm)
        both = min(len(narrow), len(wide) // 4 * 2)
        self._waiting = narrow[both:], wide[2 * both :]
        return narrow[:both], wide[: 2 * both]

    def finish(self) -> tuple[bytes, bytes]:
        """The rest."""
        if self._wide is None:
            return self._narrow.finish(), b""
        narrow, wide = self._waiting[0] + self._narrow.finish(), self._waiting[1] + self._wide.finish()
        return narrow, wide[: 2 * len(narrow)].ljust(2 * len(narrow), b"\0")  # an odd number was rounded otherwise


@lru_cache(maxsize=16)
def _taps(up: int, down: int) -> Floats:
    wider = max(up, down)
    if wider == 1:
        return np.ones(1)
    from scipy.signal import firwin

    length = 2 * HALF_WIDTH * wider + 1
    return np.asarray(firwin(length, 0.95 / wider, window=("kaiser", KAISER_BETA)) * up)


def to_8k(pcm: bytes, rate: int) -> bytes:
    """A whole recording at once, 16-bit little-endian mono in and out."""
    resampler = Resampler(rate)
    return resampler.feed(pcm) + resampler.finish()
