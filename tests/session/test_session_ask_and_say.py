"""Saying and asking: prompts, answers by speech and by digits, silence."""

from __future__ import annotations

from parlour import Parlour

from gateway.core import events as e
from gateway.core.speech import Expectation, Transcript
from gateway.session import commands as c


def test_a_prompt_is_said_and_heard_whole() -> None:
    """`say` ends when the last word was heard, and history holds it."""
    parlour = Parlour()
    parlour.say("Welcome to the clinic. We are open until five.")
    parlour.advance(10)
    assert parlour.outcomes == [c.SaidAll(True)]
    assert parlour.history == [("agent", "Welcome to the clinic. We are open until five.")]
    assert parlour.states == ["processing", "speaking", "listening"]


def test_an_empty_prompt_is_over_at_once() -> None:
    """Nothing to say is not a reason to wait."""
    parlour = Parlour()
    parlour.say("")
    assert parlour.outcomes == [c.SaidAll(True)]


def test_a_question_is_answered_by_speech() -> None:
    """`ask` takes one turn, ended by silence, and reports it with what the recogniser was sure of."""
    parlour = Parlour()
    parlour.ask("Which day?", Expectation(phrases=("thursday", "friday")))
    parlour.advance(2)
    parlour.speaks(0.6, "thursday")
    ended = parlour.until(e.UserTurnEnded)
    assert parlour.outcomes == [c.Answered("thursday", "", 1.0, False)]
    assert ended.text == "thursday"
    assert parlour.history == [("agent", "Which day?"), ("user", "thursday")]


def test_a_pause_shorter_than_the_silence_belongs_to_the_turn() -> None:
    """A caller who hesitates for half a second has not finished."""
    parlour = Parlour()
    parlour.ask("What can I do for you?")
    parlour.advance(3)
    parlour.speaks(1.0, "I want to book an appointment")
    parlour.advance(1.5)
    parlour.speaks(1.0)
    parlour.advance(5)
    assert len(parlour.commanded(c.StartRecognition)) == 1
    assert parlour.outcomes == [c.Answered("I want to book an appointment", "", 1.0, False)]


def test_speech_resumed_while_its_transcript_is_on_the_way_is_the_same_answer() -> None:
    """The turn had ended, but nobody has answered it yet: what follows is joined to it."""
    parlour = Parlour()
    parlour.recognition_s = 0.5
    parlour.ask("When?")
    parlour.advance(2)
    parlour.speaks(0.8, "on thursday")
    parlour.advance(0.8 + 0.75)
    parlour.speaks(0.8, "in the morning")
    parlour.advance(5)
    assert parlour.outcomes == [c.Answered("on thursday in the morning", "", 1.0, False)]


def test_silence_is_an_answer_of_its_own() -> None:
    """Nobody speaks: after `timeout_s` from the end of the question it is over as silent."""
    parlour = Parlour()
    parlour.ask("Are you there?", Expectation(timeout_s=4))
    parlour.advance(5)
    assert parlour.outcomes == []
    parlour.advance(0.5)
    assert parlour.outcomes == [c.Answered("", "", 1.0, True)]
    assert [event.count for event in parlour.logged(e.SilenceNoticed)] == [1]
    assert "away" in parlour.states


def test_noises_do_not_put_silence_off() -> None:
    """A cough is neither an answer nor a reason to wait longer."""
    parlour = Parlour()
    parlour.ask("Hello?", Expectation(timeout_s=4))
    parlour.advance(3)
    parlour.speaks(0.15, "")
    parlour.advance(2.5)
    assert parlour.outcomes == [c.Answered("", "", 1.0, True)]


def test_speech_nobody_understood_is_told_as_such() -> None:
    """Words that the recogniser rejects are not silence: the dialplan says "pardon?"."""
    parlour = Parlour()
    parlour.ask("Hello?")
    parlour.advance(1)
    parlour.speaks(1.0, "")
    parlour.advance(3)
    assert parlour.outcomes == [c.Answered("", "", 0.0, False)]


def test_digits_end_with_their_number() -> None:
    """`digits_max` digits are the answer; keying over the prompt interrupts it."""
    parlour = Parlour()
    parlour.ask("Please enter your four digit code now.", Expectation(digits_max=4))
    parlour.advance(1)
    parlour.presses("12")
    assert parlour.commanded(c.FlushPlayout)
    parlour.advance(1)
    parlour.presses("34")
    parlour.advance(0.1)
    assert parlour.outcomes == [c.Answered("", "1234", 1.0, False)]
    assert [event.by for event in parlour.logged(e.BargedIn)] == ["digit"]
    assert parlour.history == [("agent", "Please enter"), ("user", "1234")]


def test_the_end_key_ends_digits_and_is_not_part_of_them() -> None:
    """`#` says that no more follow."""
    parlour = Parlour()
    parlour.ask("Code?", Expectation(digits_max=8))
    parlour.advance(1)
    parlour.presses("77#")
    parlour.advance(0.1)
    assert parlour.outcomes == [c.Answered("", "77", 1.0, False)]


def test_digits_end_when_no_more_follow() -> None:
    """The gap after the last key ends a number of unknown length."""
    parlour = Parlour()
    parlour.ask("Code?", Expectation(digits_max=8, digits_gap_s=2))
    parlour.advance(1)
    parlour.presses("7")
    parlour.advance(1.9)
    parlour.presses("8")
    parlour.advance(1.9)
    assert parlour.outcomes == []
    parlour.advance(0.2)
    assert parlour.outcomes == [c.Answered("", "78", 1.0, False)]


def test_digits_that_must_not_interrupt_are_collected_all_the_same() -> None:
    """With `barge_in` off the prompt is heard whole, and the keys pressed meanwhile are its answer."""
    parlour = Parlour()
    parlour.ask("This call is recorded. Press one.", Expectation(digits_max=1), barge_in="off")
    parlour.advance(1)
    parlour.presses("1")
    parlour.advance(0.5)
    assert parlour.outcomes == []
    assert not parlour.commanded(c.FlushPlayout)
    parlour.advance(5)
    assert parlour.outcomes == [c.Answered("", "1", 1.0, False)]


def test_the_wait_for_more_digits_begins_with_the_end_of_the_prompt() -> None:
    """Who keys two digits during a prompt that cannot be cut has the whole gap after it for the rest."""
    parlour = Parlour()
    parlour.ask("This call is recorded. Enter four digits.", Expectation(digits_max=4), barge_in="off")
    parlour.advance(0.5)
    parlour.presses("12")
    parlour.advance(4.5)
    parlour.presses("34")
    parlour.advance(0.1)
    assert parlour.outcomes == [c.Answered("", "1234", 1.0, False)]


def test_what_the_recogniser_rejects_was_not_understood() -> None:
    """Confidence 0 is a rejection, whatever text comes with it."""
    parlour = Parlour()
    parlour.ask("Which day?")
    parlour.advance(2)
    parlour.speaks(0.8)
    parlour.until(e.SpeechEnded)
    parlour.advance(0.5)
    parlour.tell(c.RecognitionFinished(1, Transcript("thirsty", True, confidence=0.0)))
    assert parlour.outcomes == [c.Answered("", "", 0.0, False)]


def test_a_digit_interrupts_what_is_only_said() -> None:
    """Impatient callers press a key; the announcement ends, and the digit answers nothing."""
    parlour = Parlour()
    parlour.say("A very long announcement that nobody wants to hear to its end.", barge_in="digits")
    parlour.advance(1)
    parlour.presses("5")
    parlour.advance(0.1)
    assert parlour.outcomes == [c.SaidAll(False)]


def test_digits_nobody_awaits_change_nothing() -> None:
    """A question that takes no digits is not interrupted by one."""
    parlour = Parlour()
    parlour.ask("What is your name?", Expectation())
    parlour.advance(1)
    parlour.presses("5")
    parlour.advance(1)
    assert parlour.outcomes == []
    assert len(parlour.logged(e.DigitPressed)) == 1
    assert not parlour.commanded(c.FlushPlayout)


def test_digits_win_over_speech_that_is_being_heard() -> None:
    """Somebody talks in the room while the caller keys: the keys are the answer."""
    parlour = Parlour()
    parlour.ask("Code?", Expectation(digits_max=2))
    parlour.advance(1)
    parlour.speaks(2.0, "no idea what")
    parlour.advance(0.5)
    parlour.presses("42")
    parlour.advance(5)
    assert parlour.outcomes == [c.Answered("", "42", 1.0, False)]
    assert len(parlour.commanded(c.CancelRecognition)) == 1


def test_an_announcement_talked_over_leads_straight_to_the_next_question() -> None:
    """Speech that interrupted an announcement is heard by the question that follows it, prompt or no prompt."""
    parlour = Parlour()
    parlour.say("Welcome to the clinic of Doctor Miller and partners.")
    parlour.advance(1)
    parlour.speaks(2.0, "I need an appointment")
    parlour.advance(1)
    assert parlour.outcomes == [c.SaidAll(False)]
    parlour.ask("What can I do for you today?")
    parlour.advance(5)
    assert parlour.outcomes[1:] == [c.Answered("I need an appointment", "", 1.0, False)]


def test_a_turn_without_end_is_taken_after_its_longest_time() -> None:
    """Somebody who never pauses is answered all the same."""
    parlour = Parlour()
    parlour.ask("Tell me.")
    parlour.advance(1)
    parlour.speaks(200.0, "and then and then")
    parlour.advance(61)
    assert parlour.outcomes == [c.Answered("and then and then", "", 1.0, False)]


def test_nothing_comes_after_the_end() -> None:
    """After `stop` no input, deadline or request has any effect."""
    parlour = Parlour()
    parlour.ask("Which day would you like to come?")
    parlour.advance(1)
    parlour.stop()
    commands = len(parlour.commands)
    assert parlour.conversation.next_deadline() is None
    parlour.speaks(1.0, "thursday")
    parlour.advance(10)
    parlour.say("Hello?")
    assert len(parlour.commands) == commands
    assert parlour.states[-1] == "ended"
    assert parlour.history == [("agent", "Which day")]
