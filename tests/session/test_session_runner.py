"""The shell: real tasks, real failures, virtual time."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fakes import AWAY, BREAK, HANG, WORD_S, Ear, Mind, Room, Voice, virtually
from virtual_time import elapse
from waiting import turns

from gateway.core import events as e
from gateway.core.errors import ProviderError
from gateway.core.events import encode
from gateway.core.loops import run_virtual
from gateway.core.speech import Expectation
from gateway.session import commands as c
from gateway.session.conversation import ConversationOptions
from gateway.session.memory import fold
from gateway.session.ports import CallerSaid, Finish, Opened, Prompted, Remember, Say

APOLOGY = ConversationOptions().apology


def answers(prompted: Prompted) -> list[object]:
    match prompted:
        case Opened():
            return [0.05, Remember({"asked": "day"}), Say("Hello. Which day would you like?")]
        case CallerSaid(text="thursday"):
            return [0.05, Say("Thursday it is."), Finish("booked", {"day": "thursday"})]
        case _:
            return [0.05, Say("Pardon?")]


@virtually
async def test_a_dialogue_with_real_tasks() -> None:
    """Audio reaches the ear, words the mind, its reply the voice and the line, and the outcome who asked."""
    room = Room(ear=Ear("thursday"), mind=Mind(answers))
    room.runner.converse("mind", {"shop": "x"}, Opened(), "on")
    await elapse(3.5)
    await room.speaks(0.6)
    await elapse(3)
    assert room.outcomes == [c.Completed("booked", {"day": "thursday"})]
    assert room.history == [
        ("agent", "Hello. Which day would you like?"),
        ("user", "thursday"),
        ("agent", "Thursday it is."),
    ]
    assert room.context.options == {"shop": "x"}
    heard = room.ear.streams[0].audio
    assert heard.startswith(b"\x01\x00" * 2400), "the preroll is part of what is recognised"
    assert len(heard) > 16000 * 0.8
    await room.leave()


@virtually
async def test_a_wideband_line_hears_the_voice_at_16_khz() -> None:
    """Beside the 8 kHz that count for what was played; from the voice's own wideband twin, where it has one."""
    voice, twin = Voice(), Voice()
    voice.wideband = twin  # type: ignore[attr-defined]
    room = Room(ear=Ear("thursday"), mind=Mind(answers), voice=voice)
    room.line.wideband = True
    room.runner.converse("mind", {}, Opened(), "on")
    await elapse(3.5)
    assert (voice.closed, twin.closed) == (0, 2)
    samples = np.frombuffer(room.line.wide, "<i2")
    assert len(samples) == pytest.approx(16000 * 6 * WORD_S, abs=4)
    assert np.median(samples) == 16
    assert room.history == [("agent", "Hello. Which day would you like?")]
    await room.leave()


@virtually
async def test_a_stored_prompt_is_played_in_wideband_where_it_can_be() -> None:
    """Its 16 kHz are asked for by lines that carry them alone, and go beside its 8 kHz; it may have none."""
    asked: list[str] = []

    def wide_prompts(name: str) -> bytes | None:
        asked.append(name)
        return b"\x02\x00" * 16000 if name == "hello" else None

    for wideband, file, samples in ((False, "hello", 0), (True, "hello", 16000), (True, "other", 0)):
        room = Room(prompts=lambda name: b"\x01\x00" * 8000, wide_prompts=wide_prompts)
        room.line.wideband = wideband
        room.runner.say("Hello", file)
        await elapse(2)
        assert room.line.wide == b"\x02\x00" * samples
        assert [round(p.played_s, 2) for p in room.logged(e.UtterancePlayed)] == [1.0]
        await room.leave()
    assert asked == ["hello", "other"]


@virtually
async def test_an_interruption_stops_tasks_and_cuts_history() -> None:
    """Agent and voice are cancelled where they stand; what was played is what was said."""
    words = "one two three four five six seven eight nine ten " * 3 + ". And "
    mind = Mind(lambda prompted: [Say(words), HANG] if prompted == Opened() else [Say("Sorry.")])
    room = Room(ear=Ear("please be quiet"), mind=mind, options=ConversationOptions(reply_within_s=30))
    room.runner.converse("", {}, Opened(), "on")
    await elapse(1.6)
    await room.speaks(1.5)
    await elapse(3)
    assert room.mind.asked[-1] == CallerSaid("please be quiet", interrupted=True)
    assert room.mind.closed == 2
    played = room.logged(e.UtterancePlayed)[0]
    assert len(played.heard.split()) == int(played.played_s / 0.3 + 0.07)
    assert room.history[-1] == ("agent", "Sorry.")
    await room.leave()


@virtually
async def test_an_outcome_may_lead_straight_to_the_next_step() -> None:
    """`on_outcome` asks for the next thing while the last one's commands are still being carried out."""
    room = Room(ear=Ear("thursday"))

    def next_step(outcome: object) -> None:
        room.outcomes.append(outcome)
        if len(room.outcomes) == 1:
            room.runner.ask("Which day?", None, Expectation(), "on")

    room.on_outcome = next_step
    room.runner.say("Welcome.", None, "on")
    await elapse(1.5)
    await room.speaks(0.5)
    await elapse(2)
    assert room.outcomes == [c.SaidAll(True), c.Answered("thursday", "", 1.0, False)]
    await room.leave()


@virtually
async def test_interim_transcripts_interrupt() -> None:
    """What an engine tells while the caller speaks is used at once."""
    room = Room(ear=Ear("no not that one", interim=("no", "no not", "no not that")))
    room.runner.ask("This is a very long question that takes some time to ask, is it not?", None, Expectation(), "on")
    await elapse(1.5)
    await room.speaks(2.0)
    await elapse(2)
    assert [barged.by for barged in room.logged(e.BargedIn)] == ["words"]
    assert [heard.text for heard in room.logged(e.TranscriptHeard)][:3] == ["no", "no not", "no not that"]
    await room.leave()


@virtually
async def test_stored_prompts_are_played_and_missing_ones_spoken() -> None:
    """A recording needs no voice; a name without a recording, or one that cannot be read, does."""

    def prompts(name: str) -> bytes | None:
        if name == "broken":
            raise OSError("disk")
        return b"\x11\x00" * 4000 if name == "there" else None

    room = Room(prompts=prompts, voice=Voice())
    for name in ("there", "missing", "broken"):
        room.runner.say("Some words.", name, "on")
        await elapse(2)
    assert room.outcomes == [c.SaidAll(True)] * 3
    assert [made.duration_s for made in room.logged(e.UtteranceSynthesised)] == [0.5, 0.6, 0.6]
    await room.leave()


@virtually
async def test_exceptions_of_providers_become_events() -> None:
    """Whatever they raise: nothing escapes, everything is recorded by name and category, the caller is spoken to."""
    mind = Mind(lambda prompted: [ProviderError("no key", category="auth", retryable=False)])
    room = Room(mind=mind)
    room.runner.converse("", {}, Opened(), "on")
    await elapse(8)
    assert [(f.what, f.category) for f in room.logged(e.ProviderFailed)] == [("agent.mind", "auth")]
    assert room.history == [("agent", APOLOGY)]
    await room.leave()


@virtually
async def test_an_agent_that_yields_something_else_has_failed() -> None:
    """Whoever writes an agent reads what was wrong; the caller hears more than silence."""
    room = Room(mind=Mind(lambda prompted: ["Hello."]))
    room.runner.converse("", {}, Opened(), "on")
    await elapse(8)
    (failed, *_) = room.logged(e.ProviderFailed)
    assert (failed.what, failed.category) == ("agent.mind", "internal")
    assert "an agent yields Say, Expect, Remember and Finish, not 'Hello.'" in failed.message
    assert room.history == [("agent", APOLOGY)]
    await room.leave()


@virtually
async def test_a_recogniser_that_breaks_is_given_the_same_audio_again() -> None:
    """The second stream hears from the first sample what the first one heard."""
    room = Room(ear=Ear(BREAK, "thursday"))
    room.runner.ask("When?", None, Expectation(), "on")
    await elapse(1)
    await room.speaks(0.6)
    await elapse(2)
    assert room.outcomes == [c.Answered("thursday", "", 1.0, False)]
    first, second = room.ear.streams
    assert first.audio == second.audio
    await room.leave()


@virtually
async def test_hanging_providers_are_given_up_in_time() -> None:
    """Ear, mind and voice that never return: no silence is longer than `reply_within_s`."""
    options = ConversationOptions(reply_within_s=2.0)
    for trouble in ({"mind": Mind(lambda prompted: [HANG])}, {"voice": Voice(HANG)}):
        room = Room(options=options, mind=trouble.get("mind") or Mind(answers), voice=trouble.get("voice"))
        began = room.clock.now()
        room.runner.converse("", {}, Opened(), "on")
        await elapse(6)
        assert room.logged(e.UtteranceStarted)[0].at - began <= 2.2
        assert room.history == [("agent", APOLOGY)]
        await room.leave()
    room = Room(options=options, ear=Ear(HANG, takes_s=0.0))
    room.runner.ask("When?", None, Expectation(), "on")
    await elapse(1)
    await room.speaks(0.6)
    await elapse(9)
    assert room.history[-1] == ("agent", f"When? {APOLOGY}")
    await room.leave()


@virtually
async def test_a_voice_that_breaks_mid_sentence_says_it_again() -> None:
    """The half sentence that was queued is heard, then the whole one."""
    room = Room(voice=Voice(AWAY, after_words=2))
    room.runner.say("one two three four.", None, "on")
    await elapse(5)
    assert room.history == [("agent", "one two one two three four.")]
    await room.leave()


@virtually
async def test_an_agent_nobody_knows_is_a_failure_like_any_other() -> None:
    """The name in a dialplan step may be wrong."""

    def agents(name: str) -> Mind:
        raise KeyError(name)

    room = Room()
    room.runner._agents = agents
    room.runner.converse("nobody", {}, Opened(), "on")
    await elapse(8)
    assert [f.what for f in room.logged(e.ProviderFailed)] == ["agent.nobody"]
    assert room.history == [("agent", APOLOGY)]
    await room.leave()


@virtually
async def test_an_utterance_longer_than_a_recogniser_takes_is_cut_and_joined() -> None:
    """Several streams, one turn, one transcript."""
    room = Room(ear=Ear("one two three", "three four five", "five six"), options=ConversationOptions(chunk_max_s=4))
    room.runner.ask("Tell me everything.", None, Expectation(), "on")
    await elapse(2)
    await room.speaks(7.0)
    await elapse(3)
    assert len(room.ear.streams) == 3
    assert room.outcomes == [c.Answered("one two three four five six", "", 1.0, False)]
    await room.leave()


@virtually
async def test_speech_that_began_before_the_question_is_heard_from_its_start() -> None:
    """A turn that opens late is given the stretch of speech from its preroll on."""
    room = Room(ear=Ear("I want to book"))
    speaking = asyncio.create_task(room.speaks(2.0))
    await elapse(1.0)
    room.runner.ask("", None, Expectation(), "on")
    await speaking
    await elapse(2)
    assert room.outcomes == [c.Answered("I want to book", "", 1.0, False)]
    assert room.ear.streams[-1].audio.startswith(b"\x01\x00" * 2400)
    await room.leave()


@virtually
async def test_closing_ends_everything_and_keeps_what_was_heard() -> None:
    """No task is left, streams are let go, history holds the words until the end; closing twice is closing once."""
    words = "one two three four five six seven eight nine ten!"
    room = Room(mind=Mind(lambda prompted: [Say(words), Remember({"n": 1}), HANG]), ear=Ear("hm"))
    room.runner.converse("", {}, Opened(), "on")
    await elapse(2.0)
    speaking = asyncio.create_task(room.speaks(5.0))
    await elapse(0.2)
    await room.runner.close()
    await room.runner.close()
    speaking.cancel()
    room.line.task.cancel()
    await turns()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if not task.done()]
    assert room.ear.streams[0].cancelled
    remembered = fold(room.events)
    assert remembered.agent_state == {"n": 1}
    assert words.startswith(remembered.history[0].text)
    assert 5 <= len(remembered.history[0].text.split()) <= 7
    assert isinstance(room.events[-1], e.StateChanged)


def test_two_runs_are_the_same_to_the_byte() -> None:
    """No threads, no chance, no wall time: a recorded call replays exactly."""

    async def run() -> bytes:
        room = Room(ear=Ear("no", BREAK, "thursday", interim=("n", "no")), mind=Mind(answers), voice=Voice(None, AWAY))
        room.runner.converse("", {}, Opened(), "on")
        await elapse(2)
        for _ in range(3):
            await room.speaks(0.7)
            await elapse(1.1)
        await elapse(5)
        await room.leave()
        return b"\n".join(encode(event) for event in room.events)

    assert run_virtual(run()) == run_virtual(run())
