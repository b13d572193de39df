"""`kind: pocketsphinx`, the built-in recogniser: understands what the bot expects to hear, in English, with no key.

It works from grammars. Give each question its `phrases` (or a JSGF `grammar`); the shorter and the more different
they are, the better. Where nothing is expected, nothing is understood: the text is empty and the confidence 0, since
the open language model is of no use on telephone audio. What does not fit the expected phrases comes back empty too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from gateway.core.errors import ConfigError, ProviderError
from gateway.core.speech import Expectation, Transcript
from gateway.providers.jobs import InlineJobs, Job, Jobs
from gateway.providers.processes import ProcessJobs
from gateway.providers.stt.grammar import grammar_of
from gateway.providers.stt.pocketsphinx_engine import Begin, Feed, Finish
from gateway.providers.stt.pronunciation import Pronunciations
from gateway.session.ports import AudioFormat

ENGINE: Final = "gateway.providers.stt.pocketsphinx_engine"


class Options(msgspec.Struct, frozen=True):
    min_confidence: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.3
    """What is less certain is reported as empty text. 0 takes anything for an answer."""
    pronunciations: dict[str, str] = {}
    """Words the dictionary lacks or gets wrong, in its phones: `{"Nguyen" = "W IH N"}`. Others are guessed."""
    processes: Annotated[int, Meta(ge=0, le=64)] = 0
    """Worker processes; 0 is one per core. One follows some fifteen callers who speak at the same time."""
    inline: bool = False
    """Recognise in this process, at once: for replay and tests."""
    reply_within_s: Annotated[float, Meta(gt=0)] = 10.0
    """A worker that takes longer is killed and started anew."""


class Pocketsphinx:
    """Implements `SpeechToText`."""

    audio_format: AudioFormat = "pcm_8k"

    def __init__(self, options: Options, jobs: Jobs) -> None:
        self._jobs, self._reply_within_s = jobs, options.reply_within_s

    async def open(self, expectation: Expectation) -> PocketsphinxStream:
        """Raises `ProviderError`; a grammar with a fault in it shows as one from the stream's `finish`."""
        try:
            grammar = grammar_of(expectation)
        except ConfigError as error:
            raise ProviderError(str(error), category="bad_request", retryable=False) from error
        job = await self._jobs.begin()
        job.send(Begin(grammar))
        return PocketsphinxStream(job, self._reply_within_s)

    async def warm(self) -> None:
        """Start the workers before the first call needs them."""
        await self._jobs.warm()

    async def close(self) -> None:
        await self._jobs.close()


class PocketsphinxStream:
    """Implements `SttStream`."""

    def __init__(self, job: Job, reply_within_s: float) -> None:
        self._job, self._reply_within_s = job, reply_within_s
        self._interim: asyncio.Queue[Transcript | None] = asyncio.Queue()
        self._listening = asyncio.create_task(self._listen())

    async def feed(self, audio: bytes) -> None:
        self._job.send(Feed(audio))

    async def finish(self) -> Transcript:
        self._job.send(Finish())
        self._listening.cancel()  # from here on the replies are ours
        try:
            while not (transcript := await self._next(self._reply_within_s)).final:
                pass
            return transcript
        finally:
            await self.cancel()

    async def cancel(self) -> None:
        self._job.end()
        self._listening.cancel()
        self._interim.put_nowait(None)

    async def interim(self) -> AsyncIterator[Transcript]:
        while (transcript := await self._interim.get()) is not None:
            yield transcript
        self._interim.put_nowait(None)  # whoever asks again sees the end too

    async def _listen(self) -> None:
        """A failure only ends the interim transcripts: `finish` says what it was."""
        with contextlib.suppress(ProviderError):
            while True:
                self._interim.put_nowait(await self._next())
        self._interim.put_nowait(None)

    async def _next(self, within_s: float | None = None) -> Transcript:
        transcript: Transcript = await self._job.receive(within_s=within_s)
        return transcript


def build(options: Options) -> Pocketsphinx:
    Pronunciations(options.pronunciations)  # complains now, and not at the first call
    engine = {"min_confidence": options.min_confidence, "pronunciations": options.pronunciations}
    jobs = InlineJobs(ENGINE, engine) if options.inline else ProcessJobs(ENGINE, engine, processes=options.processes)
    return Pocketsphinx(options, jobs)
