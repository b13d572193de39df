"""Which trunk a call came by, whom to believe about its caller, and how much a trunk may bring."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call.ports import Incoming, LineFactory
from gateway.call.sip_line import SipDoor, SipLineOptions
from gateway.call.trunks import TrunkBook, TrunkRules, asserted_caller, unscreened
from gateway.core.errors import CapacityError, PeerError
from gateway.sip import commands as sip
from gateway.sip.events import CallOffered
from gateway.sip.flow import Flow
from gateway.sip.offer_answer import LocalMedia, offer

PROVIDER, STRANGER = "198.51.100.7", "203.0.113.9"
ASSERTED = ("P-Asserted-Identity", '"Ann" <sip:+4930123@provider.example>')
PREFERRED = ("P-Preferred-Identity", "<sip:200@pbx.example>")


def offered(
    source: str = PROVIDER, called: str = "100", *headers: tuple[str, str], at: float = 10.0, sdp: bytes | None = None
) -> CallOffered:
    flow = Flow("udp", ("192.0.2.1", 5060), (source, 5060))
    return CallOffered(at, "d-1", flow, "call-id", "1001", called, "sip:1001@x", "sip:100@x", "", sdp, headers)


def book(*trunks: TrunkRules) -> TrunkBook:
    return TrunkBook(trunks or (TrunkRules("provider", ("198.51.100.0/24",)),))


def test_a_call_belongs_to_the_trunk_its_source_belongs_to() -> None:
    """By the address it really came from, not by what it says."""
    assert book().screen(offered()).trunk == "provider"
    assert book().screen(offered(STRANGER)).trunk == ""


def test_the_narrowest_network_wins() -> None:
    """A PBX within a provider's network is itself."""
    one = book(TrunkRules("provider", ("198.51.100.0/24",)), TrunkRules("pbx", (PROVIDER,)))
    assert one.screen(offered()).trunk == "pbx"
    assert one.screen(offered("198.51.100.8")).trunk == "provider"


def test_two_accounts_with_one_provider_are_told_apart_by_whom_it_calls() -> None:
    """A registrar addresses a call to the contact that was registered."""
    both = [TrunkRules(name, (PROVIDER,), username=name) for name in ("sales", "support")]
    assert book(*both).screen(offered(PROVIDER, "support")).trunk == "support"
    assert book(*both).screen(offered(PROVIDER, "100")).trunk == "sales"


def test_addresses_learnt_later_count_too() -> None:
    """A trunk named by a host name is where that name leads."""
    one = book(TrunkRules("provider"))
    assert one.screen(offered()).trunk == ""
    one.learn("provider", [PROVIDER])
    assert one.screen(offered()).trunk == "provider"


def test_only_a_trusted_trunk_may_say_who_calls() -> None:
    """RFC 3325: an identity asserted by anybody else neither counts nor reaches the dialplan."""
    trusted = book(TrunkRules("provider", (PROVIDER,), trusted=True))
    assert trusted.screen(offered(PROVIDER, "100", ASSERTED)).caller == "+4930123"
    assert trusted.screen(offered(PROVIDER, "100")).caller == "1001"
    for one in (book(), trusted):
        screened = one.screen(offered(STRANGER, "100", ASSERTED, PREFERRED, ("X-Shop", "7")))
        assert (screened.caller, screened.headers) == ("1001", {"X-Shop": "7"})


DIVERTED = (("diverted-from", "4930"), ("user-to-user", "42"), ("replaces", "d-0"), ("account", "desk"))


def test_only_a_trusted_trunk_may_say_what_is_believed() -> None:
    """Diversion and the like are worth what their sender is (RFC 5806 6); the account is our own finding."""
    call = msgspec.structs.replace(offered(PROVIDER, "100", ASSERTED), facts=DIVERTED)
    trusted = book(TrunkRules("provider", (PROVIDER,), trusted=True)).screen(call).facts
    assert trusted == {
        "diverted-from": "4930",
        "user-to-user": "42",
        "account": "desk",
        "trunk": "provider",
        "asserted-identity": "+4930123",
    }
    assert book().screen(call).facts == {"account": "desk", "trunk": "provider"}
    stranger = msgspec.structs.replace(offered(STRANGER, "100", ASSERTED), facts=DIVERTED)
    assert book().screen(stranger).facts == unscreened(stranger).facts == {"account": "desk"}


def test_a_fact_is_of_a_length_that_can_be_spoken() -> None:
    """It comes from outside, and may be as long as a header."""
    call = msgspec.structs.replace(offered(), facts=(("user-to-user", "x" * 30_000),))
    facts = book(TrunkRules("provider", (PROVIDER,), trusted=True)).screen(call).facts
    assert len(facts["user-to-user"]) == 256


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ((("P-Asserted-Identity", "<sip:ann@x>, <tel:+4930123>"),), "+4930123"),
        ((("P-Asserted-Identity", "<sip:ann@x>"), ("P-Asserted-Identity", "rubbish")), "ann"),
        ((("P-Asserted-Identity", "<sip:ann@x>"), ("P-Asserted-Identity", ',"')), "ann"),
        ((ASSERTED, ("Privacy", "header; ID")), ""),
        ((ASSERTED, ("Privacy", "none")), "+4930123"),
        ((PREFERRED,), "200"),
        ((PREFERRED, ASSERTED), "+4930123"),
        ((PREFERRED, ("P-Asserted-Identity", "rubbish")), "200"),
        ((), ""),
    ],
)
def test_what_is_asserted(headers: sip.Headers, caller: str) -> None:
    """A number before a name; and whoever asked for privacy gets it."""
    assert asserted_caller(headers) == caller


@given(st.lists(st.tuples(st.sampled_from(["P-Asserted-Identity", "Privacy"]), st.text())))
def test_no_assertion_breaks_anything(headers: list[tuple[str, str]]) -> None:
    """It comes from the wire."""
    asserted_caller(tuple(headers))


def test_a_full_trunk_says_so_and_has_room_again_when_a_call_ends() -> None:
    """Each trunk has its own limit; giving a seat back twice frees one."""
    one = book(TrunkRules("provider", (PROVIDER,), max_calls=2))
    first, second = one.screen(offered()), one.screen(offered())
    with pytest.raises(CapacityError):
        one.screen(offered())
    one.screen(offered(STRANGER))
    first.release()
    first.release()
    assert one.live("provider") == 1
    one.screen(offered())
    second.release()


def test_calls_per_second_are_limited_with_a_seconds_worth_at_once() -> None:
    """Two a second: two now, one more half a second later."""
    one = book(TrunkRules("provider", (PROVIDER,), calls_per_s=2))
    one.screen(offered())
    one.screen(offered())
    with pytest.raises(CapacityError):
        one.screen(offered())
    one.screen(offered(at=10.5))
    with pytest.raises(CapacityError):
        one.screen(offered(at=10.5))


class Hall:
    """A door with a trunk, and a desk that may be full."""

    def __init__(self, rules: TrunkRules) -> None:
        self.sent: list[sip.AnyCommand] = []
        self.arrived: list[Incoming] = []
        self.fault: Exception | None = None
        self.book = TrunkBook([rules])
        self.door = SipDoor(
            send=self.sent.append,
            leg=None,  # type: ignore[arg-type]
            clock=None,  # type: ignore[arg-type]
            options=SipLineOptions(),
            incoming=self._incoming,
            screen=self.book.screen,
        )

    def _incoming(self, incoming: Incoming, line: LineFactory) -> None:
        if self.fault is not None:
            raise self.fault
        self.arrived.append(incoming)
        self.line = line("c-1", lambda _: None, None, None)


def test_the_door_tells_the_desk_the_trunk_and_frees_its_seat_with_the_line() -> None:
    """`trunk` is what the dialplan matches."""
    hall = Hall(TrunkRules("provider", (PROVIDER,), max_calls=1))
    hall.door.on_event(offered())
    assert hall.arrived[0].trunk == "provider"
    hall.door.on_event(offered())
    assert hall.sent == [sip.Reject("d-1", 503, headers=(("Retry-After", "5"),))]
    hall.line.release()
    assert hall.book.live("provider") == 0


@pytest.mark.parametrize("fault", [CapacityError("full"), PeerError("no")])
def test_a_call_that_does_not_come_about_takes_no_seat(fault: Exception) -> None:
    """Else a full desk would fill the trunk, too."""
    hall = Hall(TrunkRules("provider", (PROVIDER,), max_calls=1))
    hall.fault = fault
    hall.door.on_event(offered())
    assert hall.book.live("provider") == 0


def test_a_trunk_takes_only_its_own_codecs() -> None:
    """An offer of another codec is refused with 488, whatever the gateway takes elsewhere."""
    hall = Hall(TrunkRules("provider", (PROVIDER,), codecs=("PCMA",)))
    hall.door.on_event(offered(sdp=offer(LocalMedia("192.0.2.7", 4000, ("PCMU",)))))
    assert hall.sent == [sip.Reject("d-1", 488)]
    hall.door.on_event(offered(sdp=offer(LocalMedia("192.0.2.7", 4000, ("PCMU", "PCMA")))))
    assert len(hall.arrived) == 1


def test_a_trunk_may_want_another_protection_than_the_gateway() -> None:
    """Required on the open internet, off towards the PBX next door; unsaid, it is the gateway's."""
    options = SipLineOptions(srtp="optional", srtp_master=lambda: b"")
    assert options.for_trunk(TrunkRules("a", srtp="required")).srtp == "required"
    assert options.for_trunk(TrunkRules("a")).srtp == "optional"
    assert options.for_trunk(None) is options


def test_a_trunk_says_how_keys_and_session_timers_go() -> None:
    """Both ways the same options are taken."""
    options = SipLineOptions().for_trunk(TrunkRules("a", dtmf="info", session=sip.SessionPolicy("off")))
    assert (options.dtmf, options.session.mode) == ("info", "off")
    assert not options.local_media("192.0.2.1", 4000).dtmf
    assert SipLineOptions().local_media("192.0.2.1", 4000).dtmf
