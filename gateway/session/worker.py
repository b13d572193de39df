"""The tasks behind a conversation's commands: one hears, one speaks, one thinks.

Each ends in exactly one closing input, unless it is cancelled: a cancelled worker tells nothing more, whatever its
provider still does. Whatever a provider raises, or a wait of more than `within_s`, becomes the input of a failure.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

import structlog

from gateway.core.errors import ProviderError
from gateway.core.speech import Expectation, Transcript, Word
from gateway.session import commands as c
from gateway.session.chunker import Chunker, Cut, before_cut, merged
from gateway.session.commands import AnyInput
from gateway.session.levels import bytes_per_second
from gateway.session.ports import Agent, AgentAct, Context, Playout, Prompted, SpeechToText, SttStream, TextToSpeech
from gateway.session.resample import LINE_RATE, LineResampler

log = structlog.get_logger()
T = TypeVar("T")

Tell = Callable[[AnyInput], None]
CLOSING_WITHIN_S = 1.0
"""What a provider is given to let go of something that is not wanted any more."""


def provider_name(room: str, provider: object) -> str:
    """`stt.pocketsphinx`: the room and what the provider calls itself, or its module."""
    name = getattr(provider, "name", None)
    return f"{room}.{name if isinstance(name, str) else type(provider).__module__.rpartition('.')[2]}"


class Worker(ABC):
    """A task that tells what came of it."""

    room = ""

    def __init__(self, provider: object, tell: Tell, within_s: float) -> None:
        self._name = provider_name(self.room, provider)
        self._tell_owner, self._within_s = tell, within_s
        self._over = False
        self.task = asyncio.create_task(self._guarded(), name=self._name)

    def cancel(self) -> None:
        """Nothing is told from here on. The provider is let go in the background."""
        self._over = True
        self.task.cancel()

    def tell(self, told: AnyInput) -> None:
        if not self._over:
            self._tell_owner(told)

    def close(self, told: AnyInput) -> None:
        """The last word."""
        self.tell(told)
        self._over = True

    @abstractmethod
    async def work(self) -> None: ...

    @abstractmethod
    def failed(self, what: str, category: str, message: str) -> AnyInput: ...

    async def within(self, awaitable: Awaitable[T]) -> T:
        async with asyncio.timeout(self._within_s):
            return await awaitable

    async def each(self, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """The items of a provider's iterator, none of them waited for too long. Closes the iterator."""
        try:
            while True:
                try:
                    item = await self.within(anext(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            await self.let_go(getattr(items, "aclose", None))

    async def let_go(self, release: Callable[[], Awaitable[Any]] | None) -> None:
        """Call a provider's own clean-up; it may neither raise nor linger."""
        if release is None:
            return
        try:
            async with asyncio.timeout(CLOSING_WITHIN_S):
                await release()
        except Exception as error:
            log.warning("provider.release_failed", what=self._name, error=repr(error))

    async def _guarded(self) -> None:
        try:
            await self.work()
        except TimeoutError:
            self.close(self.failed(self._name, "timeout", f"nothing within {self._within_s:g} s"))
        except ProviderError as error:
            self.close(self.failed(self._name, error.category, str(error)))
        except Exception as error:  # a provider is anybody's code
            log.exception("provider.raised", what=self._name)
            self.close(self.failed(self._name, "internal", f"{type(error).__name__}: {error}"))


class Hearing(Worker):
    """Recognises one turn. Keeps its audio, so that a recogniser that failed can be given all of it once more."""

    room = "stt"

    def __init__(
        self, stt: SpeechToText, turn: int, expectation: Expectation, tell: Tell, *, within_s: float, chunk_max_s: float
    ) -> None:
        self.turn = turn
        self.pieces: list[tuple[bytes, bool]] = []
        self.finishing = False
        self._stt, self._expectation = stt, expectation
        self._chunker = Chunker(stt.audio_format, max_s=chunk_max_s)
        self._queue: asyncio.Queue[tuple[bytes, bool] | None] = asyncio.Queue()
        self._audio = bytearray()
        self._fed = self._began = 0
        self._stream: SttStream | None = None
        self._interim: asyncio.Task[None] | None = None
        self._before = Transcript("", final=True)
        self._overlapping = False
        super().__init__(stt, tell, within_s)

    def hear(self, audio: bytes, speech: bool) -> None:
        if not self.finishing:
            self.pieces.append((audio, speech))
            self._queue.put_nowait((audio, speech))

    def finish(self) -> None:
        if not self.finishing:
            self.finishing = True
            self._queue.put_nowait(None)

    def failed(self, what: str, category: str, message: str) -> AnyInput:
        return c.RecognitionFailed(self.turn, what, category, message)

    async def work(self) -> None:
        try:
            await self._open()
            while (piece := await self._queue.get()) is not None:
                await self._feed(*piece)
            transcript, _ = await self._conclude()
            self.close(c.RecognitionFinished(self.turn, transcript))
        finally:
            await self._drop_stream()

    async def _open(self) -> None:
        self._stream = await self.within(self._stt.open(self._expectation))
        self._interim = asyncio.create_task(self._follow_interim(self._stream, self._before, self._overlapping))

    async def _feed(self, audio: bytes, speech: bool) -> None:
        self._audio += audio
        for cut in self._chunker.feed(audio, speech=speech):
            await self._pass_on(cut.end, speech)
            self._before, timed = await self._conclude(cut)
            self._overlapping = cut.overlapping and not timed
            self._began = self._fed = cut.resume
        await self._pass_on(len(self._audio), speech)

    async def _pass_on(self, end: int, speech: bool) -> None:
        """After a cut, silence opens no stream; it waits for the speech behind it."""
        if self._stream is None and speech:
            await self._open()
        if self._stream is not None and end > self._fed:
            await self.within(self._stream.feed(bytes(self._audio[self._fed : end])))
            self._fed = end

    async def _conclude(self, cut: Cut | None = None) -> tuple[Transcript, bool]:
        """The transcript of everything up to here, and whether its words' times told what the next piece repeats."""
        if self._stream is None:  # nobody spoke after the last cut
            return self._before, False
        transcript = await self.within(self._stream.finish())
        self._stream = None
        self._stop_interim()
        timed = cut is not None and bool(transcript.words)
        if cut is not None and timed:
            resume_s = (cut.resume - self._began) / bytes_per_second(self._stt.audio_format)
            transcript = Transcript(before_cut(transcript.words, resume_s), True, transcript.confidence)
        return self._joined(self._before, transcript, self._overlapping), timed

    async def _follow_interim(self, stream: SttStream, before: Transcript, overlapping: bool) -> None:
        """Interim results are a convenience: when they fail, the final one still decides."""
        try:
            async for transcript in stream.interim():
                self.tell(c.RecognitionProgressed(self.turn, self._joined(before, transcript, overlapping)))
        except Exception as error:
            log.warning("provider.interim_failed", what=self._name, error=repr(error))

    @staticmethod
    def _joined(before: Transcript, transcript: Transcript, overlapping: bool) -> Transcript:
        if not before.text:
            return transcript
        text = merged(before.text, transcript.text, overlapping=overlapping)
        confidence = min(before.confidence, transcript.confidence) if transcript.text else before.confidence
        return Transcript(text, transcript.final, confidence)

    def _stop_interim(self) -> None:
        if self._interim is not None:
            self._interim.cancel()
            self._interim = None

    async def _drop_stream(self) -> None:
        self._stop_interim()
        stream, self._stream = self._stream, None
        if stream is not None:
            await self.let_go(stream.cancel)


class Stored(NamedTuple):
    """A prompt at 8 kHz, and the same at 16 kHz where that is wanted and there."""

    pcm: bytes
    wide: bytes = b""


class Speaking(Worker):
    """Makes one clip audible: synthesises it sentence by sentence, or plays what is stored."""

    room = "tts"

    def __init__(
        self, tts: TextToSpeech, command: c.Speak, stored: Stored | None, playout: Playout, tell: Tell, within_s: float
    ) -> None:
        self._tts, self._clip, self._text, self._stored, self._playout = (
            tts,
            command.clip,
            command.text,
            stored,
            playout,
        )
        self._queued = 0
        self._complete = False
        self._words: list[Word] = []
        super().__init__(tts, tell, within_s)

    @property
    def queued_s(self) -> float:
        return self._queued / 2 / LINE_RATE

    def cancel(self) -> None:
        """What is queued stays and plays to its end, if it is not flushed."""
        if not self._over and not self._complete:
            self._complete_early()
            self.close(c.SpeechReady(self._clip, self.queued_s, tuple(self._words)))
        super().cancel()

    def failed(self, what: str, category: str, message: str) -> AnyInput:
        self._complete_early()
        return c.SpeechFailed(self._clip, what, category, message, self.queued_s, tuple(self._words))

    async def work(self) -> None:
        if self._stored is not None:
            self._queue(*self._stored, last=True)
        else:
            await self._synthesise()
        self.close(c.SpeechReady(self._clip, self.queued_s, tuple(self._words)))
        if not self._queued:
            self._tell_owner(c.PlayoutFinished(self._clip, 0.0, True))

    async def _synthesise(self) -> None:
        wideband = self._playout.wideband
        voice: TextToSpeech = getattr(self._tts, "wideband", self._tts) if wideband else self._tts
        resampler = LineResampler(voice.sample_rate, wideband=wideband)
        async with aclosing(self.each(voice.speak(self._text))) as chunks:
            async for chunk in chunks:
                self._words += chunk.words
                self._queue(*resampler.feed(chunk.pcm), last=False)
        self._queue(*resampler.finish(), last=True)

    def _queue(self, pcm: bytes, wide: bytes, *, last: bool) -> None:
        self._queued += len(pcm)
        if pcm or (last and self._queued):
            self._playout.queue(self._clip, pcm, last, wide)
        self._complete = last

    def _complete_early(self) -> None:
        if self._queued and not self._complete:
            self._playout.queue(self._clip, b"", True)
        self._complete = True


class Thinking(Worker):
    """Lets an agent answer one turn."""

    room = "agent"

    def __init__(
        self, agent: Agent, turn: int, prompted: Prompted, context: Context, tell: Tell, within_s: float
    ) -> None:
        self._agent, self._turn, self._prompted, self._context = agent, turn, prompted, context
        super().__init__(agent, tell, within_s)

    def failed(self, what: str, category: str, message: str) -> AnyInput:
        return c.AgentFailed(self._turn, what, category, message)

    async def work(self) -> None:
        async with aclosing(self.each(self._agent.respond(self._prompted, self._context))) as acts:
            async for act in acts:
                if not isinstance(act, AgentAct):  # else its author would wonder why the bot is silent
                    raise TypeError(f"an agent yields Say, Expect, Remember and Finish, not {act!r:.80}")
                self.tell(c.AgentActed(self._turn, act))
        self.close(c.AgentDone(self._turn))
