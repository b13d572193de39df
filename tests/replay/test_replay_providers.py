"""Providers recorded and played again: the same answers after the same delays, and a word when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from virtual_time import elapse

from gateway.core.clock import LoopClock
from gateway.core.errors import ProviderError
from gateway.core.loops import run_virtual
from gateway.core.speech import Expectation, Transcript
from gateway.replay import layout
from gateway.replay.players import ReplayedAgent, ReplayedStt, ReplayedTts
from gateway.replay.recorded import RecordedAgent, RecordedStt, RecordedTts
from gateway.session.ports import (
    AgentAct,
    AudioFormat,
    CallerSaid,
    Context,
    Finish,
    Prompted,
    Say,
    SpeechChunk,
)

CONTEXT = Context("c-1", "alice", "200")
ASKED = Expectation(phrases=("yes", "no"))


class Notes:
    """A notebook in memory."""

    def __init__(self) -> None:
        self.answers: list[layout.AnyAnswer] = []
        self.audio: dict[str, bytes] = {}

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def note(self, answer: layout.AnyAnswer) -> None:
        self.answers.append(answer)

    def note_audio(self, answer: Any, pcm: bytes, sample_rate: int) -> None:
        name = f"{len(self.audio)}.wav"
        self.audio[name] = pcm
        self.answers.append(layout.msgspec.structs.replace(answer, audio=name))

    def sound(self, name: str, sample_rate: int) -> bytes:
        return self.audio[name]


class SlowEar:
    """Hears "yes" at the second piece, is sure of "yes please" 0.3 s after the end; may fail instead."""

    def __init__(self, error: ProviderError | None = None) -> None:
        self.audio_format: AudioFormat = "pcm_8k"
        self.error = error

    async def open(self, expectation: Expectation) -> SlowEar:
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        return self

    async def feed(self, audio: bytes) -> None:
        self.pieces.put_nowait(audio)

    async def finish(self) -> Transcript:
        self.pieces.put_nowait(None)
        await elapse(0.3)
        if self.error is not None:
            raise self.error
        return Transcript("yes please", True, 0.75)

    async def cancel(self) -> None:
        self.pieces.put_nowait(None)

    async def interim(self) -> AsyncIterator[Transcript]:
        heard = 0
        while await self.pieces.get() is not None:
            heard += 1
            if heard == 2:
                await elapse(0.05)
                yield Transcript("yes", False, 0.5)

    async def close(self) -> None:
        raise AssertionError("not the call's to close")


class SlowVoice:
    """100 ms for each word, a chunk a word."""

    sample_rate = 8000

    def __init__(self) -> None:
        self.closed = 0

    async def speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        try:
            for number, _ in enumerate(text.split()):
                await elapse(0.1)
                yield SpeechChunk(bytes([number, 0]) * 80)
        finally:
            self.closed += 1

    async def close(self) -> None:
        pass


class Thinker:
    """Repeats what it was told, then finishes."""

    def __init__(self, error: ProviderError | None = None) -> None:
        self.error = error

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        await elapse(0.2)
        if self.error is not None:
            raise self.error
        yield Say(prompted.text if isinstance(prompted, CallerSaid) else "hello")
        await elapse(0.5)
        yield Finish("done")

    async def close(self) -> None:
        pass


def clock() -> LoopClock:
    return LoopClock(asyncio.get_running_loop())


def virtually(scenario: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return run_virtual(scenario())


async def a_turn(stt: Any) -> list[tuple[float, str]]:
    """What was heard, and when since the turn's start."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    stream = await stt.open(ASKED)

    async def listen() -> list[tuple[float, str]]:
        return [(round(loop.time() - begun, 6), heard.text) async for heard in stream.interim()]

    listening = asyncio.create_task(listen())
    for _ in range(4):
        await stream.feed(bytes(1600))
        await elapse(0.1)
    final = await stream.finish()
    finished = (round(loop.time() - begun, 6), final.text)
    return [*await listening, finished]


async def spoken(tts: Any, text: str) -> list[tuple[float, bytes]]:
    begun = asyncio.get_running_loop().time()
    return [(round(asyncio.get_running_loop().time() - begun, 6), chunk.pcm) async for chunk in tts.speak(text)]


def test_a_turn_is_heard_again_at_the_same_moments() -> None:
    """Interim texts come with the audio they came with, the final one as long after the end of it."""

    async def scenario() -> None:
        notes = Notes()
        first = await a_turn(RecordedStt(SlowEar(), notes))
        again = await a_turn(ReplayedStt(notes.answers, clock(), pytest.fail))  # type: ignore[arg-type]
        assert first == again == [(0.15, "yes"), (0.7, "yes please")]

    virtually(scenario)


def test_a_failure_is_raised_again() -> None:
    """With its category, so that the gateway recovers as it did."""

    async def scenario() -> None:
        notes = Notes()
        broken = SlowEar(ProviderError("away", category="network", retryable=True))
        with pytest.raises(ProviderError, match="away"):
            await a_turn(RecordedStt(broken, notes))
        with pytest.raises(ProviderError, match="away") as caught:
            await a_turn(ReplayedStt(notes.answers, clock(), pytest.fail))  # type: ignore[arg-type]
        assert (caught.value.category, caught.value.retryable) == ("network", True)

    virtually(scenario)


def test_a_turn_more_than_recorded_has_no_answer() -> None:
    """It is told, and fails; with a live recogniser at hand that one answers."""

    async def scenario() -> None:
        missed: list[str] = []
        with pytest.raises(ProviderError, match="no answer"):
            await a_turn(ReplayedStt([], clock(), missed.append))
        assert missed == ["a turn more than was recorded was to be recognised"]
        heard = await a_turn(ReplayedStt([], clock(), missed.append, live=SlowEar()))
        assert heard[-1][1] == "yes please"
        assert len(missed) == 2

    virtually(scenario)


def test_words_are_not_put_under_another_turns_audio() -> None:
    """A turn that is now a second longer than the recorded one is not the recorded one."""

    async def scenario() -> None:
        missed: list[str] = []
        turn = layout.Recognised(0.0, ASKED, 16000 * 3, "pcm_8k", final=Transcript("yes", True))
        with pytest.raises(ProviderError):
            await a_turn(ReplayedStt([turn], clock(), missed.append))
        assert missed == ["a turn of 0.40 s was to be recognised, recorded was 3.00 s"]

    virtually(scenario)


def test_a_voice_sounds_again_at_the_same_moments() -> None:
    """Chunk by chunk; and a text that is spoken once more than recorded sounds as it did."""

    async def scenario() -> None:
        notes = Notes()
        first = await spoken(RecordedTts(SlowVoice(), notes), "two words")
        voice = ReplayedTts(notes.answers, notes.sound, clock(), pytest.fail)  # type: ignore[arg-type]
        assert await spoken(voice, "two words") == first == [(0.1, b"\0\0" * 80), (0.2, b"\1\0" * 80)]
        assert await spoken(voice, "two words") == first

    virtually(scenario)


def test_closing_a_recorded_voice_closes_the_real_one() -> None:
    """A barge-in must stop the synthesis behind the recording wrapper, and the recording knows it was broken off."""

    async def scenario() -> None:
        notes, voice = Notes(), SlowVoice()
        speaking = RecordedTts(voice, notes).speak("one two three")
        await anext(speaking)
        await speaking.aclose()
        assert voice.closed == 1
        (answer,) = notes.answers
        assert isinstance(answer, layout.Spoken)
        assert (len(answer.chunks), answer.done_s) == (1, None)

    virtually(scenario)


def test_a_broken_off_answer_waits_to_be_broken_off_again() -> None:
    """When nobody does, the rest was never recorded: the live voice speaks it, from that sample on."""

    async def scenario() -> None:
        notes = Notes()
        speaking = RecordedTts(SlowVoice(), notes).speak("one two three")
        await anext(speaking)
        await speaking.aclose()
        missed: list[str] = []
        turns: Any = notes.answers
        voice = ReplayedTts(turns, notes.sound, clock(), missed.append, live=SlowVoice())
        chunks = await spoken(voice, "one two three")
        assert [pcm[0] for _, pcm in chunks] == [0, 1, 2]
        assert chunks[1][0] > 2.0
        assert missed == ['"one two three" was to be spoken to its end']

    virtually(scenario)


def test_an_unknown_text_has_no_voice() -> None:
    """A reworded prompt shows as what it is."""

    async def scenario() -> None:
        missed: list[str] = []
        with pytest.raises(ProviderError):
            await spoken(ReplayedTts([], Notes().sound, clock(), missed.append), "new words")
        assert missed == ['"new words" was to be spoken']

    virtually(scenario)


def test_an_agent_answers_each_prompt_as_it_did() -> None:
    """By what it is asked, not by the order: a turn that is gone now does not shift the others."""

    async def scenario() -> None:
        notes = Notes()
        recorded = RecordedAgent("bot", Thinker(), notes)
        for text in ("one", "two"):
            async for _ in recorded.respond(CallerSaid(text), CONTEXT):
                pass
        missed: list[str] = []
        agent = ReplayedAgent(notes.answers, clock(), missed.append)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        acts = [(round(loop.time() - begun, 6), act) async for act in agent.respond(CallerSaid("two"), CONTEXT)]
        assert acts == [(0.2, Say("two")), (0.7, Finish("done"))]
        with pytest.raises(ProviderError):
            await anext(agent.respond(CallerSaid("three"), CONTEXT))
        assert missed == ['the agent was asked about "three"']

    virtually(scenario)
