"""sipp calls the whole gateway: with audio, with loss, with second thoughts, and with hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gateway_process import GatewayProcess
from rtp_peer import RtpPeer, began_at, silence_s, sound_of
from sipp_program import needs_sipp, scenario, sipp_calls
from sounds import Sound, find, likeness_in_pieces, silence, speech, tone

from gateway.media import g711

pytestmark = [pytest.mark.interop, needs_sipp]

SENTENCE = speech("The quick brown fox jumps over the lazy dog.")


def keep_as_ulaw(sound: Sound, path: Path) -> None:
    """The raw form that sipp's `rtp_stream` sends as it stands."""
    path.write_bytes(bytes(g711.encode(np.rint(sound.samples).astype(np.int16))))


def test_what_a_caller_says_to_echo_comes_back(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Every packet arrives, the recording's left channel holds what sipp sent, and the right one its echo."""
    call_s = SENTENCE.seconds + 2.0
    keep_as_ulaw(SENTENCE.then(silence(0.3), tone(1000, 1.0)), tmp_path / "voice.ulaw")
    sipp_calls(gateway.sip_port, *scenario("talk"), "-d", str(round(call_s * 1000)), called="echo", folder=tmp_path)
    call = gateway.call()
    ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    assert (ended["packets_lost"], ended["packets_late"], ended["packets_malformed"]) == (0, 0, 0)
    assert ended["packets_received"] == pytest.approx((SENTENCE.seconds + 1.3) * 50, abs=3)
    assert ended["packets_sent"] == pytest.approx(call_s * 50, abs=10)
    caller, bot = call.recording()
    assert likeness_in_pieces(SENTENCE, caller) > 0.99
    assert likeness_in_pieces(SENTENCE, bot) > 0.99
    began_s = find(SENTENCE, bot).at_s
    assert 0 < began_s - find(SENTENCE, caller).at_s < 0.1
    steady = bot.cut(began_s + SENTENCE.seconds + 0.5, began_s + SENTENCE.seconds + 1.1)
    assert steady.hz() == pytest.approx(1000, abs=0.5)
    assert steady.dbm0() == pytest.approx(-10, abs=0.2)


def test_a_caller_who_gives_up_while_it_rings_is_let_go(gateway: GatewayProcess, tmp_path: Path) -> None:
    """200 to the CANCEL and 487 to the INVITE, which sipp insists on; each call is closed as cancelled."""
    sipp_calls(gateway.sip_port, *scenario("cancel"), called="ring", calls=5)
    for number in range(1, 6):
        ended = gateway.ended(gateway.call(number))
        assert (ended["reason"], ended["by"]) == ("cancelled", "caller")
    assert gateway.get("/api/calls") == []
    assert not gateway.troubles()


def hold_live(peer: RtpPeer) -> tuple[str, ...]:
    """A call whose audio is the peer's: talk, hold and talk, for 1.5 s each."""
    return (*scenario("hold_live"), "-key", "audio_port", str(peer.port))


def test_a_held_caller_is_sent_nothing_and_hears_again_after(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A re-INVITE with sendonly is answered recvonly, which sipp checks, and stops the packets until the next one."""
    with RtpPeer(Sound(np.tile(SENTENCE.samples, 3))) as peer:
        sipp_calls(gateway.sip_port, *hold_live(peer), called="echo")
        call = gateway.call()
        ended = gateway.ended(call)
    before, after = peer.stretches()
    held_s = call.find("CallRetrieved")[0]["at"] - call.find("CallHeld")[0]["at"]
    assert held_s > 1.4
    assert silence_s(before[-1], after[0]) > held_s - 0.06
    caller, _ = call.recording()
    for packets in (before[-50:-5], after[10:55]):
        heard = sound_of(packets)
        assert heard.seconds == pytest.approx(0.9)
        assert likeness_in_pieces(heard, caller) > 0.95
    assert ended["reason"] == "hangup"


def test_one_stream_goes_on_over_a_hold(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Sequence numbers go on without a gap, and timestamps with the time that passed (RFC 3550 5.1)."""
    with RtpPeer(SENTENCE) as peer:
        sipp_calls(gateway.sip_port, *hold_live(peer), called="milliwatt")
        call = gateway.call()
        gateway.ended(call)
    before, after = peer.stretches()
    assert (after[0].sequence - before[-1].sequence) & 0xFFFF == 1
    assert began_at(after, before[0]) == pytest.approx(began_at(before, before[0]), abs=0.05)


def test_every_call_survives_five_percent_loss(gateway: GatewayProcess, tmp_path: Path) -> None:
    """100 calls, each message lost with probability 0.05 in either direction: retransmission mends all of it."""
    sipp_calls(gateway.sip_port, *scenario("loses"), "-d", "100", "-lost", "5", called="echo", calls=100, per_s=40)
    gateway.wait_log("call.started", count=100)
    assert len(gateway.find("call.started")) == 100
    gateway.wait_log("call.ended", reason="hangup", count=100)
    assert not gateway.troubles()
