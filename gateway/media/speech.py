"""When callers speak: a cheap gate by energy, the detector behind it, and thresholds with patience behind that.

The gate follows each line's noise floor and lets a window through when it stands out, so that silent lines cost next
to nothing. It only ever saves work: it opens at a level far below speech, and while speech is held it stays open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.echo import EchoGuard, Verdict
from gateway.media.history import FRAME, AudioHistory
from gateway.media.options import PlaneOptions
from gateway.media.ports import BatchVad, Float32s, Int64s

Bools: TypeAlias = npt.NDArray[np.bool_]

_FAINTEST = 12.0**2
"""Mean square of samples below which nothing can be speech (-69 dBFS: the last steps of mu-law)."""

_STANDS_OUT = 2.0
"""A frame this much stronger than the floor (3 dB) opens the gate."""

_FLOOR_RISE = 1.05
"""Growth of the floor in a frame (10 dB a second); it falls at once."""

_GATE_HANGOVER = 10
"""Frames (200 ms) the gate stays open, so that words are not cut apart."""


@dataclass(frozen=True, slots=True)
class SpeechChange:
    """Speech of a row began or ended; `position` is where it really did, in samples of the history."""

    row: int
    began: bool
    position: int
    probability: float


class SpeechDetector:
    def __init__(
        self,
        slots: int,
        vad: BatchVad,
        history: AudioHistory,
        options: PlaneOptions,
        echo: EchoGuard | None = None,
    ) -> None:
        self._vad, self._history, self._options, self._echo = vad, history, options, echo
        self._window_ms = vad.window / 8
        self._floor = np.full(slots, _FAINTEST, np.float32)
        self._open_for = np.zeros(slots, np.int64)
        self._was_open = np.zeros(slots, np.bool_)
        self._window_end = np.zeros(slots, np.int64)
        self._likely_ms = np.zeros(slots, np.float32)  # probability high for so long
        self._unlikely_ms = np.zeros(slots, np.float32)  # probability low for so long
        self._settled = np.zeros(slots, np.int64)  # until when a speaker is not asked whether he is the bot
        self.speaking = np.zeros(slots, np.bool_)

    def reset(self, row: int, position: int) -> None:
        """A new leg in `row`, whose audio begins at `position`. Windows are staggered to share the work out."""
        self._vad.reset(np.array([row]))
        self._floor[row] = _FAINTEST
        self._open_for[row] = 0
        self._was_open[row] = self.speaking[row] = False
        self._likely_ms[row] = self._unlikely_ms[row] = 0.0
        self._settled[row] = 0
        self._window_end[row] = position + self._vad.window + row % 8 * (FRAME // 5)

    def skip(self, rows: Int64s, samples: int) -> None:
        """The sample clock has jumped ahead."""
        self._window_end[rows] += samples

    def step(self, rows: Int64s, position: int, energies: Float32s) -> list[SpeechChange]:
        """Look at the frame at `position` of each row, whose mean squares are `energies`."""
        self._watch(rows, energies)
        due = rows[self._window_end[rows] <= position + FRAME]
        if not len(due):
            return []
        probabilities = self._probabilities(due)
        ends = self._window_end[due]
        self._window_end[due] += self._vad.window
        return self._decide(due, ends, probabilities)

    def _watch(self, rows: Int64s, energies: Float32s) -> None:
        floor = self._floor[rows]
        stands_out = energies > np.maximum(floor * _STANDS_OUT, _FAINTEST)
        self._open_for[rows] = np.where(stands_out, _GATE_HANGOVER, self._open_for[rows] - 1)
        # Digital silence says nothing of the line's noise: the floor does not follow it below where the gate is shut.
        self._floor[rows] = np.minimum(floor * _FLOOR_RISE, np.maximum(energies, _FAINTEST / _STANDS_OUT))

    def _probabilities(self, rows: Int64s) -> Float32s:
        """0 for rows whose gate is shut."""
        found = np.zeros(len(rows), np.float32)
        through = (self._open_for[rows] > 0) | self.speaking[rows]
        opened = rows[through]
        if len(opened):
            self._warm_up(opened[~self._was_open[opened]])
            found[through] = self._vad.probabilities(opened, self._windows(opened, 0))
        self._was_open[rows] = through
        return found

    def _warm_up(self, rows: Int64s) -> None:
        """A gate that opens has missed what came before; the detector gets the last window of it.

        Its memory of earlier speech stays: on quiet lines that misses a third of what a fresh start does.
        """
        if len(rows):
            self._vad.probabilities(rows, self._windows(rows, self._vad.window))

    def _windows(self, rows: Int64s, ago: int) -> Float32s:
        pcm = self._history.read(rows, self._window_end[rows] - ago, self._vad.window)
        return np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32)

    def _decide(self, rows: Int64s, ends: Int64s, probabilities: Float32s) -> list[SpeechChange]:
        options, step = self._options, self._window_ms
        likely = (self._likely_ms[rows] + step) * (probabilities >= options.begin_probability)
        unlikely = (self._unlikely_ms[rows] + step) * (probabilities < options.end_probability)
        speaking = self.speaking[rows]
        if self._echo is not None:
            speech = np.where(speaking, (unlikely == 0) & (ends >= self._settled[rows]), likely >= options.begin_ms)
            echo, unsure = self._bot_alone(rows, ends, speech)
            unlikely = np.where(echo, self._unlikely_ms[rows] + step, unlikely)
            likely = np.where(unsure, options.begin_ms - step, np.where(echo, 0, likely))
        self._likely_ms[rows], self._unlikely_ms[rows] = likely, unlikely
        changes = np.where(speaking, unlikely >= options.end_ms, likely >= options.begin_ms)
        self.speaking[rows] = speaking ^ changes
        return [
            SpeechChange(
                int(rows[k]),
                not speaking[k],
                int(ends[k] - 8 * (unlikely if speaking[k] else likely)[k]),
                round(float(probabilities[k]), 2),
            )
            for k in changes.nonzero()[0]
        ]

    def _bot_alone(self, rows: Int64s, ends: Int64s, speech: Bools) -> Verdict:
        """Which of those that would be taken for speech are the bot's own, and which cannot be told yet."""
        assert self._echo is not None
        echo = speech & self._echo.possible(rows, ends)
        unsure = np.zeros_like(echo)
        if len(asked := echo.nonzero()[0]):
            echo[asked], unsure[asked] = self._echo.judge(rows[asked], ends[asked])
            callers = asked[~(echo[asked] | unsure[asked])]
            self._settled[rows[callers]] = ends[callers] + self._echo.settled(rows[callers])
        return Verdict(echo, unsure)
