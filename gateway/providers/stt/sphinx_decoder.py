"""A pocketsphinx decoder set to one grammar, and a confidence for what it hears.

In grammar mode pocketsphinx takes anything for something it expects. How well the words' sounds fit, and how much of
what was loud they explain, tells an answer from an accident. Measured with four voices at telephone quality,
on the shipped desk and six short lists: at a confidence of 0.3, 99 % of the right answers pass and 7 % of what nobody
expected; at 0.43, 98 % and 2 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from gateway.core.errors import ConfigError, ProviderError
from gateway.core.speech import Transcript, Word
from gateway.providers.stt.grammar import words_in
from gateway.providers.stt.loudness import Mask
from gateway.providers.stt.pronunciation import Pronunciations

FRAMES_PER_S: Final = 100
CMN: Final = "42.3,2.7,-2,2.2,-1.4,0.2,-0.9,0.5,-1.8,0.8,-0.9,0.9,-0.5"
"""Mean cepstrum of telephone speech at our level, to start following with."""

_LOG_BASE: Final = math.log(1.0001)
"""pocketsphinx keeps scores as integers, in powers of this."""
_FIT, _FIT_WIDTH = -42.0, 5.0
"""Acoustic score per frame, against the best sound there is, that is as likely right as wrong in an endless utterance,
and how sharply that turns."""
_FIT_SPREAD = 150.0
"""A short word's score is the mean of few frames, and a telephone has no S: its mean may be lower by this / sqrt(n)."""
_ENOUGH_EXPLAINED: Final = 0.6
"""The part of the sounding frames that words must cover; consonants at the edges are always lost."""


class Heard(NamedTuple):
    text: str
    confidence: float
    words: tuple[Word, ...]

    def transcript(self, *, final: bool) -> Transcript:
        return Transcript(self.text, final, self.confidence, self.words)


class Decoder:
    """Raises `ConfigError` when the grammar cannot be compiled, `ProviderError` without pocketsphinx."""

    def __init__(self, grammar: str, pronunciations: Pronunciations) -> None:
        self._sphinx = _new_decoder()
        self._begun = False
        for word in words_in(grammar):
            self._teach(word, pronunciations.of(word))
        try:
            self._sphinx.add_jsgf_string("expected", grammar)
            self._sphinx.activate_search("expected")
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"the grammar cannot be compiled: {' '.join(grammar.split())[:200]}") from error

    def _teach(self, word: str, pronunciations: tuple[str, ...]) -> None:
        if not pronunciations:
            raise ConfigError(f"no pronunciation for `{word}`; remedy: give it in the option `pronunciations`")
        for number, phones in enumerate(pronunciations, start=1):
            self._sphinx.add_word(word if number == 1 else f"{word}({number})", phones, False)

    def begin(self) -> None:
        self._sphinx.set_cmn(CMN)
        self._sphinx.start_utt()
        self._begun = True

    def follow(self, pcm: bytes) -> None:
        """The next piece between `begin` and `stop`, at 16 kHz."""
        if pcm:
            self._sphinx.process_raw(pcm, no_search=False, full_utt=False)

    def stop(self) -> None:
        """The utterance is over: what is `heard` from now on is a path to the grammar's end. Safe to call twice."""
        if self._begun:
            self._begun = False
            self._sphinx.end_utt()

    def heard(self, sounding: Mask) -> Heard:
        """The best that the grammar allows for; `sounding` says in which frames there was anything to explain."""
        words = list(self._words())
        if not words:
            return Heard("", 0.0, ())
        frames = sum(last - first + 1 for _, first, last, _ in words)
        fit = sum(score for *_, score in words) / frames
        explained = np.zeros(max(len(sounding), words[-1][2] + 1), np.bool_)
        for _, first, last, _ in words:
            explained[first : last + 1] = True
        covered = int(np.count_nonzero(explained[: len(sounding)] & sounding)) / max(1, int(np.count_nonzero(sounding)))
        confidence = min(1.0, covered / _ENOUGH_EXPLAINED) * _fits(fit, frames)
        timed = tuple(Word(text, first / FRAMES_PER_S, (last + 1) / FRAMES_PER_S) for text, first, last, _ in words)
        return Heard(" ".join(word.text for word in timed), round(confidence, 3), timed)

    def _words(self) -> Iterator[tuple[str, int, int, float]]:
        """Text, first and last frame, acoustic score of each word of the best path; silences left out."""
        for segment in self._sphinx.seg() or ():
            if segment.word[0] not in "<[(+":
                yield (
                    segment.word.partition("(")[0],
                    segment.start_frame,
                    segment.end_frame,
                    math.log(max(segment.ascore, 1e-300)) / _LOG_BASE,
                )


def _fits(score: float, frames: int) -> float:
    """0..1 for a mean acoustic score over so many frames."""
    return 1 / (1 + math.exp((_FIT - _FIT_SPREAD / math.sqrt(frames) - score) / _FIT_WIDTH))


def _new_decoder() -> Any:
    try:
        from pocketsphinx import Decoder as Sphinx
        from pocketsphinx import get_model_path
    except ImportError as error:
        message = f"pocketsphinx is not installed ({error}); remedy: pip install pocketsphinx"
        raise ProviderError(message, category="unavailable", retryable=False) from error
    return Sphinx(
        hmm=f"{get_model_path()}/en-us/en-us",
        dict=None,  # the few words of a grammar are taught one by one: 13 ms and 6 MB instead of 125 and 27
        lm=None,
        bestpath=False,
        wip=0.1,  # fewer and longer words: loops of optional words would be filled with little ones
        silprob=0.5,  # on a noisy line silence is nothing special: less, and the noise is filled with words
        compallsen=True,  # scores are relative to the best sound of all, not to the best one of this grammar
        maxhmmpf=1000,  # no large grammar may take all of the time
        loglevel="FATAL",
    )
