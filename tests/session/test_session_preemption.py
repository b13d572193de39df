"""Beginning the reply in the caller's pause: sooner heard, never on words that were not said."""

from __future__ import annotations

import pytest
from parlour import Parlour, Script

from gateway.core import events as e
from gateway.session import commands as c
from gateway.session.conversation import ConversationOptions
from gateway.session.ports import CallerSaid, Opened, Prompted, Remember, Say


def thinker(prompted: Prompted) -> Script:
    """Needs a second for every answer."""
    if isinstance(prompted, Opened):
        return [(0.1, Say("Yes?"))]
    assert isinstance(prompted, CallerSaid)
    return [(0.5, Remember({"said": prompted.text})), (1.0, Say(f"You said {prompted.text}."))]


def asked(strategy: str, interim: str, final: str, **options: object) -> Parlour:
    """One turn whose interim transcript may differ from its final one."""
    parlour = Parlour(ConversationOptions(preempt=strategy, **options))  # type: ignore[arg-type]
    parlour.agent = thinker
    parlour.converse(Opened())
    parlour.advance(3)
    parlour.speaks(1.0, final, interim=[(0.8, interim)])
    parlour.advance(8)
    return parlour


def response_s(parlour: Parlour) -> float:
    return parlour.logged(e.UtteranceStarted)[1].at - parlour.logged(e.SpeechEnded)[0].ended_at


def test_an_early_start_is_heard_sooner() -> None:
    """The agent thinks while the silence that ends the turn is still running."""
    assert (
        response_s(asked("if_same", "thursday", "thursday")) < response_s(asked("never", "thursday", "thursday")) - 0.5
    )


def test_nothing_of_an_early_reply_is_known_before_the_turn_is_over() -> None:
    """Words and memory wait for the final transcript."""
    parlour = asked("if_same", "thursday", "thursday")
    ended = parlour.logged(e.UserTurnEnded)[0]
    early = next(command for command in parlour.commanded(c.AskAgent) if command.early)
    assert parlour.events.index(ended) < parlour.events.index(parlour.logged(e.AgentRemembered)[0])
    assert early.prompted == CallerSaid("thursday")
    assert parlour.history[-2:] == [("user", "thursday"), ("agent", "You said thursday.")]
    assert len(parlour.asked) == 2


@pytest.mark.parametrize(
    ("strategy", "interim", "final", "answer"),
    [
        ("if_same", "book it", "Book it.", "You said book it."),
        ("if_same", "book it", "book it now", "You said book it now."),
        ("if_similar", "I want to come on thursday at ten", "I want to come thursday at ten", "on thursday at ten."),
        ("if_similar", "thursday", "friday", "You said friday."),
        ("always", "thursday", "friday", "You said thursday."),
        ("never", "thursday", "thursday", "You said thursday."),
    ],
)
def test_the_strategy_decides_what_may_be_used(strategy: str, interim: str, final: str, answer: str) -> None:
    """An early reply to other words is thrown away, agent cancelled, and the right question asked."""
    parlour = asked(strategy, interim, final)
    assert parlour.history[-1][1].endswith(answer)
    assert parlour.logged(e.UserTurnEnded)[0].text == final
    assert parlour.logged(e.AgentRemembered)[0].state["said"] in parlour.history[-1][1]


def test_early_starts_are_counted() -> None:
    """A caller who hesitates again and again does not cost an agent run each time."""
    parlour = Parlour(ConversationOptions(preempt="if_same", preempt_max=2))
    parlour.agent = thinker
    parlour.converse(Opened())
    parlour.advance(3)
    for words in ("one", "one two", "one two three", "one two three four"):
        parlour.speaks(0.4, interim=[(0.3, words)])
        parlour.advance(0.9)
    parlour.understands.append("one two three four")
    parlour.advance(5)
    assert [command.early for command in parlour.commanded(c.AskAgent)] == [False, True, True, False]
    assert parlour.history[-1] == ("agent", "You said one two three four.")


def test_an_early_start_for_nothing_is_dropped() -> None:
    """The speech turns out to be a noise: the agent is cancelled and nobody was asked."""
    parlour = Parlour(ConversationOptions(preempt="always"))
    parlour.agent = lambda prompted: thinker(prompted) if prompted == Opened() else [(4.0, Say("Never."))]
    parlour.converse(Opened())
    parlour.advance(3)
    parlour.speaks(0.2, "", interim=[(0.2, "uh")])
    parlour.advance(2)
    assert parlour.commands[-1] != c.AskAgent(2, CallerSaid("uh"), early=True)
    assert len(parlour.commanded(c.CancelAgent)) == 1
    assert parlour.history == [("agent", "Yes?")]
