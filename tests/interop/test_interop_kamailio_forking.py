"""Kamailio forks a call of ours to two contacts of one address: one is talked to, the other is let go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from gateway_process import GatewayProcess
from kamailio_server import DOMAIN, PASSWORD, Kamailio, account, trunk
from raw_callee import SDP, RawCallee, Received

pytestmark = pytest.mark.interop

REMINDER = """
routes:
  remind:
    steps: [answer, {wait: 500ms}, {press: "5"}, hangup]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fork")


@pytest.fixture(scope="module")
def kamailio(folder: Path) -> Iterator[Kamailio]:
    with Kamailio(folder / "kamailio") as running:
        yield running


@pytest.fixture(scope="module")
def gateway(folder: Path, kamailio: Kamailio) -> Iterator[GatewayProcess]:
    (folder / "plan.yaml").write_text(REMINDER)
    (folder / "password").write_text(PASSWORD)
    way = {"host": "127.0.0.1", "port": kamailio.sip_port, **account(folder / "password"), "register": False}
    # Every call is a new one, whoever was called before.
    config = "[session]\nresume_within_s = 0\n" + trunk("kamailio", **{**way, "options_interval_s": 0})
    with GatewayProcess(folder / "data", "--dialplan", str(folder / "plan.yaml"), config=config) as running:
        yield running


@pytest.fixture
def phones(kamailio: Kamailio) -> Iterator[tuple[RawCallee, RawCallee]]:
    """Two that ring for the same address."""
    with ExitStack() as stack:
        left, right = (stack.enter_context(RawCallee(name)) for name in ("left", "right"))
        for phone in (left, right):
            phone.register(f"sip:team@{DOMAIN}", kamailio.sip_port)
        yield left, right
        for phone in (left, right):
            phone.register(f"sip:team@{DOMAIN}", kamailio.sip_port, expires_s=0)


def is_over(gateway: GatewayProcess, phone: RawCallee, ended: str) -> None:
    """Nothing more comes to the phone, and the gateway holds nothing of the call."""
    assert phone.hears_nothing(for_s=0.3), ended
    assert gateway.get("/api/calls") == []


def ringing(phones: tuple[RawCallee, RawCallee]) -> list[Received]:
    invites = [phone.receive("INVITE") for phone in phones]
    for phone, invite in zip(phones, invites, strict=True):
        phone.reply(invite, 180)
    return invites


def test_the_first_to_answer_is_talked_to_and_the_other_stops_ringing(
    gateway: GatewayProcess, phones: tuple[RawCallee, RawCallee]
) -> None:
    """Two early dialogs of one INVITE; the answer of one confirms that one, and the proxy cancels the other."""
    left, right = phones
    call = gateway.calls_out("team", trunk="kamailio", route="remind")
    to_left, to_right = ringing(phones)
    right.reply(to_right, 200, SDP)
    right.receive("ACK")
    cancelled = left.receive("CANCEL")
    left.reply(cancelled, 200)
    left.reply(to_left, 487)
    left.receive("ACK")
    right.reply(right.receive("BYE"), 200)
    ended = gateway.ended(call)
    assert (ended["reason"], ended["by"], ended["step"]) == ("hangup", "bot", "remind/3:hangup")
    call.wait("CallEnded")
    assert len(call.find("CallAnswered")) == 1
    is_over(gateway, left, "left was cancelled")


def test_two_that_answer_at_once_are_both_acknowledged_and_one_is_hung_up(
    gateway: GatewayProcess, phones: tuple[RawCallee, RawCallee]
) -> None:
    """RFC 3261 13.2.2.4: a proxy hands on every 2xx. The later one gets its ACK and a BYE while the first goes on."""
    call = gateway.calls_out("team", trunk="kamailio", route="remind")
    invites = [phone.receive("INVITE") for phone in phones]
    for phone, invite in zip(phones, invites, strict=True):
        phone.reply(invite, 200, SDP)
    for phone in phones:
        phone.receive("ACK")
    loser = RawCallee.first_to_hear(*phones)
    winner = next(phone for phone in phones if phone is not loser)
    loser.reply(loser.receive("BYE"), 200)
    assert not call.find("CallEnded")
    winner.reply(winner.receive("BYE"), 200)
    ended = gateway.ended(call)
    assert (ended["reason"], ended["by"], ended["step"]) == ("hangup", "bot", "remind/3:hangup")
    call.wait("CallEnded")
    assert len(call.find("CallAnswered")) == 1
    is_over(gateway, loser, "the loser was hung up")


def test_giving_up_stops_both_ringing(gateway: GatewayProcess, phones: tuple[RawCallee, RawCallee]) -> None:
    """One CANCEL of ours ends every branch."""
    call = gateway.calls_out("team", trunk="kamailio", route="remind")
    invites = ringing(phones)
    gateway.post(f"/api/calls/{call.id}/hangup")
    for phone, invite in zip(phones, invites, strict=True):
        phone.reply(phone.receive("CANCEL"), 200)
        phone.reply(invite, 487)
        phone.receive("ACK")
    gateway.ended(call)
    for phone in phones:
        is_over(gateway, phone, "given up")
    assert not gateway.troubles()
