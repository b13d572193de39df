"""Conversing with an agent: its reply spoken as it writes, continuations, memory, silence, the end."""

from __future__ import annotations

import re

import pytest
from parlour import Parlour, Script

from gateway.core import events as e
from gateway.core.speech import Expectation
from gateway.session import commands as c
from gateway.session.conversation import ConversationOptions
from gateway.session.ports import CallerSaid, CallerSilent, Expect, Finish, Opened, Prompted, Remember, Say


def desk(prompted: Prompted) -> Script:
    """Asks for a service, then a day, then ends; remembers what it knows before it asks on."""
    match prompted:
        case Opened():
            return [(0.1, Remember({"asking": "service"})), (0.1, Say("What can I do for you?"))]
        case CallerSaid(text=text) if "haircut" in text:
            slots = {"asking": "day", "service": "haircut"}
            return [
                (0.1, Remember(slots)),
                (0.1, Say("A haircut. Which day?")),
                (0.1, Expect(Expectation(phrases=("thursday",)))),
            ]
        case CallerSaid(text="thursday"):
            return [(0.1, Say("Booked for Thursday. Goodbye.")), (0.1, Finish("booked", {"day": "thursday"}))]
        case CallerSilent(count=count):
            return [(0.1, Say(f"Are you there? {count}"))]
        case _:
            return [(0.1, Say("Pardon?"))]


def opened(options: ConversationOptions | None = None, agent: object = desk) -> Parlour:
    parlour = Parlour(options)
    parlour.agent = agent  # type: ignore[assignment]
    parlour.converse(Opened())
    return parlour


def test_a_dialogue_runs_to_its_end() -> None:
    """Turn by turn until `Finish`, which counts once the caller has heard the farewell."""
    parlour = opened()
    parlour.advance(4)
    parlour.speaks(0.8, "a haircut please")
    parlour.advance(5)
    parlour.speaks(0.5, "thursday")
    parlour.advance(1.5)
    assert parlour.outcomes == []
    parlour.advance(4)
    assert parlour.outcomes == [c.Completed("booked", {"day": "thursday"})]
    assert [done.outcome for done in parlour.logged(e.DialogueCompleted)] == ["booked"]
    assert parlour.history == [
        ("agent", "What can I do for you?"),
        ("user", "a haircut please"),
        ("agent", "A haircut. Which day?"),
        ("user", "thursday"),
        ("agent", "Booked for Thursday. Goodbye."),
    ]
    assert [reply.text for reply in parlour.logged(e.AgentReplied)][1] == "A haircut. Which day?"
    assert parlour.context.state == {"asking": "day", "service": "haircut"}


def test_the_first_sentence_is_spoken_while_the_agent_writes() -> None:
    """Long answers begin before they are complete, sentence by sentence."""
    words = re.findall(r"\S+", "The clinic is open today. It closes at five. Tomorrow it opens at eight.")
    parlour = opened(agent=lambda prompted: [(0.3 * n, Say(word + " ")) for n, word in enumerate(words)])
    started = parlour.until(e.UtteranceStarted)
    assert not parlour.logged(e.AgentReplied)
    assert started.at < 100 + 0.3 * 6
    parlour.advance(9)
    assert parlour.history == [("agent", " ".join(words))]
    assert [clip.text for clip in parlour.commanded(c.Speak)] == [
        "The clinic is open today.", "It closes at five.", "Tomorrow it opens at eight.",
    ]  # fmt: skip


def test_sentences_follow_each_other_without_a_pause_in_state() -> None:
    """The seam between two sentences that are both there is not a silence."""
    parlour = opened(agent=lambda prompted: [(0.1, Say("One two three. Four five six. Seven eight."))])
    parlour.advance(6)
    assert parlour.states == ["processing", "speaking", "listening"]


def test_stored_prompts_are_played_by_name() -> None:
    """A `Say` with a prompt is one clip, after what was written before it."""
    parlour = opened(agent=lambda prompted: [(0.1, Say("Hello")), (0.1, Say("Welcome to us.", prompt="welcome"))])
    parlour.advance(5)
    assert parlour.commanded(c.Speak) == [c.Speak(1, "Hello"), c.Speak(2, "Welcome to us.", "welcome")]


def test_a_caller_who_goes_on_before_the_answer_is_asked_about_once() -> None:
    """Words after a pause, before any reply was audible, belong to the question: it is taken back and asked whole."""
    parlour = opened(agent=lambda prompted: [(0.1, Say("Yes?"))] if prompted == Opened() else [(1.5, Say("Done."))])
    parlour.advance(3)
    parlour.speaks(1.0, "I want to book")
    parlour.advance(2.2)
    assert parlour.asked[-1] == CallerSaid("I want to book")
    parlour.speaks(1.0, "a haircut")
    parlour.advance(8)
    assert parlour.asked[-1] == CallerSaid("I want to book a haircut")
    assert len(parlour.commanded(c.CancelAgent)) == 1
    assert parlour.history[-1] == ("agent", "Done.")
    assert [turn.text for turn in parlour.logged(e.UserTurnEnded)] == ["I want to book", "a haircut"]


def test_what_an_unheard_reply_remembered_is_taken_back_with_it() -> None:
    """The agent filled a slot from half a sentence; the whole sentence is answered from the state before."""

    def agent(prompted: Prompted) -> Script:
        if isinstance(prompted, Opened):
            return [(0.1, Remember({"slots": 0})), (0.1, Say("Yes?"))]
        return [(0.1, Remember({"said": prompted.text})), (2.0, Say("Done."))]  # type: ignore[union-attr]

    parlour = opened(agent=agent)
    parlour.advance(3)
    parlour.speaks(0.6, "thursday")
    parlour.advance(2.0)
    assert parlour.context.state == {"said": "thursday"}
    parlour.speaks(0.8, "no friday")
    parlour.advance(1.0)
    assert parlour.context.state == {"slots": 0}
    parlour.advance(6)
    assert [kept.state for kept in parlour.logged(e.AgentRemembered)] == [
        {"slots": 0}, {"said": "thursday"}, {"slots": 0}, {"said": "thursday no friday"},
    ]  # fmt: skip


def test_an_uh_huh_while_the_agent_thinks_changes_nothing() -> None:
    """Separate thresholds hold before the reply is audible; acknowledgements stay acknowledgements."""
    parlour = opened(agent=lambda prompted: [(0.1, Say("Yes?"))] if prompted == Opened() else [(3.0, Say("Done."))])
    parlour.advance(3)
    parlour.speaks(1.0, "book me in")
    parlour.advance(2.2)
    parlour.speaks(0.2, "mm")
    parlour.advance(8)
    assert parlour.history[-1] == ("agent", "Done.")
    assert not parlour.commanded(c.CancelAgent)


def test_the_same_answer_twice_is_one_answer() -> None:
    """Callers who are not sure they were heard repeat themselves."""
    parlour = opened(agent=lambda prompted: [(0.1, Say("Yes?"))] if prompted == Opened() else [(3.0, Say("Done."))])
    parlour.advance(3)
    parlour.speaks(0.25, "thursday")
    parlour.speaks(0.35)
    parlour.advance(1.7)
    assert parlour.asked[-1] == CallerSaid("thursday")
    parlour.speaks(0.25, "thursday")
    parlour.advance(8)
    assert len(parlour.asked) == 2


def test_an_interruption_tells_the_agent() -> None:
    """The agent is cancelled where it stands and learns that it was interrupted."""
    words = re.findall(r"\S+", "There is a lot that I could tell you about this place and its people")
    parlour = opened(agent=lambda prompted: [(0.1 + 0.5 * n, Say(word + " ")) for n, word in enumerate(words)])
    parlour.until(e.UtteranceStarted)
    parlour.agent = lambda prompted: [(0.1, Say("Sorry."))]
    parlour.advance(0.5)
    parlour.speaks(2.0, "please stop talking")
    parlour.advance(6)
    assert parlour.asked[-1] == CallerSaid("please stop talking", interrupted=True)
    assert len(parlour.commanded(c.CancelAgent)) == 1


def test_digits_reach_the_agent() -> None:
    """What the agent expects decides; keys over its voice interrupt it."""
    parlour = opened(
        agent=lambda prompted: [(0.1, Say("Enter your code please.")), (0.1, Expect(Expectation(digits_max=4)))]
    )
    parlour.advance(1)
    parlour.presses("1234")
    parlour.advance(1)
    assert parlour.asked[-1] == CallerSaid("", "1234", interrupted=True)


def test_digits_typed_ahead_answer_the_question_that_follows() -> None:
    """Who knows the menu keys faster than the bot asks; no key is lost between two questions."""
    script: Script = [(1.0, Say("Enter your code.")), (1.0, Expect(Expectation(digits_max=2)))]
    parlour = opened(agent=lambda prompted: script)
    parlour.advance(5)
    parlour.presses("12")
    parlour.advance(0.3)
    parlour.presses("34")
    parlour.advance(3)
    assert parlour.asked[1:] == [CallerSaid("", "12"), CallerSaid("", "34")]


def test_silence_is_told_to_the_agent_and_counted() -> None:
    """`CallerSilent` with its count; speech starts the count anew; after `max_silent_turns` the dialogue is over, but
    not completed: the caller may call back."""
    parlour = opened()
    parlour.advance(4)
    parlour.advance(8)
    assert parlour.asked[-1] == CallerSilent(1)
    parlour.advance(10)
    assert parlour.asked[-1] == CallerSilent(2)
    parlour.speaks(0.8, "a haircut")
    parlour.advance(40)
    assert parlour.outcomes == [c.Completed("silent")]
    assert [event.count for event in parlour.logged(e.SilenceNoticed)] == [1, 2, 1, 2, 3]
    assert not parlour.logged(e.DialogueCompleted)


def test_the_away_prompt_comes_before_the_agent() -> None:
    """An operator's own words for a silent line."""
    parlour = opened(ConversationOptions(away_prompt="Hello?"))
    parlour.advance(14)
    assert parlour.history[-1][1].startswith("What can I do for you? Hello? Are you there?")


def test_a_slow_agent_is_covered_by_the_filler() -> None:
    """After `filler_after_s` of silence the filler is said, once, and the reply follows it."""
    parlour = opened(
        ConversationOptions(filler="One moment please."),
        agent=lambda prompted: [(0.1, Say("Yes?"))] if prompted == Opened() else [(6.0, Say("Here it is."))],
    )
    parlour.advance(3)
    parlour.speaks(0.8, "look it up")
    parlour.advance(12)
    assert parlour.history[-1] == ("agent", "One moment please. Here it is.")
    assert not parlour.logged(e.ProviderFailed)


def test_an_agent_with_nothing_to_say_leaves_the_floor_to_the_caller() -> None:
    """No reply at all is a reply: the caller is listened to."""
    parlour = opened(agent=lambda prompted: [])
    parlour.advance(1)
    assert parlour.states[-1] == "listening"
    assert parlour.conversation.next_deadline() is not None


def test_history_of_the_log_is_the_history_of_the_context() -> None:
    """Both are made by the same rules, so that a resumed call knows what the dropped one knew."""
    from gateway.session.memory import fold

    parlour = opened()
    parlour.advance(1.2)
    parlour.speaks(1.5, "a haircut please")
    parlour.advance(4)
    parlour.stop()
    remembered = fold(parlour.events)
    assert [(m.role, m.text) for m in remembered.history] == parlour.history
    assert remembered.agent_state == parlour.context.state


def test_on_hold_the_bot_waits_in_the_middle_of_its_word() -> None:
    """Nothing said on hold would be heard; hold music is nobody's turn, and no time runs."""
    parlour = opened()
    parlour.until(e.UtteranceStarted)
    parlour.advance(1.0)
    parlour.tell(e.CallHeld(parlour.now, "call"))
    parlour.speaks(5.0, "la la la")
    parlour.advance(60)
    assert len(parlour.asked) == 1
    assert not parlour.commanded(c.StartRecognition)
    parlour.tell(e.CallRetrieved(parlour.now, "call"))
    parlour.advance(3)
    assert parlour.history == [("agent", "What can I do for you?")]
    assert parlour.states[-1] == "listening"


@pytest.mark.parametrize("heard_for_s", [2.0, 9.0])
def test_speech_that_began_on_hold_interrupts_nobody_when_the_call_is_retrieved(heard_for_s: float) -> None:
    """What the hold brought (music, talk beside the phone) is nobody's turn, also when it goes on after the hold."""
    parlour = opened()
    parlour.until(e.UtteranceStarted)
    parlour.advance(1.0)
    parlour.tell(e.CallHeld(parlour.now, "call"))
    parlour.speaks(heard_for_s)
    parlour.advance(1.5)
    parlour.tell(e.CallRetrieved(parlour.now, "call"))
    parlour.advance(4)
    assert not parlour.logged(e.BargedIn)
    assert not parlour.commanded(c.StartRecognition)
    assert parlour.history == [("agent", "What can I do for you?")]
    parlour.advance(heard_for_s)
    parlour.speaks(1.0, "a haircut please")
    parlour.advance(4)
    assert [turn.text for turn in parlour.logged(e.UserTurnEnded) if not turn.silent] == ["a haircut please"]


def test_a_turn_ends_where_the_hold_begins() -> None:
    """What the caller said before counts; what follows it on hold is no part of it, however it sounds."""
    parlour = opened()
    parlour.advance(4)
    parlour.speaks(6.0, "a haircut please")
    parlour.advance(1.0)
    parlour.tell(e.CallHeld(parlour.now, "call"))
    assert [done.turn for done in parlour.commanded(c.FinishRecognition)] == [2]
    parlour.advance(60)
    parlour.tell(e.CallRetrieved(parlour.now, "call"))
    parlour.advance(3)
    assert [turn.text for turn in parlour.logged(e.UserTurnEnded)] == ["a haircut please"]
    assert len(parlour.commanded(c.StartRecognition)) == 1


def test_a_dead_line_does_not_end_the_dialogue() -> None:
    """One reminder, for phones that send nothing while their owner is quiet; then the line is left to the call's own
    rules, and the dialogue to a call back."""
    parlour = opened()
    parlour.advance(4)
    parlour.tell(e.LineFellSilent(parlour.now, "call", 2.0))
    parlour.advance(100)
    assert parlour.asked[1:] == [CallerSilent(1)]
    parlour.tell(e.LineRecovered(parlour.now, "call"))
    parlour.advance(9)
    assert parlour.asked[2:] == [CallerSilent(2)]
