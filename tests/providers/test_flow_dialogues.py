"""Dialogues with the scripted-flow agent, as a caller hears them. `>` is the caller, `12#` keys, `>` alone silence.

The desk is the one that ships. What a dialogue must keep: the shortest way to the end, and no answer lost.
"""

# ruff: noqa: E501 (what the bot says stands on one line)

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import dialplan
from gateway.core.errors import ProviderError
from gateway.core.speech import Expectation
from gateway.providers.agent.flow import FlowAgent, build
from gateway.session.ports import (
    AgentAct,
    CallerSaid,
    CallerSilent,
    Context,
    Expect,
    Finish,
    Opened,
    Prompted,
    Remember,
    Say,
)

SHIPPED = Path(__file__).parents[2] / "dialplans" / "default.yaml"


def options_of(path: Path, route: str) -> dict[str, Any]:
    """The options that the last step of a route hands to its agent."""
    options: dict[str, Any] = dialplan.load(path).plan(route).steps[-1].options.options
    return options


class Talk:
    """A caller in a flow; `state` goes through JSON after every turn, as a session would keep it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.agent = build()
        self.context = Context("c-1", "4930123", "desk", options=options)
        self.finish: Finish | None = None
        self.expectation = Expectation()
        self.prompts: list[str | None] = []

    def turn(self, prompted: Prompted) -> str:
        """What the bot says to it."""
        said: list[str] = []

        async def listen() -> None:
            async for act in self.agent.respond(prompted, self.context):
                match act:
                    case Say(text=text, prompt=prompt):
                        said.append(text)
                        self.prompts.append(prompt)
                    case Expect(expectation=expectation):
                        self.expectation = expectation
                    case Remember(state=state):
                        self.context.state = json.loads(json.dumps(state))
                    case Finish():
                        self.finish = act

        asyncio.run(listen())
        return " ".join(said)

    def says(self, text: str) -> str:
        if not text:
            return self.turn(CallerSilent(1))
        return self.turn(CallerSaid("", text) if text.strip("0123456789*#") == "" else CallerSaid(text))


@pytest.fixture
def desk() -> Talk:
    talk = Talk(options_of(SHIPPED, "desk"))
    talk.turn(Opened())
    return talk


TASK = "Do you want to book, move, or cancel an appointment?"
DAY = "Which day, Monday to Saturday?"
HALF = "In the morning or in the afternoon?"
SORRY = "Sorry, I did not understand."

DIALOGUES = {
    "one question at a time": """
        > book
        Which service would you like? A haircut, a beard trim, or hair color?
        > a beard trim please
        Which day, Monday to Saturday?
        > on Wednesday
        In the morning or in the afternoon?
        > in the afternoon
        A beard trim on Wednesday afternoon. Is that right?
        > yes
        Your beard trim is booked for Wednesday afternoon. Thank you, and goodbye.
        = booked task=book service=beard_trim day=wednesday half=afternoon
    """,
    "all at once": """
        > I'd like to book a haircut on Tuesday morning
        A haircut on Tuesday morning. Is that right?
        > that's right
        Your haircut is booked for Tuesday morning. Thank you, and goodbye.
        = booked task=book service=haircut day=tuesday half=morning
    """,
    "an answer to a question not asked yet": """
        > book a haircut
        Okay, haircut. Which day, Monday to Saturday?
        > Friday afternoon
        A haircut on Friday afternoon. Is that right?
    """,
    "an answer to another question is heard and said back": """
        > book
        Which service would you like? A haircut, a beard trim, or hair color?
        > Friday
        Okay, Friday. Which service would you like? A haircut, a beard trim, or hair color?
    """,
    "keys": """
        > 1
        Which service would you like? A haircut, a beard trim, or hair color?
        > 3
        Which day, Monday to Saturday?
        > 6
        In the morning or in the afternoon?
        > 2
        A hair color on Saturday afternoon. Is that right?
        > 1
        Your hair color is booked for Saturday afternoon. Thank you, and goodbye.
    """,
    "a correction at the confirmation": """
        > book a haircut on Tuesday morning
        A haircut on Tuesday morning. Is that right?
        > no, Thursday
        A haircut on Thursday morning. Is that right?
        > no, make it Friday afternoon
        A haircut on Friday afternoon. Is that right?
        > yes
        Your haircut is booked for Friday afternoon. Thank you, and goodbye.
    """,
    "a correction with a yes in it": """
        > book a haircut on Tuesday morning
        A haircut on Tuesday morning. Is that right?
        > yes but in the afternoon
        A haircut on Tuesday afternoon. Is that right?
    """,
    "a bare no is asked what to change": """
        > book a haircut on Tuesday morning
        A haircut on Tuesday morning. Is that right?
        > no
        What should I change?
        > Thursday
        A haircut on Thursday morning. Is that right?
        > 2
        What should I change?
        > the day
        Which day, Monday to Saturday?
        > Monday
        A haircut on Monday morning. Is that right?
    """,
    "changing one's mind about the change": """
        > book a haircut on Tuesday morning
        A haircut on Tuesday morning. Is that right?
        > no
        What should I change?
        > yes that's right
        Your haircut is booked for Tuesday morning. Thank you, and goodbye.
    """,
    "a slot named at the confirmation is asked again": """
        > book a haircut on Tuesday morning
        A haircut on Tuesday morning. Is that right?
        > no, another day
        Which day, Monday to Saturday?
        > Saturday
        A haircut on Saturday morning. Is that right?
    """,
    "a correction in the middle": """
        > book a haircut
        Okay, haircut. Which day, Monday to Saturday?
        > Tuesday
        In the morning or in the afternoon?
        > no, Thursday
        Okay, Thursday. In the morning or in the afternoon?
        > morning
        A haircut on Thursday morning. Is that right?
    """,
    "what it is not": """
        > book a haircut on Tuesday morning
        A haircut on Tuesday morning. Is that right?
        > not on Tuesday, on Friday
        A haircut on Friday morning. Is that right?
        > not Friday
        Which day, Monday to Saturday?
    """,
    "the later of two wins": """
        > book
        Which service would you like? A haircut, a beard trim, or hair color?
        > a haircut on Monday, no, Tuesday
        Okay, Tuesday. In the morning or in the afternoon?
        > what was that
        In the morning or in the afternoon?
    """,
    "a change of the task changes the way": """
        > book a haircut
        Okay, haircut. Which day, Monday to Saturday?
        > no, cancel my appointment
        Okay, a cancellation. On which day is your appointment?
        > Friday
        I will cancel your appointment on Friday. Is that right?
        > yes
        Your appointment on Friday is cancelled. Goodbye.
        = cancelled task=cancel service=haircut day=friday
    """,
    "moving": """
        > I want to move my appointment
        To which day should I move your appointment?
        > Monday
        In the morning or in the afternoon?
        > morning
        I will move your appointment to Monday morning. Is that right?
        > yes please
        Your appointment is now on Monday morning. Thank you, and goodbye.
        = moved task=move day=monday half=morning
    """,
    "excuses escalate, then the flow gives up": """
        > blue
        Sorry, I did not understand. Do you want to book, move, or cancel an appointment?
        > green
        You can also press one to book, two to move, or three to cancel. Do you want to book, move, or cancel an appointment?
        > red
        I am sorry, I could not understand you. Please call again. Goodbye.
        = failed reason=no_match
    """,
    "silence escalates too": """
        >
        I did not hear anything. Do you want to book, move, or cancel an appointment?
        >
        Are you still there? Do you want to book, move, or cancel an appointment?
        >
        I am sorry, I could not understand you. Please call again. Goodbye.
        = failed reason=silence
    """,
    "an answer ends the count": """
        > blue
        Sorry, I did not understand. Do you want to book, move, or cancel an appointment?
        >
        I did not hear anything. Do you want to book, move, or cancel an appointment?
        > book
        Which service would you like? A haircut, a beard trim, or hair color?
        > red
        Sorry, I did not understand. Which service would you like? A haircut, a beard trim, or hair color?
        > book
        Which service would you like? A haircut, a beard trim, or hair color?
    """,
    "a day that is not to be had": """
        > book a haircut
        Okay, haircut. Which day, Monday to Saturday?
        > Sunday
        Sorry, I did not understand. Which day, Monday to Saturday?
        > 7
        You can also press one for Monday, two for Tuesday, and so on. Which day, Monday to Saturday?
    """,
    "a word of a way not taken means nothing": """
        > cancel
        On which day is your appointment?
        > a haircut
        Sorry, I did not understand. On which day is your appointment?
    """,
    "out at any time": """
        > book
        Which service would you like? A haircut, a beard trim, or hair color?
        > oh never mind
        All right. Goodbye.
        = goodbye task=book
    """,
}  # fmt: skip


@pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=DIALOGUES.keys())
def test_the_desk_holds_the_dialogue(desk: Talk, dialogue: str) -> None:
    """Each dialogue line by line, and the outcome where one is given."""
    bot_says = ""
    for line in dialogue.strip().splitlines():
        line = line.strip()
        if line.startswith(">"):
            assert desk.finish is None
            bot_says = desk.says(line[1:].strip())
        elif line.startswith("="):
            assert desk.finish is not None
            outcome, *facts = line[1:].split()
            assert (desk.finish.outcome, desk.finish.data) == (outcome, dict(fact.split("=") for fact in facts))
        else:
            assert bot_says == line


def test_the_desk_greets_and_asks() -> None:
    """The first turn is the bot's."""
    talk = Talk(options_of(SHIPPED, "desk"))
    assert talk.turn(Opened()) == f"Hello, this is the appointment desk. {TASK}"


def test_a_caller_who_comes_back_is_asked_the_same_question(desk: Talk) -> None:
    """The slots are kept, and what is known is said."""
    desk.says("book a haircut")
    assert desk.says("Tuesday") == HALF
    assert desk.turn(Opened(resumed=True, away_s=40)) == (
        f"Welcome back. So far I have: a booking, haircut, Tuesday. {HALF}"
    )
    assert desk.says("morning") == "A haircut on Tuesday morning. Is that right?"


def test_a_caller_who_comes_back_to_a_confirmation_confirms(desk: Talk) -> None:
    """The open question may be the last one."""
    desk.says("book a haircut on Tuesday morning")
    assert desk.turn(Opened(resumed=True)).endswith("A haircut on Tuesday morning. Is that right?")
    assert desk.says("yes").startswith("Your haircut is booked")


def test_a_caller_who_had_said_nothing_yet_is_welcomed_without_recap(desk: Talk) -> None:
    """There is nothing to read back."""
    assert desk.turn(Opened(resumed=True)) == f"Welcome back. {TASK}"


def test_a_return_begins_the_count_of_failures_anew(desk: Talk) -> None:
    """A bad line is no reason to hang up on who called again."""
    desk.says("blue")
    desk.says("green")
    desk.turn(Opened(resumed=True))
    assert desk.says("red") == f"{SORRY} {TASK}"


def test_a_new_call_forgets_what_another_flow_kept(desk: Talk) -> None:
    """Only a return takes up the state."""
    desk.says("book a haircut")
    assert desk.turn(Opened()).endswith(TASK)


@pytest.mark.parametrize("state", [{"slots": 3}, {"slots": {"day": "someday", "gone": "x"}, "confirmed": ["gone"]}, {}])
def test_a_state_that_means_nothing_any_more_is_dropped(desk: Talk, state: dict[str, Any]) -> None:
    """The flow was edited while the caller was away, or another agent wrote the state."""
    desk.context.state = state
    assert desk.turn(Opened(resumed=True)) == f"Welcome back. {TASK}"


def test_a_rejected_recognition_is_no_answer(desk: Talk) -> None:
    """A grammar always finds something; the engine's doubt is heeded."""
    assert desk.turn(CallerSaid("book", confidence=0.0)) == f"{SORRY} {TASK}"


def test_the_state_is_kept_before_anything_is_said(desk: Talk) -> None:
    """A line that drops in the middle of the question loses no answer."""

    async def listen() -> list[AgentAct]:
        return [act async for act in desk.agent.respond(CallerSaid("book a haircut"), desk.context)]

    acts = asyncio.run(listen())
    assert [type(act) for act in acts] == [Remember, Say, Expect]
    assert acts[0].state["slots"] == {"task": "book", "service": "haircut"}


def test_the_recogniser_is_told_what_can_be_said_here(desk: Talk) -> None:
    """The question's own words, corrections of others, ways out; a yes only where it answers."""
    desk.says("book a haircut")
    expected = desk.expectation
    assert {"monday", "saturday", "morning", "beard trim", "no", "goodbye"} <= set(expected.phrases)
    assert not {"sunday", "yes"} & set(expected.phrases)
    assert expected.digits_max == 1
    desk.says("Monday morning")
    assert {"yes", "no", "tuesday", "afternoon"} <= set(desk.expectation.phrases)


def test_the_grammar_is_whole(desk: Talk) -> None:
    """Every rule that is used is defined, once, and no rule is empty."""
    for said in ("book", "haircut", "Monday", "morning"):
        desk.says(said)
        rules = [line.removeprefix("public ") for line in (desk.expectation.grammar or "").splitlines()]
        names = [rule.partition(" = ")[0] for rule in rules]
        used = {f"<{part.partition('>')[0]}>" for rule in rules for part in rule.partition(" = ")[2].split("<")[1:]}
        assert len(set(names)) == len(names)
        assert used <= set(names)
        assert all(rule.partition(" = ")[2].rstrip(";").strip() for rule in rules)


FLOW = """
routes: {a: {match: {}, steps: [bot: f]}}
flows:
  f:
    greeting: "Hello {caller}."
    slots:
      member: yes_no
      drink: {choices: {tea: [tea, a cup of tea], coffee: {phrases: coffee, digits: 21, say: black coffee}}}
    nodes:
      member: {ask: "Are you a member?", next: {no: sorry}}
      drink: {ask: "Tea or coffee?"}
      done: {finish: served, say: "Here is your {drink}."}
      sorry: {finish: stranger, say: "Members only."}
"""


@pytest.fixture
def bar(tmp_path: Path) -> Callable[[], Talk]:
    path = tmp_path / "plan.yaml"
    path.write_text(FLOW)

    def come() -> Talk:
        talk = Talk(options_of(path, "a"))
        talk.opening = talk.turn(Opened())  # type: ignore[attr-defined]
        return talk

    return come


def test_a_yes_or_no_branches(bar: Callable[[], Talk]) -> None:
    """A slot of its own, by word or by key; it takes the way that its value names."""
    talk = bar()
    assert talk.opening == "Hello 4930123. Are you a member?"  # type: ignore[attr-defined]
    assert talk.expectation.digits_max == 1
    assert talk.says("yes") == "Tea or coffee?"
    assert bar().says("1") == "Tea or coffee?"
    assert bar().says("nope") == "Members only."
    assert bar().says("2") == "Members only."


def test_a_yes_answers_only_what_was_asked(bar: Callable[[], Talk]) -> None:
    """ "Yes" to "Tea or coffee?" is no answer, and changes nothing that was answered before."""
    talk = bar()
    talk.says("yes")
    assert talk.says("no") == f"{SORRY} Tea or coffee?"
    assert talk.expectation.digits_max == 2
    assert talk.says("21") == "Here is your black coffee."
    assert talk.finish == Finish("served", {"member": "yes", "drink": "coffee"})


def test_a_text_with_a_recording_names_it(bar: Callable[[], Talk]) -> None:
    """Recorded texts are said by themselves, so that the file fits."""
    talk = bar()
    talk.context.options = {**talk.context.options, "recordings": {"Tea or coffee?": "/tea.wav"}}
    talk.says("yes")
    assert talk.prompts[-1] == "/tea.wav"
    talk.says("blue")
    assert talk.prompts[-2:] == [None, "/tea.wav"]


@pytest.mark.parametrize("options", [{}, {"flow": None}, {"flow": {"nodes": 3}}])
def test_an_agent_without_a_flow_says_so(options: dict[str, Any]) -> None:
    """A misconfigured bot is a provider's failure, not a crash of the call."""
    with pytest.raises(ProviderError) as raised:
        Talk(options).turn(Opened())
    assert (raised.value.category, raised.value.retryable) == ("bad_request", False)


def test_one_agent_serves_many_calls_and_flows(desk: Talk, bar: Callable[[], Talk]) -> None:
    """Nothing of one call is kept for another."""
    agent: FlowAgent = desk.agent
    others = [bar() for _ in range(100)]
    for other in others:
        other.agent = agent
        assert other.says("yes") == "Tea or coffee?"
    assert desk.says("book a haircut") == f"Okay, haircut. {DAY}"
