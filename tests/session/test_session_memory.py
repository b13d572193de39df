"""What a call back finds: events of a session folded into where it stands."""

from __future__ import annotations

import pytest

from gateway.core import events as e
from gateway.session.memory import Remembered, fold
from gateway.session.ports import Message


def call(*events: e.AnyEvent, call_id: str = "c1") -> list[e.AnyEvent]:
    return [e.CallStarted(0.0, call_id, "sip", "alice", "bot", "desk"), *events]


def spoken(at: float, clip: int, text: str, duration_s: float) -> list[e.AnyEvent]:
    return [e.UtteranceSynthesised(at, "c1", clip, text, duration_s), e.UtteranceStarted(at, "c1", clip)]


def test_an_empty_session_remembers_nothing() -> None:
    """No events, nothing to resume."""
    assert fold([]) == Remembered()


def test_position_variables_and_slots_are_the_latest() -> None:
    """Later events replace earlier ones."""
    remembered = fold(
        call(
            e.CallAnswered(1, "c1", "PCMU"),
            e.StepEntered(1, "c1", "desk/0:say"),
            e.VariableSet(2, "c1", "language", "en"),
            e.AgentRemembered(3, "c1", {"day": None}),
            e.StepEntered(4, "c1", "desk/1:bot"),
            e.AgentRemembered(5, "c1", {"day": "thursday"}),
        )
    )
    assert remembered.step == "desk/1:bot"
    assert remembered.variables == {"language": "en"}
    assert remembered.agent_state == {"day": "thursday"}
    assert not remembered.completed
    assert remembered.answered


def test_history_holds_both_sides_as_heard() -> None:
    """Clips in a row are one line, silent turns none, digits are said."""
    remembered = fold(
        call(
            e.UtterancePlayed(1, "c1", 1, "Hello.", 1, True),
            e.UtterancePlayed(2, "c1", 2, "Which", 0.3, False),
            e.UserTurnEnded(3, "c1", 1, "thursday"),
            e.UtterancePlayed(4, "c1", 3, "", 0, False),
            e.UserTurnEnded(5, "c1", 2, "", "12"),
            e.UserTurnEnded(6, "c1", 3, "", silent=True),
        )
    )
    assert remembered.history == [Message("agent", "Hello. Which"), Message("user", "thursday"), Message("user", "12")]
    assert remembered.unanswered == "12"


def test_an_answer_that_was_heard_answers() -> None:
    """Any audible word of a reply means that the turn was taken."""
    remembered = fold(call(e.UserTurnEnded(3, "c1", 1, "thursday"), e.UtterancePlayed(4, "c1", 1, "Good.", 1, True)))
    assert remembered.unanswered == ""


def test_a_killed_gateway_leaves_half_an_utterance() -> None:
    """No end of the clip is known: as much counts as was certainly played by the last event."""
    events = call(*spoken(10.0, 1, "one two three four", 4.0), e.DigitPressed(12.6, "c1", "1", 100))
    assert fold(events).history == [Message("agent", "one two")]


def test_a_pause_in_half_an_utterance_was_not_heard() -> None:
    """Held playout is no playout."""
    events = call(
        *spoken(10.0, 1, "one two three four", 4.0),
        e.PlaybackPaused(11.2, "c1", 1),
        e.PlaybackResumed(13.0, "c1", 1),
        e.PlaybackPaused(13.9, "c1", 1),
        e.SpeechBegan(19.0, "c1", 18.9),
    )
    assert fold(events).history == [Message("agent", "one two")]


def test_a_second_call_goes_on_where_the_first_ended() -> None:
    """Numbers of clips and turns begin anew with each call; what is remembered does not."""
    first = call(
        e.AgentRemembered(1, "c1", {"day": "friday"}), *spoken(2.0, 1, "one two", 2.0), e.LineRecovered(3.1, "c1")
    )
    second = [
        *call(call_id="c2"),
        e.UtterancePlayed(1, "c2", 1, "Welcome back.", 1, True),
        e.DialogueCompleted(9, "c2", "booked"),
    ]
    remembered = fold([*first, *second])
    assert remembered.history == [Message("agent", "one Welcome back.")]
    assert remembered.agent_state == {"day": "friday"}
    assert (remembered.completed, remembered.outcome) == (True, "booked")


@pytest.mark.parametrize(("by", "completed"), [("bot", True), ("caller", False), ("gateway", False)])
def test_what_the_dialplan_ended_itself_is_over(by: str, completed: bool) -> None:
    """Else a caller of an announcement would be resumed at its end, and find the line closed at once."""
    ended = e.CallEnded(9.0, "c1", "hangup", by, 8.0)  # type: ignore[arg-type]
    assert fold([*call(), ended]).completed == completed
