"""An INVITE with headers nobody could have meant, from the wire to the dialplan: a call or a refusal, never silence."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hallway import NotingLeg, StillClock
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.call.ports import Incoming, LineFactory
from gateway.call.sip_line import SipDoor, SipLineOptions
from gateway.call.trunks import TrunkBook, TrunkRules
from gateway.core import events as e
from gateway.core.ids import SeededIds
from gateway.dialplan import Dialplan, Offer, load
from gateway.sip import commands as sip
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.events import Action, Send
from gateway.sip.flow import Flow
from gateway.sip.message import Response, parse
from gateway.sip.names import COMMA_SEPARATED, LONG, SINGLE

FLOW = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.9", 5060))
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\n"
DIALPLAN = """
default: rest
routes:
  marked: {match: {headers: {X-Shop: "7*"}}, steps: [answer]}
  asserted: {match: {caller: "+49*"}, steps: [answer]}
  rest: {steps: [answer]}
"""

NAMES = [*sorted(set(LONG.values()) - set(SINGLE)), "X-Shop", "X-Other"]
PIECES = st.sampled_from(
    [
        *('"', ",", "<", ">", "<sip:+49@b>", "<tel:+4930>", "sip:", ";", "=", ";index=1.1", "?Reason=%ff", ";reason=x"),
        *("%00", "%ff", "\\", " ", "100rel", "90", "\udcff", "\0", "é", "*", "id;user", ";encoding=hex", "7", "[", "("),
    ]
)
VALUES = st.lists(PIECES, max_size=6).map("".join) | st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\r\n"), max_size=30
)
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6).map(
    lambda lines: tuple(f"{name}: {value}" for name, value in lines)
)
UNCUT = tuple(
    f'{name}: a,"' for name in sorted(COMMA_SEPARATED - {"Accept", "Via", "Record-Route", "Contact", "Require"})
)


class FrontDoor:
    """Endpoint, door, trunks and dialplan in a row; every call that gets through is refused by 480 in the end."""

    def __init__(self, dialplan: Dialplan) -> None:
        self.endpoint = Endpoint(EndpointOptions(), SeededIds("door"))
        book = TrunkBook([TrunkRules("carrier", ("192.0.2.0/24",), trusted=True)])
        self.door = SipDoor(
            send=self._send,
            leg=NotingLeg(),
            clock=StillClock(),
            options=SipLineOptions(),
            incoming=self._incoming,
            screen=book.screen,
        )
        self._dialplan = dialplan
        self.answers: list[int] = []
        self.brought_in = 0

    def receive(self, data: bytes) -> None:
        self._act(self.endpoint.receive(data, FLOW, 100.0))

    def _send(self, command: sip.AnyCommand) -> None:
        self._act(self.endpoint.send(command, 100.0))

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if not isinstance(action, Send):
                self.door.on_event(action)  # type: ignore[arg-type]
                continue
            answer = parse(action.data)
            assert isinstance(answer, Response)
            self.answers.append(answer.status)

    def _incoming(self, who: Incoming, line: LineFactory) -> None:
        """What the desk does with it: find the route, write the first event down."""
        self.brought_in += 1
        offer = Offer(who.called, who.caller, who.door, who.trunk, who.headers, who.facts)
        plan = self._dialplan.route(offer, datetime(2027, 1, 1, tzinfo=UTC))
        started = e.CallStarted(1.0, "c", who.door, who.caller, who.called, plan.route, who.headers, who.facts)
        assert e.decode(e.encode(started)) == started
        line("c", lambda said: None, None, None).reject(480, None)


@pytest.fixture(scope="module")
def dialplan(tmp_path_factory: pytest.TempPathFactory) -> Dialplan:
    path: Path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    path.write_text(DIALPLAN)
    return load(path)


@settings(max_examples=300, deadline=None)
@given(headers=HEADERS, display=VALUES, user=VALUES)
@example(headers=UNCUT, display='"', user="%00%ff")
@example(headers=UNCUT, display="", user="a")
@example(headers=('P-Asserted-Identity: ,"',), display="", user="")
def test_every_invite_comes_to_an_end(dialplan: Dialplan, headers: tuple[str, ...], display: str, user: str) -> None:
    """Whatever stands in it: no exception leaves the house, the caller gets a final answer, and no call stays."""
    door = FrontDoor(dialplan)
    lines = [
        "INVITE sip:desk@192.0.2.1 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-1;rport",
        "Max-Forwards: 70",
        f"From: {display}<sip:{user}@example.org>;tag=theirs",
        "To: <sip:desk@192.0.2.1>",
        "Call-ID: one",
        "CSeq: 1 INVITE",
        "Contact: <sip:alice@192.0.2.9>",
        *headers,
        "Content-Type: application/sdp",
        f"Content-Length: {len(SDP)}",
    ]
    door.receive("\r\n".join(lines).encode(errors="surrogateescape") + b"\r\n\r\n" + SDP)
    assert max(door.answers) >= 300
    assert door.endpoint.calls == 0


def test_all_lists_at_once_are_still_a_call(dialplan: Dialplan) -> None:
    """Lists that cannot be cut say nothing; a trusted trunk passes on what strangers wrote."""
    door = FrontDoor(dialplan)
    head = ["INVITE sip:desk@192.0.2.1 SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-1", *UNCUT]
    head += ["From: <sip:a@b>;tag=t", "To: <sip:b@c>", "Call-ID: one", "CSeq: 1 INVITE", "Contact: <sip:a@192.0.2.9>"]
    head += ["Content-Type: application/sdp", f"Content-Length: {len(SDP)}"]
    door.receive("\r\n".join(head).encode() + b"\r\n\r\n" + SDP)
    assert (door.answers, door.brought_in) == ([100, 480], 1)
