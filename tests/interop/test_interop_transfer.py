"""Transfers with pjsua2 at the other ends, and baresip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from baresip_phone import BaresipPhone, needs_baresip
from gateway_process import QUICK, GatewayProcess
from pjsua2_phone import Pjsua2Phone, needs_pjsua2
from ports import free_port
from replays import expect_replay
from sounds import likeness_in_pieces, speech, tone

pytestmark = [pytest.mark.interop, needs_pjsua2]

SENTENCE = speech("The quick brown fox jumps over the lazy dog.")
TARGET = "200"
RING_S = {"blind": 8, "attended": 8, "bridge": 8, "impatient": 3}
"""How long the target of each route may ring."""

ROUTE = """
  NAME:
    match: {called: NAME}
    steps:
      - transfer:
          to: "TO"
          mode: MODE
          ring: RINGs
          then: {finished: [{say: They have gone.}, hangup]}
          otherwise: [{say: "Nobody there."}, {set: {told: "{outcome}"}}, {wait: 300ms}, hangup]
"""
ECHO = """
  echo:
    match: {}
    steps: [answer, {say: "Hello there, this is the gateway."}, echo]
"""


@pytest.fixture(scope="module")
def target_port() -> int:
    """Where every test's target is, so that one gateway knows it."""
    return free_port()


@pytest.fixture
def target(tmp_path: Path, target_port: int) -> Iterator[Pjsua2Phone]:
    with Pjsua2Phone(tmp_path / "target", TARGET, part=4, sip_port=target_port) as phone:
        yield phone


@pytest.fixture(scope="module")
def _house(tmp_path_factory: pytest.TempPathFactory, target_port: int) -> Iterator[GatewayProcess]:
    """`blind`, `attended` and `bridge`, when called, transfer to the target in that way, `impatient` over a bridge to
    one who is quick; anybody else echoes."""
    uri = f"sip:{TARGET}@127.0.0.1:{target_port}"
    ways = (
        ROUTE.replace("NAME", name)
        .replace("TO", uri)
        .replace("MODE", "bridge" if name == "impatient" else name)
        .replace("RING", str(ring_s))
        for name, ring_s in RING_S.items()
    )
    folder = tmp_path_factory.mktemp("transfer")
    plan = folder / "plan.yaml"
    plan.write_text("routes:" + "".join(ways) + ECHO)
    config = "accept_transfers = true\n" + QUICK
    with GatewayProcess(folder / "data", "--dialplan", str(plan), config=config) as running:
        yield running


def test_a_caller_is_transferred_blind(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """REFER to the caller's phone, which calls the target; our part ends."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "blind")
        phone.wait("referred", to=target.uri)
        target.wait("state", state="CONFIRMED")
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("transferred", "bot")
    assert [event["outcome"] for event in call.find("TransferEnded")] == ["connected"]
    assert not gateway.troubles()
    expect_replay(call)


def test_an_operator_sends_a_caller_elsewhere(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """By the HTTP API, in the midst of a step: first in vain, and the bot talks on; then for good."""
    target.incoming("busy")
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "echo")
        call.wait("StepEntered", step="echo/2:echo")
        for outcome in ("busy", "connected"):
            gateway.post(f"/api/calls/{call.id}/transfer", {"to": target.uri})
            call.wait("TransferEnded", outcome=outcome)
            target.incoming("answer")
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("transferred", "gateway")
    expect_replay(call)


def test_a_busy_target_gives_the_caller_back(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """The NOTIFY says 486; the caller is told, by the same bot on the same call."""
    target.incoming("busy")
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "blind")
        gateway.ended(call)
    assert [event["outcome"] for event in call.find("TransferEnded")] == ["busy"]
    assert "Nobody there." in call.said()
    assert [event["value"] for event in call.find("VariableSet", name="told")] == ["busy"]
    expect_replay(call)


def test_caller_and_target_talk_over_a_bridge(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """Voices and keys pass both ways; when the target hangs up, the caller is told."""
    left, right = (
        speech("The quick brown fox jumps over the lazy dog."),
        speech("Pack my box with five dozen jugs.", "slt"),
    )
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "bridge")
        call.wait("TransferProgressed", of="target", status=200)
        target.wait("media", active=True)
        phone.say(left)
        phone.listen(left.seconds + 0.5)
        target.say(right)
        target.listen(right.seconds + 0.5)
        phone.press("5")
        target.wait("digit", digit="5")
        target.press("7")
        phone.wait("digit", digit="7")
        target.listen(0.5)  # keys of the target are in no bundle, and playout waits for them
        target.hang_up()
        gateway.ended(call)
    assert [event["outcome"] for event in call.find("TransferEnded")] == ["finished"]
    assert "They have gone." in call.said()
    assert [event["digit"] for event in call.find("DigitPressed")] == ["5"]
    assert likeness_in_pieces(right, phone.heard()) > 0.8
    caller, other = call.recording()
    assert likeness_in_pieces(left, caller) > 0.8
    assert likeness_in_pieces(right, other) > 0.8
    expect_replay(call)


def test_a_target_that_does_not_pick_up_is_given_up(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """It rings for as long as the route says, the caller hears that, and then the bot."""
    target.incoming("ring")
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "impatient")
        gateway.ended(call, within_s=25)
        target.wait("state", state="DISCONNECTED")
    (started,), (over,) = call.find("TransferStarted"), call.find("TransferEnded")
    assert over["outcome"] == "no_answer"
    assert over["at"] - started["at"] >= RING_S["impatient"]
    _, bot = call.recording()
    begun = call.second(started["at"])
    assert bot.cut(begun + 0.3, begun + 0.8).hz() == pytest.approx(425, abs=2)


def test_a_caller_who_hangs_up_ends_the_target_too(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """Nobody is left on a line to nobody."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "bridge")
        target.wait("state", state="CONFIRMED")
        phone.hang_up()
        target.wait("state", state="DISCONNECTED")
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    assert [event["outcome"] for event in call.find("TransferEnded")] == ["left"]
    expect_replay(call)


def test_a_caller_is_transferred_attended(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """We call the target, and the caller's phone takes our place there by an INVITE with Replaces."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "attended")
        phone.wait("referred")
        target.wait("state", state="CONFIRMED", count=2)
        target.wait("state", state="DISCONNECTED")
        ended = gateway.ended(call)
        phone.wait("state", call=0, state="DISCONNECTED")
    assert (ended["reason"], ended["by"]) == ("transferred", "bot")
    assert [event["outcome"] for event in call.find("TransferEnded")] == ["connected"]
    expect_replay(call)


def test_a_peer_transfers_our_call_blind(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """The conversation moves to whom the caller names, mid-step: the echo echoes somebody else now."""
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "echo")
        call.wait("StepEntered", step="echo/2:echo")
        phone.transfer(target.uri)
        phone.wait("transfer", status=200)
        phone.wait("state", state="DISCONNECTED")
        target.wait("media", active=True)
        target.says(SENTENCE)
        call.wait_turn_over()  # at a turn's end a replay may be a frame before or behind the hang-up
        target.hang_up()
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    assert [(event["by"], event["caller"]) for event in call.find("CallMoved")] == [("refer", "200")]
    target.switch_off()
    assert likeness_in_pieces(SENTENCE, target.heard()) > 0.8
    assert likeness_in_pieces(SENTENCE, call.recording()[0]) > 0.8
    assert len(gateway.find("call.started")) == 1
    expect_replay(call)


def test_a_peer_whose_transfer_fails_keeps_the_call(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """It is told that the target is busy, and is still talking to us."""
    target.incoming("busy")
    with Pjsua2Phone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "echo")
        call.wait("StepEntered", step="echo/2:echo")
        phone.transfer(target.uri)
        phone.wait("transfer", status=486)
        phone.say(tone(800, 1.0))
        phone.listen(1.5)
        phone.hang_up()
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    assert [event["outcome"] for event in call.find("TransferEnded")] == ["busy"]
    heard = phone.heard()
    assert heard.cut(heard.seconds - 1.2, heard.seconds - 0.8).hz() == pytest.approx(800, abs=2)


def test_a_receptionist_hands_a_caller_over_to_us(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """Attended: the receptionist has a caller on one line and us on the other. Their phones do the rest with an INVITE
    with Replaces, and our conversation goes on with the caller, where it stood."""
    with Pjsua2Phone(tmp_path / "phone", number) as receptionist:
        receptionist.dial(target.uri)
        call = gateway.called_by(receptionist, "echo")
        call.wait("StepEntered", step="echo/2:echo")
        receptionist.transfer_to_other()
        call.wait("CallMoved", by="replaces")
        receptionist.wait("state", call=1, state="DISCONNECTED")
        assert len(gateway.get("/api/calls")) == 1
        target.says(SENTENCE)
        call.wait_turn_over()  # at a turn's end a replay may be a frame before or behind the hang-up
        target.hang_up_all()
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    target.switch_off()
    assert likeness_in_pieces(SENTENCE, target.heard()) > 0.8
    assert likeness_in_pieces(SENTENCE, call.recording()[0]) > 0.8
    assert len(gateway.find("call.started")) == 1
    expect_replay(call)
    assert [event["caller"] for event in call.find("CallMoved")] == [""]
    expect_replay(call)


def test_a_receptionist_hands_us_over_to_somebody(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """Attended, the other way round: we follow the REFER, with its Replaces, into the receptionist's other call."""
    with Pjsua2Phone(tmp_path / "phone", number) as receptionist:
        call = gateway.called_by(receptionist, "echo")
        call.wait("StepEntered", step="echo/2:echo")
        receptionist.dial(target.uri)
        receptionist.wait("state", call=1, state="CONFIRMED")
        receptionist.transfer_to_other()
        call.wait("CallMoved", by="refer")
        receptionist.wait("state", call=0, state="DISCONNECTED")
        receptionist.wait("state", call=1, state="DISCONNECTED")
        target.says(SENTENCE)
        call.wait_turn_over()  # at a turn's end a replay may be a frame before or behind the hang-up
        target.hang_up_all()
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    assert [event["caller"] for event in call.find("CallMoved")] == ["200"]
    assert likeness_in_pieces(SENTENCE, call.recording()[0]) > 0.8
    target.switch_off()
    assert likeness_in_pieces(SENTENCE, target.heard()) > 0.8


@needs_baresip
@pytest.mark.parametrize("mode", ["blind", "attended"])
def test_baresip_is_transferred(
    gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str, mode: str
) -> None:
    """Another stack follows our REFER, with and without Replaces, to a target of a third make."""
    with BaresipPhone(tmp_path / "phone", number) as phone:
        phone.dial(f"sip:{mode}@127.0.0.1:{gateway.sip_port}")
        call = gateway.call()
        target.wait("state", state="CONFIRMED", count=1 if mode == "blind" else 2)
        ended = gateway.ended(call)
        assert [event["outcome"] for event in call.find("TransferEnded")] == ["connected"]
        assert (ended["reason"], ended["by"]) == ("transferred", "bot")
    assert not gateway.troubles()


@needs_baresip
def test_baresip_transfers_our_call(gateway: GatewayProcess, target: Pjsua2Phone, tmp_path: Path, number: str) -> None:
    """Its REFER moves the conversation to a phone of another make, codec and all."""
    with BaresipPhone(tmp_path / "phone", number, codec="PCMA") as phone:
        call = gateway.called_by(phone, "echo")
        call.wait("StepEntered", step="echo/2:echo")
        phone.do("transfer", target.uri)
        call.wait("CallMoved", by="refer")
        phone.wait("CALL_CLOSED")
        target.wait("media", active=True)
        target.say(tone(700, 1.0))
        target.listen(1.6)
        target.hang_up()
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "caller")
    target.switch_off()
    heard = target.heard()
    assert heard.cut(heard.seconds - 1.2, heard.seconds - 0.9).hz() == pytest.approx(700, abs=3)


def test_a_target_is_called_through_a_trunk_and_the_caller_may_not_transfer(
    target: Pjsua2Phone, tmp_path: Path, number: str
) -> None:
    """Its own way there, its number shown, its limit (which the callers, from the same address, count for too). A REFER
    is declined, unless the trunk is said to transfer."""
    plan = tmp_path / "plan.yaml"
    plan.write_text('default: desk\nroutes:\n  desk: {steps: [{transfer: {to: "200", mode: bridge, trunk: pbx}}]}\n')
    trunk = f'[[trunk]]\nname = "pbx"\nhost = "127.0.0.1"\nport = {target.sip_port}\ncaller = "4930"\nmax_calls = 3\n'
    with (
        GatewayProcess(
            tmp_path / "data", "--dialplan", str(plan), config=trunk + "options_interval_s = 0\n"
        ) as gateway,
        Pjsua2Phone(tmp_path / "phone", number) as phone,
        Pjsua2Phone(tmp_path / "other", "5559999", part=5) as other,
    ):
        call = gateway.called_by(phone, "desk")
        target.wait("state", state="CONFIRMED")
        phone.transfer("sip:300@127.0.0.1:9")
        phone.wait("transfer", status=603)
        other.dial(gateway.uri("desk"))
        full = gateway.call(2)
        full.wait("TransferEnded", outcome="unreachable")
        gateway.ended(full)
        target.hang_up()
        ended = gateway.ended(call)
    assert (ended["reason"], ended["by"]) == ("hangup", "bot")
    assert [event["outcome"] for event in call.find("TransferEnded")] == ["finished"]
    assert target.wait("incoming")["number"] == "4930"
