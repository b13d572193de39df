"""Texts to the whole gateway by the phones of others: in the call, as pjsua2 sends them, and beside it, as linphone."""

from __future__ import annotations

from pathlib import Path

import pytest
from callers import BOOK_WHOLLY, IS_THAT_RIGHT, WHAT_TO_DO
from gateway_process import GatewayProcess
from linphone_phone import LinphonePhone, needs_linphone
from pjsua2_phone import Pjsua2Phone, needs_pjsua2

pytestmark = pytest.mark.interop


@needs_pjsua2
def test_a_caller_books_by_writing_in_the_call(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """The bot is interrupted, understands what was written, and asks on; the phone learns that it was delivered."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "desk")
        call.wait("UtteranceStarted")
        phone.write(BOOK_WHOLLY)
        assert phone.wait("written")["status"] == 200
        call.wait_asked(IS_THAT_RIGHT)
        phone.write("yes")
        assert phone.wait("written", count=2)["status"] == 200
        completed = call.wait("DialogueCompleted")
        ended = gateway.ended(call)
    assert completed["outcome"] == "booked"
    assert [text["text"] for text in call.find("TextReceived")] == [BOOK_WHOLLY, "yes"]
    assert call.find("UserTurnEnded")[0]["text"] == BOOK_WHOLLY
    assert call.find("BargedIn")[0]["by"] == "text"
    assert call.find("TranscriptHeard") == []
    assert (ended["reason"], ended["by"]) == ("hangup", "bot")


@needs_pjsua2
def test_a_phone_learns_that_nobody_reads(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """A test tone asks nothing: the text is refused, and in no log."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "milliwatt")
        call.wait("CallAnswered")
        phone.write("is anybody there?")
        written = phone.wait("written")
        phone.hang_up()
        gateway.ended(call)
    assert (written["status"], written["reason"]) == (480, "Nobody Reads Now")
    assert call.find("TextReceived") == []


@needs_linphone
def test_a_softphone_writes_beside_its_call(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """linphone sends texts out of dialog, by its proxy; the text finds the call of the same user."""
    phone = LinphonePhone(tmp_path / "phone", number)
    phone.goes_through(f"sip:127.0.0.1:{gateway.sip_port}")
    with phone:
        call = gateway.called_by(phone, "desk")
        call.wait_asked(WHAT_TO_DO)
        phone.do(f"chat sip:desk@127.0.0.1 {BOOK_WHOLLY}")
        call.wait_asked(IS_THAT_RIGHT)
        phone.hang_up()
        gateway.ended(call)
    (text,) = call.find("TextReceived")
    assert text["text"] == BOOK_WHOLLY
