"""The bot's own voice come back over the line, told from a caller who speaks over it. For many calls at once.

Where the detector is about to hear speech while the bot was audible, the last 160 ms of the line are explained by what
was sent: through the filter that explained the line before; where that fails, through one that is fitted by least
squares around the lag that correlates best among all up to 400 ms. What it leaves of the last 64 ms is somebody
else's. An echo leaves a hundredth (its line noise); speech of a caller stays nearly whole, since twenty coefficients
cannot make one voice out of another.

What is remembered of a line (its lag, filter and noise) saves work, but nothing has to converge: little is lost when a
jitter buffer moves, clocks drift or the caller changes from handset to loudspeaker. What concealment made up for lost
packets is nobody's, and neither fitted nor judged. It costs next to nothing while the bot or the line is silent.

Limits: an echo later than 400 ms, or of a room with more reverberation than direct sound, is heard as speech; so is a
loudspeaker driven into distortion. The conversation's guard by words stands behind this one.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.echo_path import DECIMATION, GAIN, LAGS, SPILL, TAPS, begins, fit, likeness, low, second, through
from gateway.media.history import FRAME, AudioHistory
from gateway.media.ports import Float32s, Int64s

Bools: TypeAlias = npt.NDArray[np.bool_]
Int16s: TypeAlias = npt.NDArray[np.int16]

_COMPARED = 320
"""Samples at 2 kHz that are explained at once: 160 ms."""

_SHORT = 160
"""As many when something has just changed: 80 ms."""

_RECENT = 128
"""Samples at 2 kHz that are judged: the 64 ms in which the detector found speech."""

_TOO_FEW = 64
"""Of which so many have to be there: twenty coefficients explain much of less than 32 ms, or nothing of it."""

_FOREIGN = 0.2
"""Share of the line's recent power that must not be the bot's to be a caller's."""

_FOREIGN_AT_FIRST = 0.12
"""As long as the line has not been seen to echo."""

_CLEARLY = 0.15
"""Less than this share of the whole stretch is foreign where the line is seen to echo: seldom so by chance."""

_AUDIBLE = 0.05
"""Share of the bot's power in the whole stretch that a caller must have at least: its pauses are full of what rings."""

_NOISE = 5.0
"""How far a caller must stand out of the line's noise and what else the filter leaves of an echo (7 dB)."""

_FAINTEST = GAIN * 40.0**2
"""No line is quieter (-58 dBFS) for long."""

_BLOCKS = 5
_REMEMBERED = 0.7
_KNOWN = 0.3
"""So much of the likeness of earlier echo shows that the line echoes: there, a single look does not make a caller."""

_PARTLY = 0.4
"""Nor does it where less than this share of the whole stretch is foreign."""

_SURE = 0.6
"""But this much of what is recent does."""

_NEARLY = 0.25
"""Echo with this share of what makes a caller is looked at again with the next window: one may be beginning."""

_SETTLED = 4 * 256
_SETTLED_AT_FIRST = 16 * 256
"""How seldom a caller who speaks over the bot is judged again, in samples at 8 kHz: 128 ms where the line is seen to
echo, 512 ms where it is not. An echo that takes over keeps the end of the caller's speech back by as much."""

_FRAMES = 32
_KEPT = FRAME // DECIMATION
_NEVER = np.iinfo(np.int64).min // 2


class Verdict(NamedTuple):
    """For each row asked about: nobody but the bot speaks, or it cannot be told before the next window."""

    echo: Bools
    unsure: Bools


class _Heard(NamedTuple):
    """A stretch of the line in each row, and (1 or 0) which of its samples really came."""

    rows: Int64s
    ends: Int64s
    line: Float32s
    there: Float32s | None

    def of(self, which: Int64s) -> _Heard:
        there = None if self.there is None else self.there[which]
        return _Heard(self.rows[which], self.ends[which], self.line[which], there)

    def last(self, samples: int) -> _Heard:
        there = None if self.there is None else self.there[:, -samples:]
        return self._replace(line=self.line[:, -samples:], there=there)

    def unbroken(self) -> _Heard:
        """What came since audio was last made up: there, lags move."""
        if self.there is None:
            return self
        there = np.minimum.accumulate(self.there[:, ::-1], axis=1)[:, ::-1]
        return self._replace(line=self.line * there, there=there)

    def recent(self, left: Float32s) -> Float32s:
        """Mean square of what is left of the last 64 ms: no more than there is."""
        recent = np.minimum(_mean(left[:, -_RECENT:]), _mean(self.line[:, -_RECENT:]))
        if self.there is None:
            return recent
        count = self.there[:, -_RECENT:].sum(axis=1)
        return np.where(count < _TOO_FEW, 0, recent * _RECENT / np.maximum(count, 1)).astype(np.float32)


class _Echo(NamedTuple):
    """The bot's part in what was heard: by which lag and filter, what it is, and what of the line is left."""

    lag: Int64s
    taps: Float32s
    bots: Float32s
    left: Float32s

    def of(self, which: Int64s) -> _Echo:
        return _Echo(self.lag[which], self.taps[which], self.bots[which], self.left[which])

    def or_better(self, other: _Echo) -> _Echo:
        """In each row the one that leaves less."""
        better = _mean(other.left) < _mean(self.left)
        each = better[:, None]
        return _Echo(
            np.where(better, other.lag, self.lag),
            np.where(each, other.taps, self.taps),
            np.where(each, other.bots, self.bots),
            np.where(each, other.left, self.left),
        )


class EchoGuard:
    """Told what is sent (`keep`) and what is made up for lost packets (`patch`), it judges what is heard."""

    def __init__(self, slots: int, history: AudioHistory) -> None:
        self._history = history
        self._sent = np.zeros((slots, _FRAMES, _KEPT), np.float32)  # at 2 kHz
        self._tags = np.full((slots, _FRAMES), _NEVER, np.int64)  # which frame stands there; silent ones are not kept
        self._spill = np.zeros((slots, SPILL), np.int16)
        self._audible = np.full(slots, _NEVER, np.int64)  # end of the last frame that was not silent
        self._since = np.full(slots, _NEVER, np.int64)  # start of the first frame of all
        self._patched = np.full((slots, _FRAMES), _NEVER, np.int64)  # frames that were made up
        self._patched_at = np.full(slots, _NEVER, np.int64)  # end of the last of them
        self._doubted = np.full(slots, _NEVER, np.int64)  # end of the last window that may have been a caller's
        self._noise = np.full(slots, np.inf, np.float32)
        self._noise_at = np.zeros(slots, np.int64)
        self._seen = np.zeros(slots, np.float32)
        self._lag = np.zeros(slots, np.int64)
        self._taps = np.zeros((slots, TAPS), np.float32)

    def reset(self, row: int) -> None:
        self._tags[row] = self._patched[row] = _NEVER
        self._since[row] = self._audible[row] = self._patched_at[row] = self._doubted[row] = _NEVER
        self._noise[row] = np.inf
        self._seen[row] = self._taps[row] = 0.0

    def keep(self, rows: Int64s, position: int, frames: Int16s) -> None:
        """What is sent to `rows` at `position`, a multiple of FRAME."""
        loud: Bools = np.asarray(frames.view(np.int64).any(axis=1), np.bool_)
        rings: Bools = np.logical_or(loud, np.equal(self._audible[rows], position))
        if np.count_nonzero(rings):
            rows, loud, frames, frame = rows[rings], loud[rings], frames[rings], position // FRAME
            first = self._audible[rows] != position
            self._spill[rows[first]] = 0
            self._sent[rows, frame % _FRAMES] = low(np.concatenate([self._spill[rows], frames], axis=1))
            self._spill[rows] = frames[:, -SPILL:]
            self._tags[rows, frame % _FRAMES] = frame
            self._audible[rows[np.flatnonzero(loud)]] = position + FRAME

    def patch(self, rows: Int64s, position: int, have: Bools) -> None:
        """Note in which rows the frame at `position` is not all there, (rows, 2): what stands in for it is nobody's."""
        if np.count_nonzero(new := self._since[rows] == _NEVER):
            self._since[rows[new]] = position
        whole = have[:, 0] & have[:, 1]
        if np.count_nonzero(whole) < len(rows):
            self._patched[rows[~whole], position // FRAME % _FRAMES] = position // FRAME
            self._patched_at[rows[~whole]] = position + FRAME

    def possible(self, rows: Int64s, ends: Int64s) -> Bools:
        """Whether what was heard before `ends` may hold something of the bot."""
        within: Bools = self._audible[rows] > ends - DECIMATION * (LAGS + 3 * _RECENT)
        return within

    def judge(self, rows: Int64s, ends: Int64s) -> Verdict:
        """Whether the last 64 ms before `ends` are the bot's voice and the line's noise, and nobody else's."""
        echoes, unsure = np.ones(len(rows), np.bool_), np.zeros(len(rows), np.bool_)
        at, heard = np.arange(len(rows)), self._heard(rows, ends)
        for explain in (self._as_before, self._anew):
            echo = explain(heard)
            recent, least = self._weigh(heard, echo)
            self._remember(heard, echo, recent < least)
            if not len(open_ := np.flatnonzero(recent >= _NEARLY * least)):
                return Verdict(echoes, unsure)
            at, heard, echo = at[open_], heard.of(open_), echo.of(open_)
        echoes[at], unsure[at] = self._search(heard, echo)
        return Verdict(echoes, unsure)

    def settled(self, rows: Int64s) -> Int64s:
        """Samples for which a caller who was told from the bot may be taken to go on speaking, before asking again."""
        settled: Int64s = np.where(self._known(rows), _SETTLED, _SETTLED_AT_FIRST)
        return settled

    def _search(self, heard: _Heard, found: _Echo) -> Verdict:
        """Where neither the remembered filter nor one at the remembered lag explains the line, other lags may."""
        found = self._at_best_lag(heard, found)
        recent, least = self._weigh(heard, found)
        echo = recent < least
        self._remember(heard, found, echo)
        unsure = echo & (recent > _NEARLY * least)
        if len(doubted := np.flatnonzero(~echo & self._doubtful(heard, found.left))):
            again = heard.of(doubted)
            echo[doubted] = still = self._look_again(again, least[doubted])
            sure = recent[doubted] > _SURE * _mean(again.line[:, -_RECENT:])
            sure &= ~self._made_up(again)
            unsure[doubted] = still | ~(sure | self._doubt(again, still))
        return Verdict(echo, unsure)

    def _look_again(self, heard: _Heard, least: Float32s) -> Bools:
        """Judge by the last 80 ms alone: the lag may just have moved."""
        heard = heard.last(_SHORT).unbroken()
        found = self._at_best_lag(heard, self._anew(heard))
        echo: Bools = heard.recent(found.left) < np.maximum(least, self._least(heard, found))
        return echo

    def _as_before(self, heard: _Heard) -> _Echo:
        """Through the filter that explained the line before."""
        lag, taps = self._lag[heard.rows], self._taps[heard.rows]
        return self._through(heard, lag, taps, self._sent_at(heard, lag))

    def _anew(self, heard: _Heard, lag: Int64s | None = None) -> _Echo:
        """Through the best filter around this lag, or the remembered one."""
        lag = self._lag[heard.rows] if lag is None else lag
        sent = self._sent_at(heard, lag)
        return self._through(heard, lag, fit(heard.line, sent, heard.there), sent)

    def _at_best_lag(self, heard: _Heard, found: _Echo) -> _Echo:
        alike = likeness(heard.line, self._sent_before(heard.rows, heard.ends, heard.line.shape[1] + LAGS))
        first = np.argmax(alike, axis=1)
        return found.or_better(self._anew(heard, first)).or_better(self._anew(heard, second(alike, first)))

    def _through(self, heard: _Heard, lag: Int64s, taps: Float32s, sent: Float32s) -> _Echo:
        bots = through(sent, taps)
        if heard.there is not None:
            bots *= heard.there
        return _Echo(lag, taps, bots, heard.line - bots)

    def _weigh(self, heard: _Heard, found: _Echo) -> tuple[Float32s, Float32s]:
        """Mean squares of what recently was not the bot's, and of the least that makes it a caller's."""
        noise = self._follow_noise(heard, found.left)
        return heard.recent(found.left), np.maximum(self._least(heard, found), _NOISE * noise)

    def _least(self, heard: _Heard, found: _Echo) -> Float32s:
        share = np.where(self._known(heard.rows), _FOREIGN, _FOREIGN_AT_FIRST).astype(np.float32)
        least: Float32s = np.maximum(share * _mean(heard.line[:, -_RECENT:]), _AUDIBLE * _mean(found.bots))
        return least

    def _remember(self, heard: _Heard, found: _Echo, echo: Bools) -> None:
        """How the line echoed, where that is clear."""
        share = _mean(found.left) / np.maximum(_mean(heard.line), 1.0)
        clear = echo & (share < _CLEARLY)
        rows = heard.rows[clear]
        self._lag[rows], self._taps[rows] = found.lag[clear], found.taps[clear]
        self._seen[rows] = _REMEMBERED * (self._seen[rows] + 1 - share[clear])

    def _doubtful(self, heard: _Heard, left: Float32s) -> Bools:
        """What speaks against a caller though the filter did not explain the line."""
        partly = _mean(left) < _PARTLY * _mean(heard.line)
        doubtful: Bools = self._known(heard.rows) | self._made_up(heard) | partly
        return doubtful

    def _known(self, rows: Int64s) -> Bools:
        """Whether the line has been seen to echo."""
        known: Bools = self._seen[rows] > _KNOWN
        return known

    def _made_up(self, heard: _Heard) -> Bools:
        made_up: Bools = self._patched_at[heard.rows] > heard.ends - DECIMATION * _COMPARED
        return made_up

    def _doubt(self, heard: _Heard, echo: Bools) -> Bools:
        """Note rows that may be a caller's. Gives those where the window before may have been one already."""
        before: Bools = self._doubted[heard.rows] >= heard.ends - DECIMATION * _RECENT
        self._doubted[heard.rows[~echo]] = heard.ends[~echo]
        return before

    def _follow_noise(self, heard: _Heard, left: Float32s) -> Float32s:
        """The least of what is not the bot's, of late: it falls at once, and grows by 10 dB a second."""
        rows, ends, blocks = heard.rows, heard.ends, _blocks(left)
        if heard.there is not None:
            count = _blocks(heard.there)
            blocks = np.where(count < 0.5, np.inf, blocks / np.maximum(count, 0.5))
        grown = self._noise[rows] * 10 ** np.minimum((ends - self._noise_at[rows]) / 8000.0, 10.0)
        noise: Float32s = np.minimum(grown, np.maximum(blocks.min(axis=1), _FAINTEST)).astype(np.float32)
        self._noise[rows], self._noise_at[rows] = noise, ends
        return noise

    def _heard(self, rows: Int64s, ends: Int64s) -> _Heard:
        line = low(self._history.read(rows, ends, DECIMATION * _COMPARED + SPILL))
        if (np.maximum(self._patched_at[rows], self._since[rows]) <= ends - DECIMATION * _COMPARED - FRAME).all():
            return _Heard(rows, ends, line, None)
        there = self._there(rows, ends)
        return _Heard(rows, ends, line * there, there)

    def _there(self, rows: Int64s, ends: Int64s) -> Float32s:
        """1 for the samples of the line that came over it, 0 where one that was made up (or faded over) is in them."""
        last = ends[:, None] - DECIMATION * np.arange(_COMPARED - 1, -1, -1) - 1
        made_up = last - SPILL - DECIMATION + 1 < self._since[rows, None]
        for ago in (0, SPILL + DECIMATION - 1, SPILL + FRAME // 2):
            frame = (last - ago) // FRAME
            made_up |= self._patched[rows[:, None], frame % _FRAMES] == frame
        return (~made_up).astype(np.float32)

    def _sent_at(self, heard: _Heard, lag: Int64s) -> Float32s:
        """What the filter around that lag needs."""
        later = LAGS - TAPS + 1 - begins(lag)
        return self._sent_before(heard.rows, heard.ends - DECIMATION * later, heard.line.shape[1] + TAPS - 1)

    def _sent_before(self, rows: Int64s, ends: Int64s, length: int) -> Float32s:
        """(rows, length): what was sent last before `ends`, at 2 kHz."""
        first, skipped = np.divmod(ends // DECIMATION - length, _KEPT)
        frames = first[:, None] + np.arange(-(-length // _KEPT) + 1)
        place = frames % _FRAMES
        found = self._sent[rows[:, None], place]
        found[self._tags[rows[:, None], place] != frames] = 0
        windows = np.lib.stride_tricks.sliding_window_view(found.reshape(len(rows), -1), length, axis=1)
        cut: Float32s = windows[np.arange(len(rows)), skipped]
        return cut


def _blocks(samples: Float32s) -> Float32s:
    """(rows, 5): mean squares of the fifths, 32 ms each."""
    blocks: Float32s = np.square(samples).reshape(len(samples), _BLOCKS, -1).mean(axis=2, dtype=np.float32)
    return blocks


def _mean(samples: Float32s) -> Float32s:
    power: Float32s = np.einsum("rk,rk->r", samples, samples) / np.float32(samples.shape[1])
    return power
