"""Providers that answer from a bundle, after the same delays on the replay's clock.

A question the bundle has no answer for means that the gateway behaves differently than when it was recorded. It is
told to `Unanswered`, and answered by a live provider where one is given, else with a `ProviderError`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable

from gateway.core.clock import Clock
from gateway.core.errors import ProviderError
from gateway.core.speech import Expectation, Transcript
from gateway.replay.audio import converted
from gateway.replay.layout import Recognised, Spoken, Thought
from gateway.replay.recorded import closing
from gateway.session.ports import (
    Agent,
    AgentAct,
    AudioFormat,
    CallerSaid,
    CallerSilent,
    Context,
    Prompted,
    SpeechChunk,
    SpeechToText,
    SttStream,
    TextToSpeech,
)
from gateway.session.resample import Resampler

Unanswered = Callable[[str], None]
"""Told in words what was asked in vain."""

BYTES_PER_S: dict[AudioFormat, int] = {"ulaw_8k": 8000, "pcm_8k": 16000, "pcm_16k": 32000}
OTHER_AUDIO_S = 1.0
"""A turn longer or shorter than the recorded one by more than this is another turn: its words do not fit."""
BREAK_OFF_WITHIN_S = 2.0
"""An answer that was broken off when recorded waits this long to be broken off again."""


def _no_answer(what: str) -> ProviderError:
    return ProviderError(f"the bundle has no answer: {what}", category="unavailable", retryable=False)


class ReplayedStt:
    """Implements `SpeechToText`. The turns answer in the order in which they were recorded."""

    def __init__(
        self, turns: Iterable[Recognised], clock: Clock, unanswered: Unanswered, live: SpeechToText | None = None
    ) -> None:
        self._turns = list(turns)
        self._clock, self._unanswered = clock, unanswered
        self._live = live
        self.audio_format: AudioFormat = (
            self._turns[0].audio_format if self._turns else live.audio_format if live else "pcm_8k"
        )

    async def open(self, expectation: Expectation) -> SttStream:
        if not self._turns:
            return self._one_more(expectation)
        turn = self._turns.pop(0)
        await self._clock.sleep_until(self._clock.now() + turn.open_s)
        if turn.failed_in == "open" and turn.failure is not None:
            raise turn.failure.error()
        return ReplayedStream(turn, expectation, self._clock, self._unanswered, self._live)

    def _one_more(self, expectation: Expectation) -> SttStream:
        self._unanswered("a turn more than was recorded was to be recognised")
        if self._live is None:
            raise _no_answer("there are no more turns")
        unknown = Recognised(self._clock.now(), expectation, 0, self.audio_format)
        return ReplayedStream(unknown, expectation, self._clock, lambda what: None, self._live)

    async def close(self) -> None:
        pass


class ReplayedStream:
    """Implements `SttStream` for one recorded turn."""

    def __init__(
        self,
        turn: Recognised,
        expectation: Expectation,
        clock: Clock,
        unanswered: Unanswered,
        live: SpeechToText | None,
    ) -> None:
        self._turn, self._expectation = turn, expectation
        self._clock, self._unanswered, self._live = clock, unanswered, live
        self._audio = bytearray()
        self._over = False
        self._changed = asyncio.Event()

    async def feed(self, audio: bytes) -> None:
        self._audio += audio
        self._changed.set()
        turn = self._turn
        if turn.failed_in == "feed" and turn.failure is not None and len(self._audio) >= turn.fed:
            await self._clock.sleep_until(self._clock.now() + turn.delay_s)
            raise turn.failure.error()

    async def finish(self) -> Transcript:
        self._end()
        turn = self._turn
        if turn.failed_in == "finish" and turn.failure is not None:
            await self._clock.sleep_until(self._clock.now() + turn.delay_s)
            raise turn.failure.error()
        if turn.final is None:
            return await self._recognise("a turn that was abandoned when recorded was to be recognised")
        rate = BYTES_PER_S[turn.audio_format]
        if abs(len(self._audio) - turn.fed) > OTHER_AUDIO_S * rate:
            took, was = len(self._audio) / rate, turn.fed / rate
            return await self._recognise(f"a turn of {took:.2f} s was to be recognised, recorded was {was:.2f} s")
        await self._clock.sleep_until(self._clock.now() + turn.delay_s)
        return turn.final

    async def cancel(self) -> None:
        self._end()

    async def interim(self) -> AsyncIterator[Transcript]:
        for interim in self._turn.interims:
            while len(self._audio) < interim.fed and not self._over:
                self._changed.clear()
                await self._changed.wait()
            if not self._over:
                await self._clock.sleep_until(self._clock.now() + interim.delay_s)
            if self._over:
                return
            yield interim.transcript

    def _end(self) -> None:
        self._over = True
        self._changed.set()

    async def _recognise(self, why: str) -> Transcript:
        self._unanswered(why)
        if self._live is None:
            raise _no_answer(why)
        stream = await self._live.open(self._expectation)
        await stream.feed(converted(bytes(self._audio), self._turn.audio_format, self._live.audio_format))
        return await stream.finish()


class ReplayedTts:
    """Implements `TextToSpeech`. The same text sounds the same: a repetition may use a recording again."""

    def __init__(
        self,
        spoken: Iterable[Spoken],
        audio: Callable[[str, int], bytes],
        clock: Clock,
        unanswered: Unanswered,
        live: TextToSpeech | None = None,
    ) -> None:
        self._audio, self._clock, self._unanswered = audio, clock, unanswered
        self._next: dict[str, list[Spoken]] = defaultdict(list)
        self._whole: dict[str, Spoken] = {}
        rates = set()
        for one in spoken:
            rates.add(one.sample_rate)
            self._next[one.text].append(one)
            if one.done_s is not None and one.failure is None:
                self._whole[one.text] = one
        self.sample_rate = min(rates) if rates else live.sample_rate if live else 8000
        self._live = live

    async def speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        asked, given = self._clock.now(), 0
        found = self._take(text)
        if found is not None:
            audio = self._audio(found.audio, found.sample_rate) if found.audio else b""
            for chunk in found.chunks:
                await self._clock.sleep_until(asked + chunk.delay_s)
                yield SpeechChunk(audio[given : given + chunk.bytes], chunk.words)
                given += chunk.bytes
            if found.done_s is not None:
                await self._clock.sleep_until(asked + found.done_s)
                if found.failure is not None:
                    raise found.failure.error()
                return
            await self._clock.sleep_until(self._clock.now() + BREAK_OFF_WITHIN_S)
        what = f'"{text}" was to be spoken' + (" to its end" if found is not None else "")
        async for rest in self._speak_live(text, what, given):
            yield rest

    def _take(self, text: str) -> Spoken | None:
        waiting = self._next.get(text)
        return waiting.pop(0) if waiting else self._whole.get(text)

    async def _speak_live(self, text: str, what: str, skip: int) -> AsyncIterator[SpeechChunk]:
        """The text from its byte `skip` on."""
        self._unanswered(what)
        if self._live is None:
            raise _no_answer(what)
        resampler = Resampler(self._live.sample_rate, self.sample_rate)
        async with closing(self._live.speak(text)) as chunks:
            async for chunk in chunks:
                pcm = resampler.feed(chunk.pcm)
                if rest := pcm[skip:]:
                    yield SpeechChunk(rest, chunk.words)
                skip = max(0, skip - len(pcm))
        if rest := resampler.finish()[skip:]:
            yield SpeechChunk(rest)

    async def close(self) -> None:
        pass


class ReplayedAgent:
    """Implements `Agent`. Takes the first answer not used yet that was given to the same prompt."""

    def __init__(
        self, thoughts: Iterable[Thought], clock: Clock, unanswered: Unanswered, live: Agent | None = None
    ) -> None:
        self._thoughts = list(thoughts)
        self._clock, self._unanswered, self._live = clock, unanswered, live

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        asked = self._clock.now()
        found = next((one for one in self._thoughts if one.prompted == prompted), None)
        if found is not None:
            self._thoughts.remove(found)
            for act in found.acts:
                await self._clock.sleep_until(asked + act.delay_s)
                yield act.act
            if found.done_s is not None:
                await self._clock.sleep_until(asked + found.done_s)
                if found.failure is not None:
                    raise found.failure.error()
                return
            await self._clock.sleep_until(self._clock.now() + BREAK_OFF_WITHIN_S)
        what = f"the agent was asked about {_in_words(prompted)}"
        self._unanswered(what)
        if self._live is None or found is not None:
            raise _no_answer(what)
        async with closing(self._live.respond(prompted, context)) as acts:
            async for live_act in acts:
                yield live_act

    async def close(self) -> None:
        pass


def _in_words(prompted: Prompted) -> str:
    match prompted:
        case CallerSaid(text=text, digits=digits):
            return f'"{text or digits}"'
        case CallerSilent(count=count):
            return f"silence {count}"
        case _:
            return "the call's beginning"
