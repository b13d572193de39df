"""Callers put the bot on hold, in the middle of its words and of their own, and take it up again later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from baresip_phone import BaresipPhone, needs_baresip
from call_bundle import CallBundle
from gateway_process import GatewayProcess
from pjsua2_phone import Pjsua2Phone, needs_pjsua2
from sounds import likeness_in_pieces, speech

pytestmark = pytest.mark.interop

QUESTION = "On which day of the coming week would you like to come and see us?"
TIMEOUT_S, LOST_AFTER_S = 1.5, 0.5
LONGER_S = 0.6
"""How much longer than each of these the call is held."""

TAKES_UP_S = 0.25
"""A phone that takes a call up again sets its sound up anew, and misses the first packets."""

HEARD_S = 1.5
"""How much of the question is heard before a hold in it: enough pieces for their median to mean something."""

SENTENCE = speech("One moment, I look that up. Is it Tuesday?")
PLAN = f"""
routes:
  day:
    match: {{}}
    steps:
      - gather:
          say: "{QUESTION}"
          phrases: [monday, tuesday]
          timeout: {TIMEOUT_S}s
          into: day
          otherwise: [say: Nobody is there.]
      - say: "You said {{day}}."
"""


@pytest.fixture(scope="module")
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("hold")
    (folder / "plan.yaml").write_text(PLAN)
    config = f"[call]\nline_lost_after_s = {LOST_AFTER_S}\n"  # the voice unhurried: there is to be much of it
    with GatewayProcess(folder / "data", "--dialplan", str(folder / "plan.yaml"), config=config) as gateway:
        yield gateway


def between(call: CallBundle, *kinds: str) -> list[str]:
    """What of these there is from the hold to its end."""
    events = call.events
    first, last = (next(k for k, e in enumerate(events) if e["type"] == one) for one in ("CallHeld", "CallRetrieved"))
    return [event["type"] for event in events[first:last] if event["type"] in kinds]


def moments(call: CallBundle, *kinds: str) -> list[float]:
    """Where in the recording the first of each is."""
    return [call.second(call.find(kind)[0]["at"]) for kind in kinds]


def answered(phone: BaresipPhone | Pjsua2Phone, gateway: GatewayProcess, call: CallBundle) -> dict[str, Any]:
    """The caller answers after all, and hears that it was understood; the call's closing line."""
    phone.say(speech("Monday."))
    call.wait_asked("You said monday.")
    return gateway.ended(call)


TURNS = (
    "UserTurnEnded",
    "SilenceNoticed",
    "BargedIn",
    "UtteranceStarted",
    "UtterancePlayed",
    "AgentReplied",
    "CallEnded",
)


@needs_pjsua2
def test_a_hold_in_the_bots_words_leaves_the_rest_for_later(
    gateway: GatewayProcess, tmp_path: Path, number: str
) -> None:
    """What sounds on hold, an answer even, is nobody's turn; then the question is heard to its end and answered."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "day")
        call.wait("UtteranceStarted")
        phone.listen(HEARD_S)
        with call.held_by(phone):
            answer = speech("Tuesday.")
            phone.say(answer)
            phone.listen(answer.seconds + TIMEOUT_S + LONGER_S)
        call.wait_asked(QUESTION)
        ended = answered(phone, gateway, call)
        phone.wait("state", state="DISCONNECTED")
        phone.switch_off()
    assert not between(call, *TURNS)
    assert call.understood() == ["monday"]
    assert not call.find("BargedIn")
    assert not call.find("UserTurnEnded", silent=True)
    assert (ended["reason"], ended["by"]) == ("hangup", "bot")
    (began_s, _), (held_s, retrieved_s) = call.bot_spoke()[0], moments(call, "CallHeld", "CallRetrieved")
    (over_s,) = moments(call, "UtterancePlayed")
    rest_s = retrieved_s + TAKES_UP_S
    assert over_s - rest_s > 0.75
    _, bot = call.recording()
    heard = phone.heard()
    assert likeness_in_pieces(bot.cut(began_s, held_s), heard) > 0.98
    assert likeness_in_pieces(bot.cut(rest_s, over_s), heard) > 0.98


@needs_pjsua2
def test_a_hold_in_the_callers_words_takes_nothing_of_what_follows(
    gateway: GatewayProcess, tmp_path: Path, number: str
) -> None:
    """They look something up: half a sentence before the hold, talk beside the phone on hold, the answer after it."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "day")
        call.wait_asked(QUESTION)
        phone.say(SENTENCE)
        call.wait("SpeechBegan")
        phone.listen(0.6)
        with call.held_by(phone):
            phone.listen(SENTENCE.seconds + TIMEOUT_S + LONGER_S)
        call.wait("UtterancePlayed", heard=QUESTION, count=2)
        ended = answered(phone, gateway, call)
    assert not between(call, "BargedIn", "SilenceNoticed", "UtteranceStarted", "CallEnded")
    assert "tuesday" not in call.understood()
    assert (ended["reason"], ended["by"]) == ("hangup", "bot")


@needs_baresip
def test_a_phone_that_sends_nothing_on_hold_keeps_its_call(
    gateway: GatewayProcess, tmp_path: Path, number: str
) -> None:
    """The line carries nothing for longer than a dead one is waited for; the caller comes back to the question."""
    with BaresipPhone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "day")
        call.wait_asked(QUESTION)
        with call.held_by(phone):
            call.wait("LineFellSilent")
            phone.listen(LOST_AFTER_S + LONGER_S)
        ended = answered(phone, gateway, call)
    assert not between(call, *TURNS)
    assert call.understood() == ["monday"]
    assert (ended["reason"], ended["by"]) == ("hangup", "bot")
