"""The engine behind `pocketsphinx`: recognises what a grammar expects, wherever it runs (`gateway.providers.jobs`).

While audio comes, a decoder follows it and gives interim texts. At the end everything is decoded once more, since only
then the level and the mean of the spectrum are known: that takes a hundredth of the audio's length.
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

MAX_S: Final = 60.0
"""Audio of one utterance beyond this is not listened to; no answer is that long."""
FIRST_INTERIM_S: Final = 0.4
"""Preroll and a syllable: less cannot say how loud the caller is."""
IDLE_DECODERS: Final = 16
FOLLOWING_DECODERS: Final = 32
"""Utterances followed at a time; any more are decoded at their end only. A decoder has about 6 MB."""


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
        self._pcm: loudness.Pcm = np.zeros(0, np.int16)
        self._odd = b""
        self._followed = 0
        self._said = ""
        self._follower = decoders.follow(grammar) if grammar else None

    def feed(self, pcm: bytes) -> Iterator[Transcript]:
        room = int(MAX_S * 8000) - len(self._pcm)
        pcm, even = self._odd + pcm, (len(self._odd) + len(pcm)) & ~1
        self._odd = pcm[even:]
        self._pcm = np.concatenate((self._pcm, np.frombuffer(pcm[:even], "<i2")[:room]))
        if self._follower is not None and len(self._pcm) >= FIRST_INTERIM_S * 8000:
            heard = self._follow(self._follower)
            if heard.text and heard.text != self._said and heard.confidence >= self._min_confidence:
                self._said = heard.text
                yield heard.transcript(final=False)

    def _follow(self, follower: Decoder) -> Heard:
        energy = loudness.energies(self._pcm)
        previous = int(self._pcm[self._followed - 1]) if self._followed else 0
        follower.follow(loudness.doubled(self._pcm[self._followed :], loudness.gain(energy), previous))
        self._followed = len(self._pcm)
        return follower.heard(loudness.sounding(energy))

    def finish(self) -> Transcript:
        self.release()
        if self._grammar is None or not len(self._pcm):
            return Transcript("", final=True, confidence=0.0)
        energy = loudness.energies(self._pcm)
        decoder = self._decoders.take(self._grammar)
        decoder.decode(loudness.doubled(self._pcm, loudness.gain(energy)))
        heard = decoder.heard(loudness.sounding(energy))
        self._decoders.give_back(self._grammar, decoder)
        if heard.confidence < self._min_confidence:
            return Transcript("", final=True, confidence=heard.confidence)
        return heard.transcript(final=True)

    def release(self) -> None:
        """Let another utterance have the decoder that followed this one."""
        if self._follower is not None and self._grammar is not None:
            self._decoders.unfollow(self._grammar, self._follower)
            self._follower = None


class _Decoders:
    """Decoders by their grammar, the idle ones kept for the next caller who is asked the same."""

    def __init__(self, pronunciations: Pronunciations) -> None:
        self._pronunciations = pronunciations
        self._idle: OrderedDict[Decoder, str] = OrderedDict()
        self._following = 0

    def take(self, grammar: str) -> Decoder:
        for decoder, of in self._idle.items():
            if of == grammar:
                del self._idle[decoder]
                return decoder
        return Decoder(grammar, self._pronunciations)

    def give_back(self, grammar: str, decoder: Decoder) -> None:
        self._idle[decoder] = grammar
        if len(self._idle) > IDLE_DECODERS:
            self._idle.popitem(last=False)

    def follow(self, grammar: str) -> Decoder | None:
        if self._following >= FOLLOWING_DECODERS:
            return None
        decoder = self.take(grammar)
        self._following += 1
        decoder.begin()
        return decoder

    def unfollow(self, grammar: str, decoder: Decoder) -> None:
        self._following -= 1
        decoder.stop()
        self.give_back(grammar, decoder)
