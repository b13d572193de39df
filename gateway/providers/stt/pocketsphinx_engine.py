"""The engine behind `pocketsphinx`: recognises what a grammar expects, wherever it runs (`gateway.providers.jobs`).

A decoder follows the audio as it comes, which takes a twentieth of the time it lasts and gives interim texts; what it
holds at the end is as right as decoding the whole at once. Utterances that find no decoder free are decoded then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from gateway.core.speech import Transcript
from gateway.providers.stt import loudness
from gateway.providers.stt.pronunciation import Pronunciations
from gateway.providers.stt.sphinx_decoder import Decoder, Heard

RATE: Final = 8000
MAX_S: Final = 60.0
"""Audio of one utterance beyond this is not listened to; no answer is that long."""
FIRST_FOLLOWED_S: Final = 0.6
"""Preroll and a syllable or two: less cannot say how loud the caller is."""
IDLE_DECODERS: Final = 16
DECODERS: Final = 48
"""Utterances followed at a time, more than a core can do; a decoder has about 6 MB."""


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Listen for what the grammar allows; without one nothing is understood."""

    grammar: str | None


class Feed(msgspec.Struct, frozen=True, tag=True):
    """PCM16 at 8 kHz."""

    pcm: bytes


class Finish(msgspec.Struct, frozen=True, tag=True):
    """Answered by a final transcript; the job is over then."""


Request: TypeAlias = Begin | Feed | Finish
Reply: TypeAlias = Transcript


class Options(msgspec.Struct, frozen=True):
    min_confidence: float
    pronunciations: dict[str, str]


class PocketsphinxEngine:
    def __init__(self, options: Options) -> None:
        self._decoders = _Decoders(Pronunciations(options.pronunciations))
        self._min_confidence = options.min_confidence
        self._utterances: dict[int, _Utterance] = {}

    def handle(self, job: int, request: Request) -> Iterable[Transcript]:
        match request:
            case Begin(grammar):
                self._utterances[job] = _Utterance(grammar, self._decoders, self._min_confidence)
            case Feed(pcm):
                yield from self._utterances[job].feed(pcm)
            case Finish():
                yield self._utterances[job].finish()
                self.end(job)

    def end(self, job: int) -> None:
        utterance = self._utterances.pop(job, None)
        if utterance is not None:
            utterance.release()


def create(options: dict[str, Any]) -> PocketsphinxEngine:
    return PocketsphinxEngine(msgspec.convert(options, Options))


class _Utterance:
    """One caller's turn."""

    def __init__(self, grammar: str | None, decoders: _Decoders, min_confidence: float) -> None:
        self._grammar, self._decoders, self._min_confidence = grammar, decoders, min_confidence
        self._decoder = decoders.take(grammar) if grammar is not None else None
        self._pcm: loudness.Pcm = np.zeros(0, np.int16)
        self._odd = b""
        self._followed = 0
        self._said = ""

    def feed(self, pcm: bytes) -> Iterator[Transcript]:
        room = int(MAX_S * RATE) - len(self._pcm)
        pcm, even = self._odd + pcm, (len(self._odd) + len(pcm)) & ~1
        self._odd = pcm[even:]
        self._pcm = np.concatenate((self._pcm, np.frombuffer(pcm[:even], "<i2")[:room]))
        if self._decoder is not None and len(self._pcm) >= FIRST_FOLLOWED_S * RATE:
            heard = self._follow(self._decoder)
            if heard.text and heard.text != self._said and heard.confidence >= self._min_confidence:
                self._said = heard.text
                yield heard.transcript(final=False)

    def finish(self) -> Transcript:
        if self._decoder is None and self._grammar is not None:
            self._decoder = self._decoders.take(self._grammar, late=True)
        if self._decoder is None or not len(self._pcm):
            return Transcript("", final=True, confidence=0.0)
        heard = self._follow(self._decoder, to_the_end=True)
        if heard.confidence < self._min_confidence:
            return Transcript("", final=True, confidence=heard.confidence)
        return heard.transcript(final=True)

    def _follow(self, decoder: Decoder, *, to_the_end: bool = False) -> Heard:
        """Decode what is new, at the level of all that was heard so far."""
        energy = loudness.energies(self._pcm)
        previous = int(self._pcm[self._followed - 1]) if self._followed else 0
        decoder.follow(loudness.doubled(self._pcm[self._followed :], loudness.gain(energy), previous))
        self._followed = len(self._pcm)
        if to_the_end:
            decoder.stop()
        return decoder.heard(loudness.sounding(energy))

    def release(self) -> None:
        """Let another utterance have the decoder."""
        if self._decoder is not None and self._grammar is not None:
            self._decoders.give_back(self._grammar, self._decoder)
            self._decoder = None


class _Decoders:
    """Decoders by their grammar, the idle ones kept for the next caller who is asked the same."""

    def __init__(self, pronunciations: Pronunciations) -> None:
        self._pronunciations = pronunciations
        self._idle: OrderedDict[Decoder, str] = OrderedDict()
        self._taken = 0

    def take(self, grammar: str, *, late: bool = False) -> Decoder | None:
        """A decoder at the beginning of an utterance; None when too many are out, except for a `late` one."""
        if self._taken >= DECODERS and not late:
            return None
        decoder = next((idle for idle, of in self._idle.items() if of == grammar), None)
        if decoder is not None:
            del self._idle[decoder]
        else:
            decoder = Decoder(grammar, self._pronunciations)
        decoder.begin()
        self._taken += 1
        return decoder

    def give_back(self, grammar: str, decoder: Decoder) -> None:
        self._taken -= 1
        decoder.stop()
        self._idle[decoder] = grammar
        if len(self._idle) > IDLE_DECODERS:
            self._idle.popitem(last=False)
