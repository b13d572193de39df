"""What a caller writes instead of saying it: a turn like any other, which interrupts as a key does."""

from __future__ import annotations

from parlour import Parlour, Script

from gateway.core import events as e
from gateway.core.speech import Expectation
from gateway.session import commands as c
from gateway.session.memory import fold
from gateway.session.ports import CallerSaid, Expect, Opened, Prompted, Say

LONG = "We have free appointments on Monday Tuesday Thursday and Friday of next week"
DIGITS = Expectation(digits_max=4)


def helper(prompted: Prompted) -> Script:
    """Greets, then repeats what it is told."""
    if isinstance(prompted, CallerSaid):
        return [(0.3, Say(f"You want {prompted.text} then.")), (0.3, Expect(Expectation()))]
    return [(0.1, Say("What can I do for you?")), (0.1, Expect(Expectation()))]


def conversing(barge_in: str = "on") -> Parlour:
    parlour = Parlour()
    parlour.agent = helper
    parlour.converse(Opened(), barge_in=barge_in)
    return parlour


def writes(parlour: Parlour, text: str) -> None:
    parlour.tell(e.TextReceived(parlour.now, "call", text))


def turns(parlour: Parlour) -> list[tuple[str, str]]:
    return [(turn.text, turn.digits) for turn in parlour.logged(e.UserTurnEnded) if not turn.silent]


def test_a_text_is_the_callers_turn_at_once() -> None:
    """There is nothing to recognise and nothing to wait for; the agent answers it as it would speech."""
    parlour = conversing()
    parlour.advance(5)
    writes(parlour, "a haircut please")
    assert parlour.asked[-1] == CallerSaid("a haircut please")
    assert not parlour.commanded(c.StartRecognition)
    parlour.advance(5)
    assert parlour.history == [
        ("agent", "What can I do for you?"),
        ("user", "a haircut please"),
        ("agent", "You want a haircut please then."),
    ]
    assert [(message.role, message.text) for message in fold(parlour.events).history] == parlour.history


def test_a_text_answers_a_question_of_the_dialplan() -> None:
    """`gather` and `menu` get its words as they would those of a transcript that is certain."""
    parlour = Parlour()
    parlour.ask("Which day?", None)
    parlour.advance(3)
    assert parlour.conversation.takes_text
    writes(parlour, "on thursday")
    assert parlour.outcomes == [c.Answered("on thursday", "", 1.0, False)]
    assert not parlour.conversation.takes_text


def test_a_text_interrupts_the_bot() -> None:
    """As a key does; the history keeps of the bot's words what was played."""
    for barge_in in ("on", "digits"):
        parlour = Parlour()
        parlour.ask(LONG, None, barge_in=barge_in)
        parlour.until(e.UtteranceStarted)
        parlour.advance(1.0)
        writes(parlour, "thursday")
        parlour.advance(1.0)
        assert [barged.by for barged in parlour.logged(e.BargedIn)] == ["text"]
        assert parlour.outcomes == [c.Answered("thursday", "", 1.0, False)]
        assert parlour.history == [("agent", "We have"), ("user", "thursday")]


def test_where_nothing_may_interrupt_a_text_waits_for_the_end() -> None:
    """`barge_in: off` is for what has to be heard; texts that come meanwhile are one answer after it."""
    parlour = Parlour()
    parlour.ask(LONG, None, barge_in="off")
    parlour.until(e.UtteranceStarted)
    parlour.advance(1.0)
    writes(parlour, "thursday")
    parlour.advance(1.0)
    writes(parlour, "at ten")
    assert parlour.outcomes == []
    parlour.advance(6.0)
    assert not parlour.logged(e.BargedIn)
    assert parlour.history == [("agent", LONG), ("user", "thursday at ten")]
    assert parlour.outcomes == [c.Answered("thursday at ten", "", 1.0, False)]


def test_a_text_while_the_bot_prepares_goes_on_with_what_was_said() -> None:
    """The caller was not finished: the reply is taken back, and the agent asked with both."""
    parlour = conversing()
    parlour.advance(5)
    writes(parlour, "a haircut please")
    parlour.advance(0.1)
    writes(parlour, "on thursday")
    parlour.advance(5)
    assert [said.text for said in parlour.asked if isinstance(said, CallerSaid)] == [
        "a haircut please",
        "a haircut please on thursday",
    ]
    assert parlour.history[-1] == ("agent", "You want a haircut please on thursday then.")
    assert turns(parlour) == [("a haircut please", ""), ("on thursday", "")]


def test_a_text_takes_the_place_of_keys_begun() -> None:
    """Who writes has given up keying."""
    parlour = Parlour()
    parlour.ask("Which number?", DIGITS)
    parlour.advance(3)
    parlour.presses("12")
    writes(parlour, "the second")
    assert parlour.outcomes == [c.Answered("the second", "", 1.0, False)]


def test_written_digits_are_keys_where_keys_are_an_answer() -> None:
    """Who reads "press one" and writes has to write "1"; where no keys are wanted, a number is a word."""
    for expectation, text, answer in (
        (DIGITS, "1", ("", "1")),
        (DIGITS, "12 34#", ("", "1234")),
        (DIGITS, "12345", ("12345", "")),
        (DIGITS, "1 please", ("1 please", "")),
        (Expectation(), "10", ("10", "")),
    ):
        parlour = Parlour()
        parlour.ask("Which number?", expectation)
        parlour.advance(3)
        writes(parlour, text)
        assert turns(parlour) == [answer]


def test_speech_and_text_at_once_both_reach_the_agent() -> None:
    """A text does not silence its writer: what is being said meanwhile follows, with the text before it."""
    parlour = conversing()
    parlour.advance(5)
    parlour.speaks(2.0, "on thursday")
    parlour.advance(1.0)
    writes(parlour, "a haircut please")
    parlour.advance(8)
    said = [said.text for said in parlour.asked if isinstance(said, CallerSaid)]
    assert said[0] == "a haircut please"
    assert said[-1].endswith("on thursday")


def test_while_the_bot_only_says_something_nobody_reads() -> None:
    """No question is open; the line is told so, and tells the writer. Before anything is asked it is the same."""
    parlour = Parlour()
    assert not parlour.conversation.takes_text
    parlour.say(LONG)
    parlour.until(e.UtteranceStarted)
    assert not parlour.conversation.takes_text
    writes(parlour, "thursday")
    parlour.advance(10)
    assert parlour.outcomes == [c.SaidAll(True)]
    assert turns(parlour) == []


def test_on_hold_a_text_is_answered_when_the_call_is_retrieved() -> None:
    """Writing needs no ears; the answer waits until somebody hears it."""
    parlour = conversing()
    parlour.advance(5)
    parlour.tell(e.CallHeld(parlour.now, "call"))
    writes(parlour, "a haircut please")
    parlour.advance(20)
    assert len(parlour.logged(e.UtteranceStarted)) == 1
    parlour.tell(e.CallRetrieved(parlour.now, "call"))
    parlour.advance(5)
    assert parlour.history[-1] == ("agent", "You want a haircut please then.")
