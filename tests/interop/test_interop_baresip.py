"""baresip, a softphone with a SIP stack and an audio pipeline of its own, calls the whole gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from baresip_phone import BaresipPhone, needs_baresip
from callers import BOOK_WHOLLY, IS_THAT_RIGHT, WHAT_TO_DO
from gateway_process import GatewayProcess
from sounds import find, likeness_in_pieces, speech

pytestmark = [pytest.mark.interop, needs_baresip]


def test_a_caller_books_by_voice(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """One sentence and a "yes" book; what baresip heard is, clip by clip, what the gateway recorded of its bot."""
    with BaresipPhone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "desk")
        call.wait_asked(WHAT_TO_DO)
        phone.say(speech(BOOK_WHOLLY))
        call.wait_asked(IS_THAT_RIGHT)
        phone.say(speech("yes"))
        completed = call.wait("DialogueCompleted")
        ended = gateway.ended(call)
        phone.wait("CALL_CLOSED")
    assert completed["outcome"] == "booked"
    assert completed["data"] == {"task": "book", "service": "haircut", "day": "thursday", "half": "morning"}
    assert call.understood()[-1] == "yes"
    assert (ended["reason"], ended["by"], ended["turns"]) == ("hangup", "bot", 2)
    _, bot = call.recording()
    heard = phone.heard()
    spoken = call.bot_spoke()
    assert len(spoken) == 6
    late_s = [0.0]
    for begun, over in spoken[:-1]:  # of the goodbye, what is in its jitter buffer at our BYE is lost on baresip
        clip = bot.cut(begun, over)
        assert likeness_in_pieces(clip, heard) > 0.99
        late_s.append(find(clip, heard).at_s - begun)
        assert late_s[-1] == pytest.approx(late_s[-2], abs=0.15)  # its clock is a thread's, and may lose frames
        assert heard.cut(begun + late_s[-1], over + late_s[-1]).loud().mean() > 0.4
    quiet = heard.cut(spoken[1][1] + late_s[2] + 0.2, spoken[2][0] + late_s[3] - 0.2)
    assert quiet.seconds > 2
    assert not quiet.loud(over=50).any()


def test_the_test_tone_reaches_a_phone_that_speaks_a_law(gateway: GatewayProcess, tmp_path: Path, number: str) -> None:
    """1004 Hz at 0 dBm0 until a hold, nothing while it lasts, and packets again after it."""
    with BaresipPhone(tmp_path / "phone", number, codec="PCMA") as phone:
        call = gateway.called_by(phone, "milliwatt")
        phone.listen(1.5)
        with call.held_by(phone):
            phone.listen(1.0)
        phone.listen(1.0)
        phone.hang_up()
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    assert call.find("CallAnswered")[0]["codec"] == "PCMA"
    assert ended["packets_sent"] == pytest.approx(call.talked_s() * 50, abs=10)
    heard = phone.heard().cut(0.2, 1.2)  # its recording ends with its first hold
    assert heard.hz() == pytest.approx(1004, abs=0.5)
    assert heard.dbm0("alaw") == pytest.approx(0, abs=0.2)
