"""pjsua2, the stack under many softphones, calls the whole gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from callers import IS_THAT_RIGHT, MORNING_OR_AFTERNOON, WHAT_TO_DO, WHICH_DAY, WHICH_SERVICE
from gateway_process import GatewayProcess
from pjsua2_phone import Pjsua2Phone, expect_the_milliwatt, hear_the_milliwatt_over_a_hold, needs_pjsua2
from sounds import likeness_in_pieces, speech

pytestmark = [pytest.mark.interop, needs_pjsua2]


def test_a_caller_books_by_keys_and_by_voice(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """RFC 4733 and speech in one dialogue, with a hold in the middle; the phone heard what the bot said."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "desk")
        call.wait("UtteranceStarted")
        phone.press("1")
        call.wait_asked(WHICH_SERVICE)
        with call.held_by(phone):
            pass  # and on it goes
        phone.say(speech("a haircut please"))
        call.wait_asked(WHICH_DAY)
        phone.press("4")
        call.wait_replied(MORNING_OR_AFTERNOON)
        phone.press("1")
        call.wait_asked(IS_THAT_RIGHT)
        phone.say(speech("yes"))
        completed = call.wait("DialogueCompleted")
        ended = gateway.ended(call)
        phone.wait("state", state="DISCONNECTED")
    assert completed["outcome"] == "booked"
    assert completed["data"] == {"task": "book", "service": "haircut", "day": "thursday", "half": "morning"}
    assert [(event["digit"], event["method"]) for event in call.find("DigitPressed")] == [
        ("1", "rfc4733"),
        ("4", "rfc4733"),
        ("1", "rfc4733"),
    ]
    assert [event["by"] for event in call.find("BargedIn")] == ["digit", "digit"]
    assert WHAT_TO_DO not in call.said()  # the first key cut the greeting off
    assert (ended["reason"], ended["by"], ended["packets_lost"]) == ("hangup", "bot", 0)
    _, bot = call.recording()
    heard = phone.heard()
    for begun, over in call.bot_spoke()[-4:-1]:
        assert likeness_in_pieces(bot.cut(begun, over), heard) > 0.98


def test_the_milliwatt_is_one(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """1004 Hz within 0.5 Hz and 0 dBm0 within 0.2 dB, before a hold and after it."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = hear_the_milliwatt_over_a_hold(phone, gateway)
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    expect_the_milliwatt(phone)


def test_a_key_chooses_from_the_menu(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """2 leads to the echo test, where the caller hears themselves."""
    sentence = speech("The quick brown fox jumps over the lazy dog.")
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "menu")
        call.wait("UtteranceStarted")
        phone.press("2")
        call.wait("StepEntered", step="echo/1:echo")
        phone.say(sentence)
        phone.listen(sentence.seconds + 0.5)
        phone.hang_up()
        gateway.ended(call)
    assert call.understood() == ["2"]
    assert call.said().endswith("Speak now, and hear yourself.")
    assert likeness_in_pieces(sentence, phone.heard()) > 0.98
