"""linphone, a softphone with a stack of its own, calls the whole gateway and is called by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from callers import BOOK_WHOLLY, IS_THAT_RIGHT, WHAT_TO_DO
from gateway_process import GatewayProcess
from linphone_phone import LinphonePhone, needs_linphone
from sounds import likeness_in_pieces, speech

pytestmark = [pytest.mark.interop, needs_linphone]

REMINDER = """
routes:
  remind:
    steps: [answer, {say: This is a reminder of your appointment.}, {press: "5"}, hangup]
"""


def test_a_caller_books_by_voice_and_key_and_the_bot_hangs_up(
    gateway: GatewayProcess, tmp_path: Path, number: str
) -> None:
    """Speech from a file one way, the bot's words the other, a digit by RFC 4733, and our BYE at the end."""
    with LinphonePhone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "desk")
        call.wait_asked(WHAT_TO_DO)
        phone.say(speech(BOOK_WHOLLY))
        call.wait_asked(IS_THAT_RIGHT)
        phone.do("1")
        completed = call.wait("DialogueCompleted")
        ended = gateway.ended(call)
        phone.wait("ended (No error)")
    assert completed["outcome"] == "booked"
    assert call.find("DigitPressed")[0]["method"] == "rfc4733"
    assert call.find("CallStarted")[0]["caller"] == number
    assert (ended["reason"], ended["by"]) == ("hangup", "bot")
    _, bot = call.recording()
    # linphone's sound files run only from its own first word on: of the greeting it keeps nothing.
    begun, over = call.bot_spoke()[2]
    assert likeness_in_pieces(bot.cut(begun, over), phone.heard()) > 0.9


def test_hold_and_retrieve_and_the_caller_hangs_up(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """Its re-INVITEs are answered, nothing is sent while it holds, and its BYE ends the call."""
    with LinphonePhone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "milliwatt")
        call.wait("CallAnswered")
        with call.held_by(phone):
            pass  # and on it goes
        phone.hang_up()
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    assert ended["packets_sent"] == pytest.approx(call.talked_s() * 50, abs=10)


def test_linphone_is_called_and_hears_what_it_is_told(tmp_path: Path) -> None:
    """It answers by itself; the bot speaks, presses a key, and hangs up."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(REMINDER)
    with LinphonePhone(tmp_path / "phone", "5550199", auto_answer=True) as phone:
        config = f'[[trunk]]\nname = "phone"\nhost = "127.0.0.1"\nport = {phone.port}\noptions_interval_s = 0\n'
        with GatewayProcess(tmp_path / "data", "--dialplan", str(plan), config=config) as gateway:
            call = gateway.calls_out("5550199", trunk="phone", route="remind")
            ended = gateway.ended(call, within_s=30)
            phone.wait("ended (No error)")
            assert not gateway.troubles()
    assert (ended["reason"], ended["by"]) == ("hangup", "bot")
    _, bot = call.recording()
    begun, over = call.bot_spoke()[0]
    assert likeness_in_pieces(bot.cut(begun, over), phone.heard()) > 0.9
