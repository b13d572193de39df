"""Providers and a playout on the virtual loop: small, scripted, and as unreliable as a test asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from virtual_time import elapse

from gateway.core import events as e
from gateway.core.clock import LoopClock
from gateway.core.errors import ProviderError
from gateway.core.loops import run_virtual
from gateway.core.speech import Expectation, Transcript, Word
from gateway.session import commands as c
from gateway.session.conversation import Conversation, ConversationOptions
from gateway.session.io import ConversationRunner
from gateway.session.ports import AgentAct, Context, Prompted, SpeechChunk

WORD_S = 0.3
HANG = "hang"
BREAK = ValueError("scripted")
AWAY = ProviderError("scripted", category="network", retryable=True)


async def suffer(trouble: object) -> None:
    if trouble == HANG:
        await asyncio.Event().wait()
    if isinstance(trouble, Exception):
        raise trouble


class Ear:
    """Answers each stream with the next of `texts`; an exception is raised, "hang" never returns."""

    audio_format = "pcm_8k"
    name = "ear"

    def __init__(self, *texts: Any, interim: tuple[str, ...] = (), takes_s: float = 0.1) -> None:
        self.texts, self.partial, self.takes_s = list(texts), interim, takes_s
        self.streams: list[EarStream] = []

    async def open(self, expectation: Expectation) -> EarStream:
        stream = EarStream(self)
        self.streams.append(stream)
        return stream

    async def close(self) -> None: ...


class EarStream:
    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self.audio = b""
        self.cancelled = False
        self._pieces = asyncio.Event()

    async def feed(self, audio: bytes) -> None:
        self.audio += audio
        self._pieces.set()

    async def finish(self) -> Transcript:
        await elapse(self._ear.takes_s)
        text = self._ear.texts.pop(0) if self._ear.texts else ""
        await suffer(text)
        return Transcript(text, True)

    async def cancel(self) -> None:
        self.cancelled = True

    async def interim(self) -> AsyncIterator[Transcript]:
        for text in self._ear.partial:
            await self._pieces.wait()
            self._pieces.clear()
            yield Transcript(text, False)


class Voice:
    """Ten times as fast as speech, a word a chunk, at 16 kHz. `troubles` befall one utterance each."""

    sample_rate = 16000
    name = "voice"

    def __init__(self, *troubles: object, after_words: int = 0) -> None:
        self.troubles, self.after_words = list(troubles), after_words
        self.closed = 0

    async def speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        trouble = self.troubles.pop(0) if self.troubles else None
        try:
            for number, word in enumerate(text.split()):
                await elapse(WORD_S / 10)
                if number >= self.after_words:
                    await suffer(trouble)
                begins = number * WORD_S
                pcm = b"\x10\x00" * round(WORD_S * self.sample_rate)
                yield SpeechChunk(pcm, (Word(word, begins, begins + WORD_S),))
        finally:
            self.closed += 1

    async def close(self) -> None: ...


class Mind:
    """`answer` gives the acts; exceptions and "hang" among them happen, floats are waited for."""

    name = "mind"

    def __init__(self, answer: Callable[[Prompted], list[Any]]) -> None:
        self.answer = answer
        self.asked: list[Prompted] = []
        self.closed = 0

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        self.asked.append(prompted)
        try:
            for act in self.answer(prompted):
                if isinstance(act, float):
                    await elapse(act)
                else:
                    await suffer(act)
                    yield act
        finally:
            self.closed += 1

    async def close(self) -> None: ...


class Line:
    """Implements `Playout`, and the caller: plays in virtual time, tells what the plane would tell."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.held = False
        self.clips: list[list[Any]] = []  # number, samples queued, samples played, complete
        self.played = b""
        self.wideband = False
        self.wide = b""
        self._wake = asyncio.Event()
        self.task = asyncio.create_task(self._play())

    def queue(self, clip: int, pcm: bytes, last: bool, wide: bytes = b"") -> None:
        assert len(wide) in ((0, 2 * len(pcm)) if self.wideband else (0,))
        self.wide += wide
        if not self.clips or self.clips[-1][0] != clip:
            assert pcm, "a clip without any audio"
            self.clips.append([clip, 0, 0, False])
        self.clips[-1][1] += len(pcm) // 2
        self.clips[-1][3] = last
        self._wake.set()

    def pause(self) -> None:
        self.held = True

    def resume(self) -> None:
        self.held = False
        self._wake.set()

    def flush(self) -> None:
        clips, self.clips, self.held = self.clips, [], False
        for clip, _, played, _ in clips:
            self._room.later(0.02, lambda clip=clip, played=played: self._finished(clip, played, False))

    def _finished(self, clip: int, samples: int, complete: bool) -> None:
        self._room.runner.handle(c.PlayoutFinished(clip, samples / 8000, complete))

    async def _play(self) -> None:
        while True:
            if not self.clips or self.held:
                self._wake.clear()
                await self._wake.wait()
                continue
            clip = self.clips[0]
            if clip[2] == 0 and clip[1]:
                self._room.runner.handle(c.PlayoutStarted(clip[0]))
            clip[2] = min(clip[1], clip[2] + 160)
            await elapse(0.02)
            if self.clips and self.clips[0] is clip and clip[3] and clip[2] >= clip[1]:
                self.clips.pop(0)
                self._finished(clip[0], clip[2], True)


class Room:
    """A runner with everything around it, on the virtual loop."""

    def __init__(
        self,
        *,
        ear: Ear | None = None,
        voice: Voice | None = None,
        mind: Mind | None = None,
        options: ConversationOptions | None = None,
        prompts: Callable[[str], bytes | None] = lambda name: None,
        wide_prompts: Callable[[str], bytes | None] = lambda name: None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.clock = LoopClock(loop)
        self.ear, self.voice, self.mind = ear or Ear(), voice or Voice(), mind or Mind(lambda prompted: [])
        self.context = Context("call", "alice", "bot")
        self.events: list[e.AnyEvent] = []
        self.outcomes: list[Any] = []
        self.on_outcome: Callable[[Any], None] = self.outcomes.append
        self.line = Line(self)
        self.runner = ConversationRunner(
            Conversation("call", options or ConversationOptions(), self.context),
            stt=self.ear,
            tts=self.voice,
            agents=self.mind,
            playout=self.line,
            clock=self.clock,
            log=self.events.append,
            load_prompt=prompts,
            load_wide_prompt=wide_prompts,
            on_outcome=lambda outcome: self.on_outcome(outcome),
        )

    def later(self, seconds: float, deed: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, deed)

    async def speaks(self, for_s: float) -> None:
        """The caller, as the plane would tell of it: pieces of 100 ms, preroll and trailing silence included."""
        began = self.clock.now()
        await elapse(0.064)
        self.runner.handle(e.SpeechBegan(self.clock.now(), "call", began))
        self.runner.hear(b"\x01\x00" * 2400, True, False, began - 0.3)
        while self.clock.now() < began + for_s + 0.2:
            await elapse(0.1)
            self.runner.hear(b"\x02\x00" * 800, self.clock.now() < began + for_s, False, self.clock.now() - 0.1)
        self.runner.hear(b"\x00\x00" * 80, False, True, self.clock.now())
        self.runner.handle(e.SpeechEnded(self.clock.now(), "call", began + for_s))

    def logged(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def history(self) -> list[tuple[str, str]]:
        return [(message.role, message.text) for message in self.context.history]

    async def leave(self) -> None:
        await self.runner.close()
        self.line.task.cancel()


def virtually(scenario: Callable[[], Any]) -> Callable[[], None]:
    """Run an async test on a fresh virtual loop."""

    def test() -> None:
        run_virtual(scenario())

    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return test
