"""Providers that fail or hang: tried again, apologised for, given up; the caller never waits in silence."""

from __future__ import annotations

import pytest
from parlour import Fails, Hangs, Parlour

from gateway.core import events as e
from gateway.session import commands as c
from gateway.session.conversation import ConversationOptions
from gateway.session.ports import Expect, Finish, Opened, Remember, Say

APOLOGY = ConversationOptions().apology
FAREWELL = ConversationOptions().farewell


def test_an_agent_that_fails_at_once_is_asked_again() -> None:
    """A network hiccup before the first word costs nothing but its time."""
    parlour = Parlour()
    scripts = iter([[(0.2, Remember({"half": 1})), (0.2, Fails())], [(0.2, Say("Hello."))]])
    parlour.agent = lambda prompted: next(scripts)
    parlour.converse(Opened())
    parlour.advance(3)
    assert parlour.history == [("agent", "Hello.")]
    assert [failed.retrying for failed in parlour.logged(e.ProviderFailed)] == [True]
    assert parlour.context.state == {}


@pytest.mark.parametrize("category", ["auth", "quota", "bad_request", "timeout"])
def test_what_will_fail_again_is_not_tried_again(category: str) -> None:
    """A wrong key stays wrong, and after a time-out there is no time left: the apology comes at once."""
    parlour = Parlour()
    parlour.agent = lambda prompted: [(0.2, Fails(category))]
    parlour.converse(Opened())
    parlour.advance(8)
    assert len(parlour.asked) == 1
    assert parlour.history == [("agent", APOLOGY)]
    assert parlour.states[-1] == "listening"


def test_a_dialogue_that_keeps_failing_is_given_up_with_a_word() -> None:
    """After `max_failures` turns in a row: the farewell, then `failed`; the session stays open for a call back."""
    parlour = Parlour()
    parlour.agent = lambda prompted: [(0.2, Fails("auth"))]
    parlour.converse(Opened())
    parlour.advance(8)
    parlour.speaks(0.8, "hello")
    parlour.advance(12)
    assert parlour.outcomes == [c.Completed("failed")]
    assert parlour.history[-1] == ("agent", FAREWELL)
    assert not parlour.logged(e.DialogueCompleted)


def test_a_turn_that_went_well_forgives_the_failures_before_it() -> None:
    """Only failures in a row count."""
    scripts = iter([[(0.2, Fails("auth"))], [(0.2, Say("Fine."))], [(0.2, Fails("auth"))], [(0.2, Say("Fine."))]])
    parlour = Parlour()
    parlour.agent = lambda prompted: next(scripts)
    parlour.converse(Opened())
    for _ in range(3):
        parlour.advance(7)
        parlour.speaks(0.8, "go on")
    parlour.advance(5)
    assert parlour.outcomes == []
    assert parlour.history[-1] == ("agent", "Fine.")


def test_a_hanging_agent_is_ended_in_time() -> None:
    """Dead air never exceeds `reply_within_s`."""
    parlour = Parlour()
    parlour.agent = lambda prompted: [(0.0, Hangs())]
    parlour.converse(Opened())
    started = parlour.until(e.UtteranceStarted)
    assert started.at - 100 <= parlour.options.reply_within_s + 0.1
    assert parlour.commanded(c.CancelAgent)


def test_an_agent_that_dies_mid_sentence_is_heard_as_far_as_it_got() -> None:
    """What is being said is finished, then comes the apology."""
    parlour = Parlour()
    parlour.agent = lambda prompted: [(0.1, Say("The first thing is this. The second ")), (0.4, Fails())]
    parlour.converse(Opened())
    parlour.advance(9)
    assert parlour.history == [("agent", f"The first thing is this. {APOLOGY}")]
    assert len(parlour.asked) == 1


def test_an_agent_that_fails_after_its_end_has_ended() -> None:
    """Whatever happens after `Finish` does not matter."""
    parlour = Parlour()
    parlour.agent = lambda prompted: [(0.1, Say("Goodbye")), (0.1, Finish("done")), (0.2, Fails())]
    parlour.converse(Opened())
    parlour.advance(5)
    assert parlour.outcomes == [c.Completed("done")]
    assert parlour.history == [("agent", "Goodbye")]


def test_a_voice_that_fails_is_tried_again_in_its_place() -> None:
    """The sentence is made once more, before those that follow it."""
    parlour = Parlour()
    parlour.voice_fails.extend([None, Fails()])
    parlour.say("One two. Three four. Five six.")
    parlour.advance(10)
    assert parlour.outcomes == [c.SaidAll(True)]
    assert parlour.history == [("agent", "One two. Three four. Five six.")]


def test_a_voice_that_keeps_failing_apologises_by_the_stored_prompt() -> None:
    """The apology is a recording where there is one: `Speak` names its file."""
    parlour = Parlour()
    parlour.voice_fails.extend([Fails(), Fails()])
    parlour.ask("Which day?")
    parlour.advance(8)
    assert parlour.commanded(c.Speak)[-1] == c.Speak(3, APOLOGY, "apology")
    parlour.speaks(0.8, "thursday")
    parlour.advance(3)
    assert parlour.outcomes == [c.Answered("thursday", "", 1.0, False)]


def test_when_nothing_can_be_said_the_exchange_ends() -> None:
    """No voice and no recording: the error is recorded and the dialplan goes on; nobody hangs in silence."""
    parlour = Parlour()
    parlour.voice_fails.extend([Fails()] * 10)
    parlour.agent = lambda prompted: [(0.1, Say("Hello"))]
    parlour.converse(Opened())
    parlour.advance(20)
    assert parlour.outcomes == [c.Completed("failed")]
    assert parlour.logged(e.ErrorOccurred)


def test_a_hanging_voice_is_ended_in_time() -> None:
    """No first sample within `reply_within_s`: apology."""
    parlour = Parlour()
    parlour.voice_fails.append(Hangs())
    parlour.say("Hello.")
    parlour.advance(12)
    assert parlour.outcomes == [c.SaidAll(False)]
    assert parlour.history == [("agent", APOLOGY)]


def test_a_recogniser_that_fails_hears_the_same_audio_again() -> None:
    """Started once more for the same turn, and finished at once when the turn is over."""
    parlour = Parlour()
    parlour.ask("Which day?")
    parlour.advance(2)
    parlour.speaks(0.8, Fails())
    parlour.understands.append("thursday")
    parlour.advance(4)
    assert parlour.outcomes == [c.Answered("thursday", "", 1.0, False)]
    starts = parlour.commanded(c.StartRecognition)
    assert len(starts) == 2
    assert starts[0] == starts[1]


def test_a_recogniser_that_fails_twice_costs_an_apology() -> None:
    """The caller is asked to say it again; the question stays open."""
    parlour = Parlour()
    parlour.ask("Which day?")
    parlour.advance(2)
    parlour.speaks(0.8, Fails())
    parlour.understands.append(Fails())
    parlour.advance(9)
    assert parlour.history[-1] == ("agent", f"Which day? {APOLOGY}")
    parlour.speaks(0.8, "thursday")
    parlour.advance(3)
    assert parlour.outcomes == [c.Answered("thursday", "", 1.0, False)]


def test_what_was_understood_so_far_is_used_when_the_rest_fails() -> None:
    """An interim transcript is better than asking again."""
    parlour = Parlour()
    parlour.ask("Which day?")
    parlour.advance(2)
    parlour.speaks(0.8, Hangs(), interim=[(0.5, "thursday")])
    parlour.advance(9)
    assert parlour.outcomes == [c.Answered("thursday", "", 0.5, False)]


def test_a_recogniser_that_fails_over_the_bots_voice_only_loses_the_interruption() -> None:
    """The bot goes on; apologising for a noise it could not understand would be absurd."""
    parlour = Parlour()
    parlour.ask("This is quite a long question, which day would you like?")
    parlour.advance(1.5)
    parlour.speaks(0.3, Fails("auth"))
    parlour.advance(4)
    assert not parlour.logged(e.BargedIn)
    assert parlour.commanded(c.Speak)[-1].text != APOLOGY
    assert parlour.states[-1] == "listening"


def test_questions_that_fail_again_and_again_are_not_understood() -> None:
    """`ask` ends as if nothing had been understood; the dialplan counts attempts."""
    parlour = Parlour()
    parlour.ask("Which day?")
    parlour.advance(2)
    for _ in range(2):
        parlour.speaks(0.8, Fails("auth"))
        parlour.advance(9)
    assert parlour.outcomes == [c.Answered("", "", 0.0, False)]


def test_an_expectation_survives_a_failure() -> None:
    """What the agent expects is still expected after the apology."""
    from gateway.core.speech import Expectation

    expected = Expectation(phrases=("yes", "no"))
    parlour = Parlour()
    parlour.agent = lambda prompted: [(0.1, Say("Right?")), (0.1, Expect(expected))]
    parlour.converse(Opened())
    parlour.advance(2)
    parlour.speaks(0.8, Fails("auth"))
    parlour.advance(8)
    parlour.speaks(0.8, "yes")
    parlour.advance(0.5)
    assert [start.expectation for start in parlour.commanded(c.StartRecognition)] == [expected, expected]
