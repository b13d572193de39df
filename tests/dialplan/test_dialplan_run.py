"""What a plan does to a call, step by step, driven by hand: no event loop, no clock, no telephone."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.dialplan import Dialplan, Offer
from gateway.dialplan.control import Heard, Outcome
from gateway.dialplan.rehearsal import Does, Rehearsal, rehearse

PlanOf = Callable[[str], Dialplan]
CALL = Offer("100", "4930123", "sip")


def play(plan: Dialplan, *script: Does, variables: dict[str, str] | None = None) -> Rehearsal:
    return rehearse(plan, CALL, script, variables=variables)


def steps(plan_of: PlanOf, text: str, *script: Does, start: str | None = None, answered: bool = False) -> Rehearsal:
    """Play the steps of a single route `a`; `b` says "b" to whoever comes there."""
    lines = "\n".join(f"      {line}" for line in text.strip("\n").splitlines())
    tail = "\n  b: {steps: [say: This is b.]}\n"
    plan = plan_of(f"default: b\nroutes:\n  a:\n    match: {{}}\n    steps:\n{lines}{tail}")
    return rehearse(plan, CALL, script, start=start, answered=answered)


def test_music_plays_behind_the_steps_that_follow(plan_of: PlanOf, tmp_path: Path) -> None:
    """It does not hold the plan up, unless it is told for how long."""
    with wave.open(str(tmp_path / "wait.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(160))
    played = steps(
        plan_of,
        "- music: wait.wav\n- say: Hold the line.\n- music: {stop: true}\n- music: {file: wait.wav, seconds: 3s}",
    )
    assert [one.rpartition("/")[2] for one in played.log if "wait.wav" in one] == ["wait.wav", "wait.wav for 3 s"]
    assert "music stops" in played.log


def test_steps_run_in_order_and_the_end_hangs_up(plan_of: PlanOf) -> None:
    """Every step is reported by its position before it runs."""
    played = steps(plan_of, "- ring: 3s\n- answer\n- echo: 10s\n- wait: 500ms")
    assert played.log == ["ring", "wait 3 s", "answer", "echo for 10 s", "wait 0.5 s", "hang up"]
    assert played.steps == ["a/0:ring", "a/1:answer", "a/2:echo", "a/3:wait"]


@pytest.mark.parametrize(
    ("step", "log"),
    [
        ("- milliwatt", "tone 1004 Hz 0 dBm0 for ever"),
        ("- milliwatt: 2s", "tone 1004 Hz 0 dBm0 for 2 s"),
        ("- tone: {hz: 440, level: -20, seconds: 1s}", "tone 440 Hz -20 dBm0 for 1 s"),
        ("- press: 12#", "press 12#"),
        ("- say: Hello {caller}{nothing}.", "say Hello 4930123."),
        ("- hangup", "hang up"),
        ("- reject: 486", "reject 486"),
        ("- reject: {status: 404, reason: Gone}", "reject 404 Gone"),
    ],
)
def test_each_action_does_what_it_is_called(plan_of: PlanOf, step: str, log: str) -> None:
    """The single ones, each with its options."""
    played = steps(plan_of, f"- set: {{nothing: ''}}\n{step}")
    assert log in played.log


def test_a_step_that_speaks_answers_first(plan_of: PlanOf) -> None:
    """Nobody has to remember that one cannot talk on a ringing line."""
    assert steps(plan_of, "- say: Hi").log == ["answer", "say Hi", "hang up"]


def test_variables_are_kept_in_the_call_and_spoken(plan_of: PlanOf) -> None:
    """A value may be made of others."""
    played = steps(plan_of, "- set: {who: 'caller {caller}'}\n- say: You are {who}.")
    assert played.log == ["who = caller 4930123", "answer", "say You are caller 4930123.", "hang up"]


def test_goto_goes_on_with_another_route_and_does_not_come_back(plan_of: PlanOf) -> None:
    """The position tells which route a call is in."""
    played = steps(plan_of, "- goto: b")
    assert (played.log, played.steps) == (["answer", "say This is b.", "hang up"], ["a/0:goto", "b/0:say"])


MENU = """
- menu:
    say: One or two?
    choices:
      - {digits: 1, phrases: [one, the first], then: b}
      - digits: 2
        phrases: two
        then:
          - say: You chose two.
    no_match: What?
    silence: Hello?
    otherwise:
      - say: Goodbye.
- say: After the menu.
"""


@pytest.mark.parametrize(
    ("script", "log"),
    [
        (["1"], ["ask One or two?", "say This is b."]),
        (["The first, please!"], ["ask One or two?", "say This is b."]),
        (["2"], ["ask One or two?", "say You chose two.", "say After the menu."]),
        (["", "nine", "two"], [
            "ask One or two?", "ask Hello? One or two?", "ask What? One or two?",
            "say You chose two.", "say After the menu.",
        ]),
        (["3", "one or two", ""], [
            "ask One or two?", "ask What? One or two?", "ask What? One or two?", "say Goodbye.", "say After the menu.",
        ]),
    ],
)  # fmt: skip
def test_a_menu_goes_where_the_caller_says(plan_of: PlanOf, script: list[str], log: list[str]) -> None:
    """By key or word; steps in place come back to the menu's next step, routes do not; two answers are none."""
    assert steps(plan_of, MENU, *script).log == ["answer", *log, "hang up"]


def test_a_menu_tells_the_recogniser_what_to_expect(plan_of: PlanOf) -> None:
    """Phrases, a grammar with carrier words, and the number of digits."""
    ((_, expectation),) = steps(plan_of, MENU, "1").asked
    assert expectation.phrases == ("one", "the first", "two")
    assert "public <utterance> = [<carrier>] <answer> [please];" in (expectation.grammar or "")
    assert "<answer> = one | the first | two;" in (expectation.grammar or "")
    assert (expectation.digits_max, expectation.digits_end) == (1, "#")


def test_a_menu_with_a_hash_key_is_not_ended_by_it(plan_of: PlanOf) -> None:
    """`#` can be a choice itself."""
    played = steps(plan_of, "- menu: {say: a, choices: [{digits: '#', then: b}]}", "#")
    assert played.asked[0][1].digits_end == ""
    assert played.log[-2] == "say This is b."


def test_gather_keeps_digits(plan_of: PlanOf) -> None:
    """Too few digits are asked for again."""
    played = steps(
        plan_of,
        "- gather: {say: PIN, into: pin, digits: 4, digits_min: 4, no_match: Four!}\n- say: '{pin}'",
        "12",
        "1234",
    )
    assert played.log == ["answer", "ask PIN", "ask Four! PIN", "pin = 1234", "say 1234", "hang up"]


def test_gather_keeps_the_value_of_what_was_said(plan_of: PlanOf) -> None:
    """Several phrases may stand for one value."""
    text = "- gather: {say: City, into: city, phrases: {CGN: [cologne, the cathedral], BER: berlin}}"
    assert "city = CGN" in steps(plan_of, text, "To the cathedral").log


def test_gather_takes_anything_where_nothing_is_expected(plan_of: PlanOf) -> None:
    """For engines with an open vocabulary."""
    assert "name = Ada Lovelace" in steps(plan_of, "- gather: {say: Name, into: name}", "Ada Lovelace").log


def test_gather_gives_up_after_its_tries(plan_of: PlanOf) -> None:
    """The variable is empty then, and the plan goes where it says."""
    played = steps(plan_of, "- gather: {say: PIN, into: pin, digits: 4, tries: 2, otherwise: b}", "", "words")
    assert played.log[-3:] == ["pin = ", "say This is b.", "hang up"]


BOT = """
default: a
routes:
  a:
    steps:
      - bot:
          flow: f
          barge_in: digits
          then:
            booked: b
            failed:
              - say: Sorry.
      - say: The end, {outcome} {day}.
  b: {steps: [say: This is b.]}
flows:
  f:
    slots: {day: weekday}
    nodes:
      day: {ask: 'Which day?'}
      end: {finish: booked}
"""


def test_a_bot_gets_its_flow_and_its_outcome_branches(plan_of: PlanOf) -> None:
    """The agent is told everything: it knows no dialplan."""
    played = play(plan_of(BOT), Outcome("booked", {"day": "monday"}))
    (bot,) = played.bots
    assert (bot.agent, bot.barge_in) == ("flow", "digits")
    assert bot.options["flow"]["nodes"]["day"]["ask"] == "Which day?"
    assert played.log == ["answer", "converse flow", "day = monday", "outcome = booked", "say This is b.", "hang up"]


def test_after_a_branch_in_place_comes_the_next_step(plan_of: PlanOf) -> None:
    """What the bot found out is in the variables by then."""
    played = play(plan_of(BOT), Outcome("failed", {"day": "monday"}))
    assert played.log[-3:] == ["say Sorry.", "say The end, failed monday.", "hang up"]
    assert play(plan_of(BOT), Outcome("other")).log[-2] == "say The end, other ."


def test_another_agent_gets_its_own_options(plan_of: PlanOf) -> None:
    """Whatever stands there is passed on as it is."""
    played = steps(plan_of, "- bot: {agent: acme, options: {model: big, tools: [a, 1]}}", Outcome("done"))
    assert (played.bots[0].agent, played.bots[0].options) == ("acme", {"model": "big", "tools": ["a", 1]})


def test_a_dropped_call_goes_on_at_its_step(plan_of: PlanOf) -> None:
    """The line is picked up first, and what was done already is not done again."""
    played = steps(plan_of, "- ring: 3s\n- answer\n- say: Hello\n- say: Which?", start="a/3:say")
    assert played.log == ["answer", "say Which?", "hang up"]
    assert played.steps == ["a/3:say"]


def test_a_dropped_call_is_picked_up_again_whatever_its_step_needs(plan_of: PlanOf) -> None:
    """Who was waiting in a call does not wait at the door; one that was not answered yet, or whose step is gone, is
    where a new one is."""
    text = "- ring: 3s\n- answer\n- wait: 60s\n- say: Which?"
    again = ["answer", "wait 60 s", "say Which?", "hang up"]
    assert steps(plan_of, text, start="a/2:wait", answered=True).log == again
    assert steps(plan_of, text, start="a/0:ring").log[:2] == ["ring", "wait 3 s"]
    assert steps(plan_of, text, start="a/9:wait", answered=True).log[:2] == ["ring", "wait 3 s"]


def test_a_dropped_call_goes_on_inside_a_branch(plan_of: PlanOf) -> None:
    """And comes back to what follows the branch."""
    inside = steps(plan_of, MENU, "2").steps[1]
    assert inside == "a/0:menu/choices.1.then/0:say"
    assert steps(plan_of, MENU, start=inside).log == ["answer", "say You chose two.", "say After the menu.", "hang up"]


def test_a_dropped_call_in_another_route_goes_on_there(plan_of: PlanOf) -> None:
    """The stored position wins over the route of the new call."""
    assert steps(plan_of, "- answer", start="b/0:say").log == ["answer", "say This is b.", "hang up"]


def test_a_position_that_is_gone_begins_anew(plan_of: PlanOf) -> None:
    """The dialplan was edited while the caller was away."""
    assert steps(plan_of, "- say: Hello", start="a/7:menu").log == ["answer", "say Hello", "hang up"]
    assert steps(plan_of, "- say: Hello", start="a/0:play").log == ["answer", "say Hello", "hang up"]


def test_a_loop_without_a_caller_in_it_ends(plan_of: PlanOf) -> None:
    """Whatever the check lets through, the gateway comes back."""
    played = steps(
        plan_of, "- menu: {say: x, tries: 1, choices: [{digits: 1, then: a}], otherwise: a}", *["1"] * 20_000
    )
    assert played.log[-1] == "hang up"


def test_a_caller_who_hangs_up_ends_the_program_where_it_stands(plan_of: PlanOf) -> None:
    """Nothing is said to a dead line."""
    assert steps(plan_of, MENU, None).log == ["answer", "ask One or two?", "the caller hung up"]


def test_a_text_with_a_recording_is_played_from_it(plan_of: PlanOf, tmp_path: Path) -> None:
    """Whoever speaks it: a step, a question, or the bot."""
    with wave.open(str(tmp_path / "hello.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0" * 160)
    plan = plan_of("""
        routes:
          a:
            match: {}
            steps:
              - say: Hello!
              - gather: {say: Hello!, into: x}
              - bot: {agent: acme}
              - say: Goodbye!
              - play: {file: hello.wav, times: 2}
        prompts: {hello.wav: Hello!}
    """)
    played = play(plan, "hi", Outcome("done"))
    recorded = f"[{tmp_path / 'hello.wav'}]"
    assert [line for line in played.log if line.startswith(("say", "ask"))] == [
        f"say Hello! {recorded}", f"ask Hello! {recorded}", "say Goodbye!", f"say {recorded}", f"say {recorded}",
    ]  # fmt: skip
    assert played.bots[0].options == {"recordings": {"Hello!": str(tmp_path / "hello.wav")}}


def test_headers_and_confidence_reach_the_dialplan(plan_of: PlanOf) -> None:
    """A heard answer is more than its text; the menu takes what the recogniser is sure of."""
    played = steps(plan_of, MENU, Heard("two", confidence=0.9))
    assert "say You chose two." in played.log


TRANSFER = """
- transfer:
    to: "{{fact.desk}}100"
    mode: bridge
    music: wait.wav
    ring: 12s
    then:
      busy: b
      {finished}
    otherwise: [{{say: "{{outcome}}, sorry."}}]
- say: Anything else?
"""


@pytest.mark.parametrize(
    ("outcome", "log"),
    [
        ("connected", ["hang up"]),
        ("busy", ["outcome = busy", "say This is b.", "hang up"]),
        ("no_answer", ["outcome = no_answer", "say no_answer, sorry.", "say Anything else?", "hang up"]),
        ("finished", ["outcome = finished", "hang up"]),
    ],
)
def test_a_transfer_goes_on_by_its_outcome(plan_of: PlanOf, tmp_path: Path, outcome: str, log: list[str]) -> None:
    """A call that is gone ends; a target that hung up ends it too, unless the plan says otherwise."""
    with wave.open(str(tmp_path / "wait.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(160))
    played = steps(plan_of, TRANSFER.format(finished="rejected: b"), outcome)
    assert played.log == ["answer", "transfer bridge to 100", *log]
    (step,) = played.transfers
    assert (step.ring_s, Path(step.music or "").name) == (12.0, "wait.wav")


def test_a_bridge_that_is_over_can_lead_on(plan_of: PlanOf) -> None:
    """`transfer: 100` is the short form; `then: {finished: ...}` takes the caller back."""
    assert steps(plan_of, "- transfer: 100\n- say: Back.", "rejected").log[-2] == "say Back."
    back = "- transfer: {to: sip:x@192.0.2.1, then: {finished: [{say: They have gone.}]}}"
    assert steps(plan_of, back, "finished").log[1:] == [
        "transfer blind to sip:x@192.0.2.1", "outcome = finished", "say They have gone.", "hang up",
    ]  # fmt: skip
