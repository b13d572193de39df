"""Providers whose answers are noted, with their delays, while a call is live. What passes through is not changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, Protocol, TypeVar

import msgspec

from gateway.core.errors import ProviderError
from gateway.core.speech import Expectation, Transcript
from gateway.replay.layout import Act, AnyAnswer, Chunk, Failure, Interim, PromptPlayed, Recognised, Spoken, Thought
from gateway.session.ports import (
    Agent,
    AgentAct,
    AudioFormat,
    Context,
    Prompted,
    SpeechChunk,
    SpeechToText,
    SttStream,
    TextToSpeech,
)

T = TypeVar("T")


class Notebook(Protocol):
    """Where answers are noted. `now` is in seconds since the bundle was opened."""

    def now(self) -> float: ...

    def note(self, answer: AnyAnswer) -> None: ...

    def note_audio(self, answer: Spoken | PromptPlayed, pcm: bytes, sample_rate: int) -> None:
        """Note it with a name for these samples as its `audio`."""
        ...


class RecordedStt:
    """Implements `SpeechToText`."""

    def __init__(self, inner: SpeechToText, notebook: Notebook) -> None:
        self._inner, self._notebook = inner, notebook

    @property
    def audio_format(self) -> AudioFormat:
        return self._inner.audio_format

    @audio_format.setter
    def audio_format(self, value: AudioFormat) -> None:
        self._inner.audio_format = value

    async def open(self, expectation: Expectation) -> SttStream:
        opened = Recognised(self._notebook.now(), expectation, 0, self.audio_format)
        try:
            stream = await self._inner.open(expectation)
        except ProviderError as error:
            self._notebook.note(self._after(opened, failed_in="open", failure=Failure.of(error)))
            raise
        return RecordedStream(stream, self._after(opened), self._notebook)

    def _after(self, opened: Recognised, **how: object) -> Recognised:
        return msgspec.structs.replace(opened, open_s=self._notebook.now() - opened.at, **how)

    async def close(self) -> None:
        """The recogniser is shared by all calls: it is not this call's to close."""


class RecordedStream:
    """Implements `SttStream`; noted once, when it ends."""

    def __init__(self, inner: SttStream, opened: Recognised, notebook: Notebook) -> None:
        self._inner, self._notebook, self._opened = inner, notebook, opened
        self._fed, self._fed_at = 0, notebook.now()
        self._interims: list[Interim] = []
        self._noted = False

    async def feed(self, audio: bytes) -> None:
        self._fed += len(audio)
        self._fed_at = self._notebook.now()
        try:
            await self._inner.feed(audio)
        except ProviderError as error:
            self._failed("feed", self._fed_at, error)
            raise

    async def finish(self) -> Transcript:
        asked = self._notebook.now()
        try:
            final = await self._inner.finish()
        except ProviderError as error:
            self._failed("finish", asked, error)
            raise
        self._note(final=final, delay_s=self._notebook.now() - asked)
        return final

    async def cancel(self) -> None:
        self._note()
        await self._inner.cancel()

    async def interim(self) -> AsyncIterator[Transcript]:
        async with closing(self._inner.interim()) as transcripts:
            async for transcript in transcripts:
                self._interims.append(Interim(self._fed, self._notebook.now() - self._fed_at, transcript))
                yield transcript

    def _failed(self, where: Literal["feed", "finish"], asked: float, error: ProviderError) -> None:
        self._note(failed_in=where, failure=Failure.of(error), delay_s=self._notebook.now() - asked)

    def _note(
        self,
        *,
        final: Transcript | None = None,
        delay_s: float = 0.0,
        failed_in: Literal["", "feed", "finish"] = "",
        failure: Failure | None = None,
    ) -> None:
        if self._noted:
            return
        self._noted = True
        self._notebook.note(
            msgspec.structs.replace(
                self._opened,
                fed=self._fed,
                interims=tuple(self._interims),
                final=final,
                delay_s=delay_s,
                failed_in=failed_in,
                failure=failure,
            )
        )


class RecordedTts:
    """Implements `TextToSpeech`."""

    def __init__(self, inner: TextToSpeech, notebook: Notebook) -> None:
        self._inner, self._notebook = inner, notebook

    @property
    def sample_rate(self) -> int:
        return self._inner.sample_rate

    @sample_rate.setter
    def sample_rate(self, value: int) -> None:
        self._inner.sample_rate = value

    @property
    def wideband(self) -> RecordedTts:
        return RecordedTts(getattr(self._inner, "wideband", self._inner), self._notebook)

    async def speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        asked = self._notebook.now()
        chunks: list[Chunk] = []
        audio = bytearray()
        done_s: float | None = None
        failure: Failure | None = None
        try:
            async with closing(self._inner.speak(text)) as spoken:
                async for chunk in spoken:
                    chunks.append(Chunk(self._notebook.now() - asked, len(chunk.pcm), chunk.words))
                    audio += chunk.pcm
                    yield chunk
            done_s = self._notebook.now() - asked
        except ProviderError as error:
            done_s, failure = self._notebook.now() - asked, Failure.of(error)
            raise
        finally:
            answer = Spoken(asked, text, self.sample_rate, tuple(chunks), done_s=done_s, failure=failure)
            self._notebook.note_audio(answer, bytes(audio), self.sample_rate)

    async def close(self) -> None:
        """As with the recogniser: the voice belongs to all calls."""


class RecordedAgent:
    """Implements `Agent`."""

    def __init__(self, name: str, inner: Agent, notebook: Notebook) -> None:
        self._name, self._inner, self._notebook = name, inner, notebook

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        asked = self._notebook.now()
        acts: list[Act] = []
        done_s: float | None = None
        failure: Failure | None = None
        try:
            async with closing(self._inner.respond(prompted, context)) as answers:
                async for act in answers:
                    acts.append(Act(self._notebook.now() - asked, act))
                    yield act
            done_s = self._notebook.now() - asked
        except ProviderError as error:
            done_s, failure = self._notebook.now() - asked, Failure.of(error)
            raise
        finally:
            self._notebook.note(Thought(asked, self._name, prompted, tuple(acts), done_s, failure))

    async def close(self) -> None:
        """As with the recogniser: the agent belongs to all calls."""


@asynccontextmanager
async def closing(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close it whatever happens: that is how a provider learns that its answer is not wanted any more."""
    try:
        yield iterator
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
