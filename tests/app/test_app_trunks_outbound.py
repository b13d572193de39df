"""Placing calls: what an order must say, which way it goes, and what a redirection may lead us to."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest

from gateway.app.outbound import Outbound
from gateway.app.trunk_config import Trunk
from gateway.app.trunks import Trunks
from gateway.call.outbound_line import Attempt
from gateway.call.ports import Incoming, Line, LineFactory, Placing
from gateway.call.sip_line import SipDoor
from gateway.call.sip_stream import SipLineOptions
from gateway.core.errors import CapacityError, MisuseError, PeerError
from gateway.media import commands as media
from gateway.sip import commands as sip
from gateway.sip.crypto import MASTER_OCTETS
from gateway.sip.events import CallFailed, CallOffered
from gateway.sip.flow import Flow, Transport
from gateway.sip.locate import Server, Way
from gateway.sip.offer_answer import LocalMedia, offer

TRUNK = Trunk(
    "provider", "192.0.2.1", username="4711", password_env="PW", domain="provider.example", max_calls=1, caller="4930"
)

PLAIN = SipLineOptions()
OPTIONS = SipLineOptions(srtp_master=lambda: bytes(MASTER_OCTETS))


class House:
    """A desk, its services, and a signalling that all take notes; no loop turns."""

    def __init__(self, trunk: Trunk = TRUNK, options: SipLineOptions = PLAIN) -> None:
        self.services = self.board = self.media = self.clock = self
        self.commands: list[Any] = []
        self.arrived: list[Incoming] = []
        self.full = False
        self.trunks = Trunks([trunk], clock=self, environment={"PW": "hush"})  # type: ignore[arg-type]
        for target in self.trunks.state(trunk.name).targets:
            where = Way("udp", target.address.host, target.address.port or 5060)
            target.lead_to([Server((0,), 0, (where,))], lambda way: self.flow_to(way.host, way.port))
        self.outbound = Outbound(self, self.trunks, self, options)  # type: ignore[arg-type]

    transports = ("udp", "tcp")

    def now(self) -> float:
        return 100.0

    def wall(self) -> float:
        return 1_800_000_000.0

    def flow_to(self, host: str, port: int, transport: Transport = "udp", *, name: str = "") -> Flow:
        if transport == "tls":
            raise MisuseError("SIP over tls is not in use")
        return Flow(transport, ("192.0.2.9", 5060), (host, port))

    def send(self, command: Any) -> None:
        self.commands.append(command)

    def check_room(self) -> None:
        if self.full:
            raise CapacityError("full")

    def incoming(self, incoming: Incoming, line: LineFactory) -> str:
        self.arrived.append(incoming)
        self.line = line("c-1", lambda told: None, None, None)
        return "c-1"

    @property
    def placed(self) -> list[sip.Place]:
        return [command for command in self.commands if isinstance(command, sip.Place)]


@pytest.fixture(autouse=True)
def no_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """No loop turns, so none can ring."""
    monkeypatch.setattr(Outbound, "_alarm", lambda self, ring: lambda at: None)


@pytest.fixture
def house() -> House:
    return House()


def test_a_call_goes_through_its_trunk_with_the_trunks_own_words(house: House) -> None:
    """The number in the trunk's domain, from the number we show, signed with its password, by its way."""
    assert house.outbound.place("+49 30/1".replace(" ", ""), "provider", "remind") == "c-1"
    house.line.media_said(media.LegOpened(100.0, "c-1", port=20000, ssrc=1))
    (place,) = house.placed
    assert (place.uri, place.from_uri) == ("sip:+4930/1@provider.example", "sip:4930@provider.example")
    assert (place.flow.remote, place.credentials) == (("192.0.2.1", 5060), sip.Credentials("4711", "hush"))
    assert house.arrived == [
        Incoming("sip", "+4930/1", "4930", trunk="provider", route="remind", facts={"trunk": "provider"})
    ]


def test_the_hallway_knows_the_called_person_as_its_caller(house: House) -> None:
    """So that a session cut off in a call of ours goes on when they call back to the number they saw."""
    house.outbound.place("100", "provider", "remind", caller="555")
    assert (house.arrived[0].caller, house.arrived[0].called) == ("100", "555")


@pytest.mark.parametrize(
    "number", ["", " ", "a b", "100@elsewhere", "<sip:1>", "1\r\nEvil: 1", "x" * 65, "a;b", "sip:1"]
)
def test_a_number_is_a_number(house: House, number: str) -> None:
    """Nothing in it may become anything else on the wire."""
    with pytest.raises(PeerError):
        house.outbound.place(number, "provider", "remind")
    if number:
        with pytest.raises(PeerError):
            house.outbound.place("100", "provider", "remind", caller=number)


def test_a_trunk_that_does_not_exist_is_404_and_a_full_one_503(house: House) -> None:
    """Seats are given back when the call is over; a full gateway takes none."""
    with pytest.raises(PeerError) as fault:
        house.outbound.place("100", "nobody", "remind")
    assert fault.value.status_hint == 404
    house.full = True
    with pytest.raises(CapacityError):
        house.outbound.place("100", "provider", "remind")
    house.full = False
    house.outbound.place("100", "provider", "remind")
    with pytest.raises(CapacityError):
        house.outbound.place("100", "provider", "remind")
    house.line.release()
    house.outbound.place("100", "provider", "remind")


def test_a_trunk_whose_name_leads_nowhere_yet_says_when_to_come_again(house: House) -> None:
    """No address, no call."""
    house.trunks.state("provider").targets[0].lead_nowhere()
    with pytest.raises(CapacityError):
        house.outbound.place("100", "provider", "remind")


@pytest.mark.parametrize(
    ("uri", "way"),
    [
        ("sip:7@provider.example", ("sip:7@provider.example", "192.0.2.1", "udp", True)),
        ("sip:7@elsewhere.example", ("sip:7@elsewhere.example", "192.0.2.1", "udp", True)),
        ("tel:+4912", ("sip:+4912@provider.example", "192.0.2.1", "udp", True)),
        ("sip:7@198.51.100.9", ("sip:7@198.51.100.9", "198.51.100.9", "udp", False)),
        ("sip:7@198.51.100.9;transport=tcp", ("sip:7@198.51.100.9;transport=tcp", "198.51.100.9", "tcp", False)),
        ("sips:7@198.51.100.9", None),
        ("mailto:a@b", None),
        ("rubbish", None),
    ],
)
def test_where_a_redirection_leads(house: House, uri: str, way: tuple[str, str, str, bool] | None) -> None:
    """A stranger's address is called without our password; what we cannot call is left out."""
    house.outbound.place("100", "provider", "remind")
    house.line.media_said(media.LegOpened(100.0, "c-1", port=20000, ssrc=1))
    assert house.outbound.on_event(CallFailed(100.0, house.placed[0].dialog, 302, "Moved", (uri,)))
    if way is None:
        assert len(house.placed) == 1
        return
    place = house.placed[1]
    assert (place.uri, place.flow.remote[0], place.flow.transport, place.credentials is not None) == way


def test_an_order_tries_every_target_in_turn() -> None:
    """Those that answer first."""
    house = House(Trunk("a", "192.0.2.1", failover=("192.0.2.2", "192.0.2.3")))
    state = house.trunks.state("a")
    next(iter(state.targets[0].ways.values())).reachable = False
    order = house.outbound._order(state, "100", "")
    assert [attempt.flow.remote[0] for attempt in order.attempts] == ["192.0.2.2", "192.0.2.3", "192.0.2.1"]
    assert isinstance(order.attempts[0], Attempt)
    assert order.from_uri == "sip:anonymous@192.0.2.1"


AGREED = Trunk(
    "provider",
    "192.0.2.1",
    codecs=("PCMA",),
    dtmf="info",
    srtp="required",
    session_timer="accept",
    session_expires_s=600,
)
THEIR_OFFER = LocalMedia("192.0.2.1", 4000, ("PCMU", "PCMA"), dtmf=True, srtp="optional", master=bytes(MASTER_OCTETS))


def test_what_is_agreed_with_a_trunk_holds_for_calls_we_place() -> None:
    """Codecs, keys, protection, session timer."""
    house = House(AGREED, OPTIONS)
    house.outbound.place("100", "provider", "remind")
    house.line.media_said(media.LegOpened(100.0, "c-1", port=20000, ssrc=1))
    (place,) = house.placed
    assert re.search(rb"m=audio \d+ RTP/SAVP 8\r\n", place.sdp)
    assert b"telephone-event" not in place.sdp
    assert place.session == sip.SessionPolicy("accept", 600)


def test_what_is_agreed_with_a_trunk_holds_for_calls_that_come() -> None:
    """The same, by the same entry: refused where it cannot be had."""
    house = House(AGREED, OPTIONS)
    door = SipDoor(
        send=house.send,
        leg=house,
        clock=house,  # type: ignore[arg-type]
        options=OPTIONS,
        incoming=house.incoming,
        screen=house.trunks.book.screen,
    )
    flow = Flow("udp", ("192.0.2.9", 5060), ("192.0.2.1", 5060))
    call = CallOffered(1.0, "d-1", flow, "id", "1", "100", "sip:1@x", "sip:100@x", "", offer(THEIR_OFFER))
    door.on_event(call)
    house.line.answer()
    house.line.media_said(media.LegOpened(100.0, "c-1", port=20000, ssrc=1))
    accept = next(command for command in house.commands if isinstance(command, sip.Accept))
    assert re.search(rb"m=audio \d+ RTP/AVP 8\r\n", accept.sdp)
    assert b"a=crypto" in accept.sdp
    assert b"telephone-event" not in accept.sdp
    assert accept.session == sip.SessionPolicy("accept", 600)
    plain = offer(msgspec.structs.replace(THEIR_OFFER, srtp="off"))
    door.on_event(msgspec.structs.replace(call, dialog="d-2", sdp=plain))
    assert house.commands[-1] == sip.Reject("d-2", 488)


def dialled(house: House, placing: Placing, former: Line | None = None) -> sip.Place:
    line = asyncio.run(house.outbound.dial(placing))("c-1.2", lambda told: None, former)
    line.media_said(media.LegOpened(100.0, "c-1.2", port=20002, ssrc=1))
    return house.placed[-1]


def test_the_target_of_a_transfer_is_called_through_its_trunk(house: House) -> None:
    """As any call of ours, but for how long it may ring; it counts among the trunk's calls until it is released."""
    headers = (("Replaces", "1@h;to-tag=2;from-tag=3"), ("Referred-By", "<sip:desk@provider.example>"))
    place = dialled(house, Placing("100", "provider", "555", 20.0, headers))
    assert (place.uri, place.from_uri) == ("sip:100@provider.example", "sip:555@provider.example")
    assert (place.flow.remote, place.credentials) == (("192.0.2.1", 5060), sip.Credentials("4711", "hush"))
    assert place.headers == headers
    assert house.trunks.book.live("provider") == 1


def test_an_address_is_called_as_it_stands_through_a_trunk_and_a_telephone_number_in_its_domain(house: House) -> None:
    """A Refer-To names a dialog's own address, whatever its domain; `tel:` has none."""
    assert dialled(house, Placing("sip:x@198.51.100.7:5070", "provider")).uri == "sip:x@198.51.100.7:5070"
    other = House(msgspec.structs.replace(TRUNK, max_calls=0))
    assert dialled(other, Placing("tel:+4930", "provider")).uri == "sip:+4930@provider.example"


def test_without_a_trunk_only_addresses_are_called_and_straight(house: House) -> None:
    """No password of ours goes there, and numbers lead nowhere."""
    house.trunks = Trunks([], clock=house)  # type: ignore[arg-type]
    house.trunks.start(house)  # type: ignore[arg-type]
    house.outbound = Outbound(house, house.trunks, house, SipLineOptions())  # type: ignore[arg-type]
    place = dialled(house, Placing("sip:x@198.51.100.7:5070;transport=tcp"))
    assert (place.flow.transport, place.flow.remote) == ("tcp", ("198.51.100.7", 5070))
    assert (place.from_uri, place.credentials) == ("sip:gateway@192.0.2.9", None)
    for nowhere in ("tel:+4930", "100", "http://x"):
        with pytest.raises(PeerError):
            asyncio.run(house.outbound.dial(Placing(nowhere)))


def test_a_full_trunk_places_no_transfer_either(house: House) -> None:
    """Its limit is its limit."""
    dialled(house, Placing("100", "provider"))
    with pytest.raises(CapacityError):
        dialled(house, Placing("101", "provider"))


@pytest.mark.parametrize("transfers", [True, False])
def test_a_trunk_says_whether_it_may_transfer(transfers: bool) -> None:
    """Off unless its entry says so, whatever holds for others."""
    trunk = msgspec.structs.replace(TRUNK, transfers=transfers)
    rules = House(trunk).trunks.book.rules("provider")
    assert SipLineOptions(accept_transfers=not transfers).for_trunk(rules).accept_transfers is transfers
    assert not TRUNK.transfers
