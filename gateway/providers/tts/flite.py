"""`kind: flite`, the built-in voice: small, quick (a hundred times real time), English, and no key needed.

Needs Debian's `libflite1`. Words are timed exactly. A text spoken before comes from memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from gateway.core.speech import Word
from gateway.providers.jobs import InlineJobs, Jobs
from gateway.providers.processes import ProcessJobs
from gateway.providers.tts.cache import SpokenCache
from gateway.providers.tts.flite_engine import Reply, Request
from gateway.providers.tts.flite_library import VOICES
from gateway.session.ports import SpeechChunk

ENGINE: Final = "gateway.providers.tts.flite_engine"
PART_CHARACTERS: Final = 300
"""About 20 s of speech and 0.2 s of work: longer texts are synthesised piece by piece, so that they start soon."""


class Options(msgspec.Struct, frozen=True):
    voice: Literal["slt", "rms", "awb", "kal", "kal16"] = "slt"
    """slt is female; rms, awb and kal are male. kal speaks at 8 kHz, the others at 16."""
    pace: Annotated[float, Meta(ge=0.5, le=2.0)] = 1.0
    """1.25 speaks a quarter faster."""
    cache_bytes: Annotated[int, Meta(ge=0)] = 32_000_000
    """Audio kept for repeated texts; the default holds about a quarter of an hour."""
    processes: Annotated[int, Meta(ge=0, le=64)] = 1
    """Worker processes; 0 is one per core."""
    inline: bool = False
    """Speak in this process, at once: for replay and tests."""
    reply_within_s: Annotated[float, Meta(gt=0)] = 10.0
    """A worker that takes longer is killed and started anew."""


class Flite:
    """Implements `TextToSpeech`."""

    def __init__(self, options: Options, jobs: Jobs) -> None:
        self.sample_rate = VOICES[options.voice]
        self._jobs, self._reply_within_s = jobs, options.reply_within_s
        self._cache = SpokenCache(options.cache_bytes)

    async def speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        """A sentence of usual length in one chunk: it is done before a first piece would be worth sending."""
        spoken_s = 0.0
        for part in parts(text):
            chunk = self._cache.get(part)
            if chunk is None:
                chunk = await self._synthesise(part)
                self._cache.put(part, chunk)
            if chunk.pcm:
                yield later(chunk, spoken_s)
                spoken_s += len(chunk.pcm) / 2 / self.sample_rate

    async def _synthesise(self, text: str) -> SpeechChunk:
        job = await self._jobs.begin()
        try:
            job.send(Request(text.encode(errors="replace").decode()))  # a model may write half a surrogate pair
            reply: Reply = await job.receive(within_s=self._reply_within_s)
        finally:
            job.end()
        return SpeechChunk(reply.pcm, reply.words)

    async def warm(self) -> None:
        """Start the worker before the first call needs it. Raises `ProviderError` when there is no flite."""
        await self._jobs.warm()

    async def close(self) -> None:
        await self._jobs.close()


def parts(text: str) -> Iterator[str]:
    """What to synthesise at once: the text itself, or when it is long pieces of it, cut where one may breathe."""
    rest = text.strip()
    while len(rest) > PART_CHARACTERS:
        head = rest[:PART_CHARACTERS]
        cut = max(head.rfind(mark) for mark in (", ", "; ", ": ", ". ", "? ", "! ")) + 1 or head.rfind(" ") + 1
        yield rest[: cut or PART_CHARACTERS].strip()
        rest = rest[cut or PART_CHARACTERS :].strip()
    if rest:
        yield rest


def later(chunk: SpeechChunk, by_s: float) -> SpeechChunk:
    """The chunk with its words timed from the start of the utterance that it continues."""
    if not by_s:
        return chunk
    words = tuple(Word(word.text, word.start_s + by_s, word.end_s + by_s) for word in chunk.words)
    return SpeechChunk(chunk.pcm, words)


def build(options: Options) -> Flite:
    engine = {"voice": options.voice, "pace": options.pace}
    jobs = InlineJobs(ENGINE, engine) if options.inline else ProcessJobs(ENGINE, engine, processes=options.processes)
    return Flite(options, jobs)
