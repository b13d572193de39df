"""The bot's own voice come back over the line, told from a caller who speaks over it. For many calls at once.

Where the detector is about to hear speech while the bot was audible, the last 160 ms of the line are explained by what
was sent: the lag that correlates best is found among all up to 350 ms, and a filter of 10 ms around it is fitted by
least squares. What it leaves of the last 64 ms is somebody else's. An echo leaves a hundredth (its line noise); speech
of a caller stays nearly whole, since twenty coefficients cannot make one voice out of another.

All of it happens anew each time, at 2 kHz (voices carry most of their power below 800 Hz): nothing has to converge, and
little is lost when a jitter buffer moves, clocks drift or the caller changes from handset to loudspeaker. It costs
next to nothing while the bot or the line is silent. What is remembered of a line (its noise, the lags that explained
earlier echo) only breaks ties.

Limits: an echo later than 350 ms, or of a room with more reverberation than direct sound, is heard as speech; so is a
loudspeaker driven into distortion. The conversation's guard by words stands behind this one.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.history import FRAME, AudioHistory
from gateway.media.ports import Float32s, Int64s

Bools: TypeAlias = npt.NDArray[np.bool_]
Int16s: TypeAlias = npt.NDArray[np.int16]

_DECIMATION = 4
_COMPARED = 318
"""Samples at 2 kHz that are explained at once: 159 ms of the line's last 160, less two for the filter in front."""

_SHORT = 160
"""As many when something has just changed: 80 ms."""

_RECENT = 128
"""Samples at 2 kHz that are judged: the 64 ms in which the detector found speech."""

_LAGS = 704
"""Longest lag at 2 kHz: 352 ms, for 250 ms in the network and both ends' jitter buffers."""

_BEFORE, _TAPS = 5, 20
"""Of the filter's coefficients, how many are earlier than the best lag, and all of them: hybrids disperse by 8 ms."""

_FOREIGN = 0.3
"""Share of the line's recent power that must not be the bot's to be a caller's."""

_FOREIGN_AT_FIRST = 0.15
"""As long as the line has not been seen to echo."""

_CLEARLY = 0.15
"""Less than this share of the whole stretch is foreign where the line is seen to echo: seldom so by chance."""

_AUDIBLE = 0.05
"""Share of the bot's power in the whole stretch that a caller must have at least: its pauses are full of what rings."""

_NOISE = 5.0
"""How far a caller must stand out of the line's noise and what else the filter leaves of an echo (7 dB)."""

_FAINTEST = 7.28 * 40.0**2
"""No line is quieter (-58 dBFS) for long. White noise comes out of the filter in front 7.28 times as strong."""

_SILENT = 7.28 * 8.0**2
"""Mean square of what is nobody's noise, but digital silence."""

_BLOCKS = 6
_REMEMBERED = 0.7
"""Lags that explained earlier echo count too: the pitch of a voice makes others look as good for a moment."""

_KNOWN = 0.3
"""So much of that memory shows that the line echoes: there, a single look does not make a caller."""

_PARTLY = 0.65
"""Nor does it where less than this share of the whole stretch is foreign."""

_SURE = 0.8
"""But this much of what is recent does."""

_NEARLY = 0.25
"""Echo with this share of what makes a caller is looked at again with the next window: one may be beginning."""

_SETTLED = 4 * 256
_SETTLED_AT_FIRST = 16 * 256
"""How seldom a caller who speaks over the bot is judged again, in samples at 8 kHz: 128 ms where the line is seen to
echo, 512 ms where it is not. An echo that takes over keeps the end of the caller's speech back by as much."""

_FFT = 1024
_LINE = _DECIMATION * (_COMPARED + 2)
_REFERENCE = _DECIMATION * (_COMPARED + _LAGS + 2)
_FRAMES = 32
_READ = -(-(_REFERENCE + FRAME) // FRAME)
_NEVER = np.iinfo(np.int64).min // 2


class Verdict(NamedTuple):
    """For each row asked about: nobody but the bot speaks, or it cannot be told before the next window."""

    echo: Bools
    unsure: Bools


class EchoGuard:
    """Told what is sent (`keep`) and what is made up for lost packets (`patch`), it judges what is heard."""

    def __init__(self, slots: int, history: AudioHistory) -> None:
        self._history = history
        self._sent = np.zeros((slots, _FRAMES, FRAME), np.int16)
        self._tags = np.full((slots, _FRAMES), _NEVER, np.int64)  # which frame stands there; silent ones are not kept
        self._audible = np.full(slots, _NEVER, np.int64)  # end of the last frame that was not silent
        self._patched = np.full(slots, _NEVER, np.int64)  # end of the last frame that was made up
        self._doubted = np.full(slots, _NEVER, np.int64)  # end of the last window that may have been a caller's
        self._noise = np.full(slots, np.inf, np.float32)
        self._noise_at = np.zeros(slots, np.int64)
        self._lags = np.zeros((slots, _LAGS + 1), np.float32)

    def reset(self, row: int) -> None:
        self._tags[row] = self._audible[row] = self._patched[row] = self._doubted[row] = _NEVER
        self._noise[row] = np.inf
        self._lags[row] = 0.0

    def keep(self, rows: Int64s, position: int, frames: Int16s) -> None:
        """What is sent to `rows` at `position`, a multiple of FRAME."""
        loud = frames.view(np.int64).any(axis=1)
        if loud.any():
            rows, frame = rows[loud], position // FRAME
            self._sent[rows, frame % _FRAMES] = frames[loud]
            self._tags[rows, frame % _FRAMES] = frame
            self._audible[rows] = position + FRAME

    def patch(self, rows: Int64s, position: int, have: Bools) -> None:
        """Note in which rows the frame at `position` is not all there, (rows, 2): what stands in for it is nobody's."""
        whole = have.all(axis=1)
        if not whole.all():
            self._patched[rows[~whole]] = position + FRAME

    def possible(self, rows: Int64s, ends: Int64s) -> Bools:
        """Whether what was heard before `ends` may hold something of the bot."""
        within: Bools = self._audible[rows] > ends - _DECIMATION * (_LAGS + 3 * _RECENT)
        return within

    def judge(self, rows: Int64s, ends: Int64s) -> Verdict:
        """Whether the last 64 ms before `ends` are the bot's voice and the line's noise, and nobody else's."""
        line, sent = _low(self._history.read(rows, ends, _LINE)), _low(self._reference(rows, ends))
        likeness = _likeness(line, sent)
        share = np.where(self._known(rows), _FOREIGN, _FOREIGN_AT_FIRST).astype(np.float32)
        foreign, least = _foreign(line, sent, np.argmax(likeness + self._lags[rows], axis=1), share)
        least = np.maximum(least, _NOISE * self._follow_noise(rows, ends, line, foreign))
        recent = _mean(foreign[:, -_RECENT:])
        echo = recent < least
        clear = echo & (_mean(foreign) < _CLEARLY * _mean(line))
        self._lags[rows[clear]] = _REMEMBERED * (self._lags[rows[clear]] + likeness[clear])
        unsure = echo & (recent > _NEARLY * least)
        if len(doubted := np.flatnonzero(~echo & self._doubtful(rows, ends, line, foreign))):
            again = rows[doubted], ends[doubted]
            echo[doubted] = still = self._look_again(
                *again, line[doubted], sent[doubted], share[doubted], least[doubted]
            )
            sure = recent[doubted] > _SURE * _mean(line[doubted, -_RECENT:])
            unsure[doubted] = still | ~(sure | self._doubt(*again, still))
        return Verdict(echo, unsure)

    def settled(self, rows: Int64s) -> Int64s:
        """Samples for which a caller who was told from the bot may be taken to go on speaking, before asking again."""
        settled: Int64s = np.where(self._known(rows), _SETTLED, _SETTLED_AT_FIRST)
        return settled

    def _doubtful(self, rows: Int64s, ends: Int64s, line: Float32s, foreign: Float32s) -> Bools:
        """What speaks against a caller though the filter did not explain the line."""
        doubtful: Bools = self._known(rows) | self._made_up(rows, ends) | (_mean(foreign) < _PARTLY * _mean(line))
        return doubtful

    def _known(self, rows: Int64s) -> Bools:
        """Whether the line has been seen to echo."""
        known: Bools = self._lags[rows].max(axis=1) > _KNOWN
        return known

    def _made_up(self, rows: Int64s, ends: Int64s) -> Bools:
        made_up: Bools = self._patched[rows] > ends - _DECIMATION * _RECENT
        return made_up

    def _look_again(
        self, rows: Int64s, ends: Int64s, line: Float32s, sent: Float32s, share: Float32s, least: Float32s
    ) -> Bools:
        """Judge by the last 80 ms alone: the lag may just have moved. Nobody's voice begins where audio was made up."""
        line, sent = line[:, -_SHORT:], sent[:, -_SHORT - _LAGS :]
        foreign, least_now = _foreign(line, sent, np.argmax(_likeness(line, sent), axis=1), share)
        echo: Bools = _mean(foreign[:, -_RECENT:]) < np.maximum(least, least_now)
        return echo | self._made_up(rows, ends)

    def _doubt(self, rows: Int64s, ends: Int64s, echo: Bools) -> Bools:
        """Note rows that may be a caller's. Gives those where the window before may have been one already."""
        before: Bools = self._doubted[rows] >= ends - _DECIMATION * _RECENT
        self._doubted[rows[~echo]] = ends[~echo]
        return before

    def _follow_noise(self, rows: Int64s, ends: Int64s, line: Float32s, foreign: Float32s) -> Float32s:
        """The least of what is not the bot's, of late: it falls at once, and grows by 10 dB a second."""
        blocks = _blocks(foreign)
        known = self._noise[rows]
        # Before the first packet there is no noise, but that says nothing of the line.
        blocks[(_blocks(line) < _SILENT) & np.isinf(known)[:, None]] = np.inf
        grown = known * 10 ** np.minimum((ends - self._noise_at[rows]) / 8000.0, 10.0)
        noise: Float32s = np.minimum(grown, np.maximum(blocks.min(axis=1), _FAINTEST)).astype(np.float32)
        self._noise[rows], self._noise_at[rows] = noise, ends
        return noise

    def _reference(self, rows: Int64s, ends: Int64s) -> Int16s:
        """(rows, _REFERENCE): what was sent before `ends`."""
        first, skipped = np.divmod(ends - _REFERENCE, FRAME)
        frames = first[:, None] + np.arange(_READ)
        place = frames % _FRAMES
        found = self._sent[rows[:, None], place]
        found[self._tags[rows[:, None], place] != frames] = 0
        flat = found.reshape(len(rows), _READ * FRAME)
        windows = np.lib.stride_tricks.sliding_window_view(flat, _REFERENCE, axis=1)
        cut: Int16s = windows[np.arange(len(rows)), skipped]
        return cut


def _low(pcm: Int16s) -> Float32s:
    """At 2 kHz, 200 to 800 Hz: the mean over 1 ms less nine tenths of the one 0.5 ms before, unscaled.

    Hum goes, and spectra become flatter, which makes the correlation's peaks narrow.
    """
    pairs = pcm[:, 0::2].astype(np.int32) + pcm[:, 1::2]
    summed = (pairs[:, 0::2] + pairs[:, 1::2]).astype(np.float32)
    low: Float32s = summed[:, 2:] + np.float32(0.1) * summed[:, 1:-1] - np.float32(0.9) * summed[:, :-2]
    return low


def _likeness(line: Float32s, sent: Float32s) -> Float32s:
    """(rows, _LAGS + 1): how like `line` the stretch of `sent` is that begins there; 1 is the same or its negative."""
    spectrum = np.fft.rfft(sent, _FFT, axis=1)
    spectrum *= np.fft.rfft(line, _FFT, axis=1).conj()
    product = np.fft.irfft(spectrum, _FFT, axis=1)[:, : _LAGS + 1]
    power = np.cumsum(np.square(sent, dtype=np.float64), axis=1)
    windows = power[:, line.shape[1] - 1 :].copy()
    windows[:, 1:] -= power[:, :_LAGS]
    windows = np.maximum(windows, windows.max(axis=1, keepdims=True) * 1e-3 + 1.0)
    heard = np.maximum(np.square(line).sum(axis=1, keepdims=True), 1.0)  # a line may be digital silence
    likeness: Float32s = (np.square(product) / (windows * heard)).astype(np.float32)
    return likeness


def _explain(line: Float32s, sent: Float32s, best: Int64s) -> Float32s:
    """What of `line` is `sent` through the best filter around the lag."""
    first = np.clip(best - (_TAPS - 1 - _BEFORE), 0, _LAGS - _TAPS + 1)
    windows = np.lib.stride_tricks.sliding_window_view(sent, line.shape[1], axis=1)
    delayed = windows[np.arange(len(line))[:, None], first[:, None] + np.arange(_TAPS)]
    products = delayed @ delayed.transpose(0, 2, 1)
    level = np.trace(products, axis1=1, axis2=2) * np.float32(1e-3 / _TAPS) + np.float32(1)
    products += level[:, None, None] * np.eye(_TAPS, dtype=np.float32)
    taps = np.linalg.solve(products, delayed @ line[:, :, None])
    explained: Float32s = (taps.transpose(0, 2, 1) @ delayed)[:, 0]
    return explained


def _foreign(line: Float32s, sent: Float32s, best: Int64s, share: Float32s) -> tuple[Float32s, Float32s]:
    """What of `line` is not the bot's, and the least mean square that makes it a caller's."""
    explained = _explain(line, sent, best)
    return line - explained, np.maximum(share * _mean(line[:, -_RECENT:]), _AUDIBLE * _mean(explained))


def _blocks(samples: Float32s) -> Float32s:
    """(rows, 6): mean squares of the sixths, 26 ms each."""
    blocks: Float32s = np.square(samples).reshape(len(samples), _BLOCKS, -1).mean(axis=2)
    return blocks


def _mean(samples: Float32s) -> Float32s:
    power: Float32s = np.square(samples).mean(axis=1)
    return power
