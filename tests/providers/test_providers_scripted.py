"""The fakes that users test their own bots with: they keep to their scripts and to the virtual clock."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import ProviderError
from gateway.core.loops import run_virtual
from gateway.core.speech import Expectation, Transcript
from gateway.providers.agent.echo import EchoAgent
from gateway.providers.agent.echo import Options as EchoOptions
from gateway.providers.agent.scripted import ScriptedAgent
from gateway.providers.load import build_agent
from gateway.providers.stt.scripted import ScriptedStt
from gateway.providers.tts.scripted import Options, ScriptedTts
from gateway.session.ports import Agent, AgentAct, CallerSaid, Context, Expect, Finish, Opened, Prompted, Say

AWAY = ProviderError("away", category="network", retryable=True)


async def answer(agent: Agent, prompted: Prompted) -> list[AgentAct]:
    return [act async for act in agent.respond(prompted, Context(call="c", caller="a", called="b"))]


def test_a_recogniser_hears_its_script() -> None:
    """Texts, whole transcripts and errors, one for each turn, after the delay; then nothing."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        stt = ScriptedStt(["yes", Transcript("maybe", final=True, confidence=0.2), AWAY], delay_s=0.5)
        first = await (await stt.open(Expectation(phrases=("yes",)))).finish()
        assert (first.text, first.confidence, loop.time()) == ("yes", 1.0, 0.5)
        assert (await (await stt.open(Expectation())).finish()).confidence == 0.2
        with pytest.raises(ProviderError, match="away"):
            await (await stt.open(Expectation())).finish()
        assert (await (await stt.open(Expectation())).finish()).confidence == 0.0
        assert stt.opened[0].phrases == ("yes",)

    run_virtual(scenario())


def test_interim_texts_grow_with_the_audio() -> None:
    """At four words a second, each word appears when its time has been fed."""

    async def scenario() -> None:
        stt = ScriptedStt(["one two three"], audio_format="ulaw_8k")
        stream = await stt.open(Expectation())
        await stream.feed(bytes(2000))
        await stream.feed(bytes(1000))
        await stream.feed(bytes(3000))
        await stream.finish()
        assert [transcript.text async for transcript in stream.interim()] == ["one", "one two three"]

    run_virtual(scenario())


def test_a_voice_says_each_word_for_its_time() -> None:
    """Exact lengths and places; an error comes after the first word."""

    async def scenario() -> None:
        tts = ScriptedTts(Options(words_per_s=5, delay_s=0.3), errors={"it breaks": AWAY})
        chunks = [chunk async for chunk in tts.speak("two words")]
        assert [len(chunk.pcm) for chunk in chunks] == [3200, 3200]
        assert [(word.text, word.start_s, word.end_s) for chunk in chunks for word in chunk.words] == [
            ("two", 0.0, 0.2),
            ("words", 0.2, 0.4),
        ]
        assert asyncio.get_running_loop().time() == pytest.approx(0.3)
        broken = tts.speak("it breaks")
        assert (await anext(broken)).words[0].text == "it"
        with pytest.raises(ProviderError, match="away"):
            await anext(broken)

    run_virtual(scenario())


def test_an_agent_says_its_script() -> None:
    """Texts, acts and errors in turn; what it was told is kept; in the end it finishes."""

    async def scenario() -> None:
        agent = ScriptedAgent(["Hello.", [Say("a"), AWAY], AWAY], outcome="sold")
        assert await answer(agent, Opened()) == [Say("Hello.")]
        with pytest.raises(ProviderError):
            await answer(agent, CallerSaid("x"))
        with pytest.raises(ProviderError):
            await answer(agent, CallerSaid("y"))
        assert await answer(agent, CallerSaid("z")) == [Finish("sold")]
        assert agent.prompted == [Opened(), CallerSaid("x"), CallerSaid("y"), CallerSaid("z")]

    run_virtual(scenario())


def test_a_configured_script_finishes_with_its_last_text() -> None:
    """As written in a configuration file."""

    async def scenario() -> None:
        agent = build_agent("scripted", {"turns": ["Hello.", "Bye."], "outcome": "over"})
        assert await answer(agent, Opened()) == [Say("Hello.")]
        assert await answer(agent, CallerSaid("x")) == [Say("Bye."), Finish("over")]

    run_virtual(scenario())


def test_the_echo_agent_says_back_what_it_heard() -> None:
    """Words, digits, nothing understood, and the way out."""

    async def scenario() -> None:
        agent = EchoAgent(EchoOptions())
        expected = Expect(Expectation(phrases=EchoOptions().phrases, digits_max=16))
        assert await answer(agent, CallerSaid("hello")) == [Say("You said hello."), expected]
        assert await answer(agent, CallerSaid("", digits="42")) == [Say("You said 4 2."), expected]
        assert await answer(agent, CallerSaid("")) == [Say("I did not understand."), expected]
        assert (await answer(agent, CallerSaid("goodbye")))[-1] == Finish("goodbye")

    run_virtual(scenario())
