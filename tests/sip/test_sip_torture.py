"""RFC 4475 and RFC 5118: every torture message comes to the end the RFC asks for, and leaves nothing behind."""

from __future__ import annotations

import pytest
import sip_torture as torture
from sip_wire import Line, statuses

from gateway.core.errors import PeerError
from gateway.sip.events import CallOffered
from gateway.sip.headers import parse_name_addr
from gateway.sip.message import Request, Response, parse
from gateway.sip.offer_answer import LocalMedia
from gateway.sip.offer_answer import answer as negotiate
from gateway.sip.sdp import parse_sdp


def answer(message: bytes) -> tuple[Line, list[int]]:
    line = Line()
    return line, statuses(line.receive(message))


def read(name: str) -> Request:
    message = parse(torture.VALID[name])
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("wsinv", 481),  # its To has a tag: a dialog we do not have
        ("intmeth", 501),
        ("esc01", 100),
        ("escnull", 405),
        ("esc02", 501),
        ("lwsdisp", 200),
        ("longreq", 100),
        ("dblreq", 405),
        ("semiuri", 200),
        ("transports", 200),
        ("mpart01", 404),
    ],
)
def test_valid_messages_are_understood(name: str, status: int) -> None:
    """3.1.1: none of them is malformed; one answer each."""
    line, answers = answer(torture.VALID[name])
    assert answers == [status]
    assert line.endpoint.counters["malformed"] == 0


def test_the_short_tortuous_invite_in_detail() -> None:
    """3.1.1.1: folding, spaces, escapes, and lists in every place they may be."""
    invite = read("wsinv")
    assert (invite.to.tag, invite.from_.tag) == ("1918181833n", "98asjd8")
    assert invite.from_.display == 'J Rosenberg \\"'
    assert str(invite.cseq) == "9 INVITE"
    assert (invite.via.host, invite.via.branch, len(invite.vias)) == ("192.0.2.2", "390skdjuw", 3)
    assert invite.contact is not None
    assert (invite.contact.display, invite.contact.params["q"]) == ('Quoted string ""', "0.33")
    assert invite.first("NewFangledHeader") == "newfangled value continued newfangled value"
    assert invite.first("Subject") == ""
    assert len(invite.body) == 150


def test_the_widest_range_of_characters_in_detail() -> None:
    """3.1.1.2: NUL in a quotation is allowed by the grammar."""
    request = read("intmeth")
    assert request.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert request.to.display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert request.from_.tag == "_token~1'+`*%!-."
    assert request.target.host == "example.com"


def test_escapes_in_detail() -> None:
    """3.1.1.3 and 3.1.1.4: unescaped only once they are apart; %00 is a character like others."""
    line, _ = answer(torture.VALID["esc01"])
    offer = line.event(CallOffered)
    assert (offer.called, offer.caller) == ("sips:user@example.com", "I have spaces")
    contacts = [parse_name_addr(value).uri.user for value in read("escnull").values("Contact")]
    assert contacts == ["\0", "\0\0"]


def test_a_semicolon_in_the_user_part() -> None:
    """3.1.1.9: no parameter of the address."""
    target = read("semiuri").target
    assert (target.user, target.params) == ("user;par=u@example.net", "")


@pytest.mark.parametrize("name", torture.RESPONSES)
def test_valid_responses_are_understood(name: str) -> None:
    """3.1.1.12 and 3.1.1.13: the phrase may be anything, or nothing."""
    message = parse(torture.RESPONSES[name].encode() + b"\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(message, Response)


@pytest.mark.parametrize("name", torture.INVALID)
def test_invalid_requests_are_refused(name: str) -> None:
    """3.1.2, 3.3.1, 3.3.8, 3.3.9: 400, 505 for another version; nothing is kept."""
    line, answers = answer(torture.INVALID[name])
    assert answers == [505 if name == "badvers" else 400]
    assert line.endpoint.transactions == 0
    assert line.events == []


@pytest.mark.parametrize(("name", "status"), [("baddate", 100), ("baddn", 200)])
def test_what_may_be_tolerated_is(name: str, status: int) -> None:
    """3.1.2.12 and 3.1.2.15: real exchanges send these."""
    assert answer(torture.TOLERABLE[name])[1] == [status]


@pytest.mark.parametrize("name", torture.DROPPED)
def test_responses_to_be_dropped_are(name: str) -> None:
    """3.1.2.5, 3.1.2.19, 3.3.10."""
    line, answers = answer(torture.DROPPED[name])
    assert answers == []
    assert line.events == []


@pytest.mark.parametrize("name", torture.SEMANTIC)
def test_well_formed_requests_meet_their_meaning(name: str) -> None:
    """3.2 to 3.4."""
    message, status = torture.SEMANTIC[name]
    line, answers = answer(message)
    assert answers == [status]
    assert line.endpoint.counters["malformed"] == 0


def test_two_requests_without_a_branch_are_told_apart() -> None:
    """3.2.1: the cookie alone is no branch, so RFC 2543's rules decide."""
    line = Line()
    message = torture.VALID["esc01"].replace(b"branch=z9hG4bKkdjuw", b"branch=z9hG4bK")
    for call_id in (b"one", b"one", b"two"):
        line.receive(message.replace(b"Call-ID: torture", b"Call-ID: " + call_id))
    assert len(line.events) == line.endpoint.transactions == 2


def test_unquoted_parameters_are_the_headers() -> None:
    """3.3.12 and 3.3.13: brackets make them the address's; 3.1.2.13: a ? needs brackets."""
    outside = parse_name_addr("sip:+19725552222@gw1.example.net;unknownparam")
    inside = parse_name_addr("<sip:+19725552222@gw1.example.net;unknownparam>")
    assert (outside.params, outside.uri.params) == ({"unknownparam": None}, "")
    assert (inside.params, inside.uri.params) == ({}, ";unknownparam")
    with pytest.raises(PeerError):
        parse_name_addr("sip:user@example.com?Route=%3Csip:sip.example.com%3E")


def test_an_address_with_headers_but_no_brackets() -> None:
    """3.1.2.13: REGISTER is refused for being one; the same Contact in an INVITE, which needs it, is malformed."""
    message = torture.SEMANTIC["regbadct"][0].replace(b"REGISTER", b"INVITE")
    line, answers = answer(message)
    assert answers == [400]
    assert line.events == []
    assert line.endpoint.calls == 0


@pytest.mark.parametrize("name", torture.IPV6)
def test_ipv6(name: str) -> None:
    """RFC 5118."""
    message, status = torture.IPV6[name]
    assert answer(message)[1] == [status]


def test_a_colon_too_many_in_an_ipv6_reference_is_passed_over() -> None:
    """RFC 5118 4.10: RFC 3261's grammar allows it by mistake; what we send lacks it."""
    message = parse(torture.IPV6["ipv6-bug-abnf-3-colons"][0])
    assert isinstance(message, Request)
    assert message.target.host == "[2001:db8::192.0.2.1]"


def test_addresses_of_both_versions_in_one_description() -> None:
    """RFC 5118 4.8: the audio is where its own section says."""
    description = parse_sdp(torture.MIXED_SDP.encode())
    assert [description.host_of(media) for media in description.media] == ["192.0.2.1", "2001:db8::1"]
    assert negotiate(torture.MIXED_SDP.encode(), LocalMedia("192.0.2.1", 6000)).host == "192.0.2.1"


def test_both_documents_are_here_whole() -> None:
    """Every message that RFC 4475 and RFC 5118 name is tested, once."""
    groups = (torture.VALID, torture.RESPONSES, torture.INVALID, torture.TOLERABLE, torture.DROPPED, torture.SEMANTIC)
    ours = sorted(name for group in groups for name in group)
    assert ours == sorted(" ".join(torture.RFC_4475.values()).split())
    assert len(ours) == 49
    assert sorted(torture.IPV6) == sorted(torture.RFC_5118.split())
