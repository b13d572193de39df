"""`kind: scripted`: a tone for every word, of the right length and exactly timed. For tests of one's own bots.

Works on a virtual clock: `run_virtual` from `gateway.core.loops` passes any delay in no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from gateway.core.errors import ProviderError
from gateway.core.speech import Word
from gateway.session.ports import SpeechChunk


class Options(msgspec.Struct, frozen=True):
    words_per_s: Annotated[float, Meta(gt=0)] = 4.0
    sample_rate: Annotated[int, Meta(ge=8000, le=48000)] = 8000
    delay_s: Annotated[float, Meta(ge=0)] = 0.0
    """Before the first chunk."""
    tone_hz: Annotated[float, Meta(ge=0)] = 440.0
    """0 for silence."""


class ScriptedTts:
    """Implements `TextToSpeech`: a chunk for each word. `spoken` is every text asked for; `errors` are raised by text,
    after the first word."""

    def __init__(self, options: Options | None = None, *, errors: Mapping[str, ProviderError] | None = None) -> None:
        self._options = options or Options()
        self._errors = errors or {}
        self.sample_rate = self._options.sample_rate
        self.spoken: list[str] = []
        self.cancelled: list[str] = []

    async def speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        self.spoken.append(text)
        try:
            await asyncio.sleep(self._options.delay_s)
            for number, word in enumerate(text.split()):
                if number == 1 and text in self._errors:
                    raise self._errors[text]
                yield self._chunk(number, word)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(text)
            raise

    def _chunk(self, number: int, word: str) -> SpeechChunk:
        length = round(self.sample_rate / self._options.words_per_s)
        phase = 2 * np.pi * self._options.tone_hz / self.sample_rate * np.arange(length)
        pcm = np.rint(8000 * np.sin(phase)).astype("<i2").tobytes()
        start, end = (samples / self.sample_rate for samples in (number * length, (number + 1) * length))
        return SpeechChunk(pcm, (Word(word, start, end),))

    async def close(self) -> None:
        """Nothing is open."""


def build(options: Options) -> ScriptedTts:
    return ScriptedTts(options)
