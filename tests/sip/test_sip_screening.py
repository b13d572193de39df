"""What is refused before anybody looks at it, and what gets no answer at all (RFC 3261 8.2)."""

from __future__ import annotations

import pytest
from sip_wire import OUR_SDP, SDP, Line, ack_of, invite, request, statuses

from gateway.sip.commands import Accept
from gateway.sip.events import CallOffered


def refused(message: bytes, **options: object) -> tuple[int, dict[str, str]]:
    """The one final answer to it, as status and headers."""
    line = Line(**options)
    final = [m for m in line.receive(message) if statuses([m])[0] >= 200]
    assert line.events == []
    (answer,) = final
    return statuses([answer])[0], dict(answer.headers)


def test_options_tells_what_we_can() -> None:
    """RFC 3261 11.2."""
    status, headers = refused(request("OPTIONS"))
    assert status == 200
    assert {"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "UPDATE"} <= set(headers["Allow"].split(", "))
    assert headers["Accept"] == "application/sdp"


@pytest.mark.parametrize("method", ["REGISTER", "SUBSCRIBE", "PUBLISH"])
def test_a_method_we_know_and_do_not_serve_gets_405_with_allow(method: str) -> None:
    """RFC 3261 8.2.1."""
    status, headers = refused(request(method))
    assert status == 405
    assert "INVITE" in headers["Allow"]


def test_a_method_nobody_knows_gets_501_with_allow() -> None:
    """RFC 3261 21.5.2, RFC 4475 3.3.x."""
    status, headers = refused(request("BREW"))
    assert status == 501
    assert "INVITE" in headers["Allow"]


def test_an_unknown_scheme_gets_416() -> None:
    """RFC 3261 8.2.2.1."""
    assert refused(invite(uri="nobodyknows:thisscheme"))[0] == 416


def test_a_telephone_number_is_an_address() -> None:
    """RFC 3966: trunks call numbers."""
    line = Line()
    line.receive(invite(uri="tel:+4930123;phone-context=example.com"))
    assert line.event(CallOffered).called == "+4930123"


def test_no_hops_left_gets_483() -> None:
    """A gateway stands for what it would call next."""
    assert refused(invite().replace(b"Max-Forwards: 70", b"Max-Forwards: 0"))[0] == 483


def test_options_without_hops_left_is_about_us() -> None:
    """RFC 3261 11: so a client finds out what is on its path."""
    assert refused(request("OPTIONS").replace(b"Max-Forwards: 70", b"Max-Forwards: 0"))[0] == 200


def test_the_same_call_by_another_way_gets_482() -> None:
    """RFC 3261 8.2.2.2: a proxy forked, and both branches reached us."""
    line = Line()
    line.receive(invite(branch="z9hG4bK-1"))
    assert statuses(line.receive(invite(branch="z9hG4bK-2"))) == [482]
    line.event(CallOffered)


def test_an_extension_we_lack_gets_420_naming_it() -> None:
    """RFC 3261 8.2.2.3."""
    status, headers = refused(invite(headers=("Require: nothingSupportsThis, alsoNothing",)))
    assert (status, headers["Unsupported"]) == (420, "nothingSupportsThis, alsoNothing")


def test_a_proxys_requirement_is_not_ours() -> None:
    """RFC 3261 20.29: Proxy-Require is for proxies."""
    line = Line()
    line.receive(invite(headers=("Proxy-Require: nothingSupportsThis",)))
    line.event(CallOffered)


def test_a_body_that_is_no_session_gets_415_with_accept() -> None:
    """RFC 3261 8.2.3."""
    status, headers = refused(invite(content_type="application/unknown"))
    assert (status, headers["Accept"]) == (415, "application/sdp")


def test_an_encoded_body_gets_415_with_accept_encoding() -> None:
    """RFC 3261 8.2.3."""
    status, headers = refused(invite(headers=("Content-Encoding: gzip",)))
    assert (status, headers["Accept-Encoding"]) == (415, "identity")


def test_a_session_inside_a_multipart_body_is_found() -> None:
    """RFC 5621: trunks send ISUP beside it."""
    part = b"--b1\r\nContent-Type: application/isup\r\n\r\n\x01\x02\r\n--b1\r\nContent-Type: application/sdp\r\n\r\n"
    line = Line()
    line.receive(invite(body=part + SDP + b"\r\n--b1--\r\n", content_type='multipart/mixed; boundary="b1"'))
    assert line.event(CallOffered).sdp == SDP


HOPS = b"Max-Forwards: 70"
REFUSALS = {
    "400 without what a request needs": (invite().replace(b"CSeq: 1 INVITE\r\n", b""), {}, 400, {}),
    "401 for strangers": (invite(), {"unknown_sources": "challenge"}, 401, {"WWW-Authenticate": "Digest realm="}),
    "403 for strangers": (invite(), {"unknown_sources": "reject"}, 403, {}),
    "403 for a transfer of nothing": (request("REFER"), {}, 403, {}),
    "405 for registrations": (request("REGISTER"), {}, 405, {"Allow": "INVITE"}),
    "405 for subscriptions": (request("SUBSCRIBE", headers=("Event: presence",)), {}, 405, {"Allow": "INVITE"}),
    "405 for publications": (request("PUBLISH", headers=("Event: presence",)), {}, 405, {"Allow": "INVITE"}),
    "404 for texts to nobody": (request("MESSAGE", body=b"hi", content_type="text/plain"), {}, 404, {}),
    "406 for who takes no SDP": (invite(headers=("Accept: text/plain",)), {}, 406, {}),
    "415 for another body": (invite(content_type="text/plain"), {}, 415, {"Accept": "application/sdp"}),
    "415 for a packed body": (invite(headers=("Content-Encoding: gzip",)), {}, 415, {"Accept-Encoding": "identity"}),
    "416 for another scheme": (invite(uri="http://example.org"), {}, 416, {}),
    "420 for an extension": (invite(headers=("Require: teleport",)), {}, 420, {"Unsupported": "teleport"}),
    "422 for a short session": (
        invite(headers=("Supported: timer", "Session-Expires: 60")),
        {"min_session_expires_s": 100},
        422,
        {"Min-SE": "100"},
    ),
    "481 for a dialog that is not": (request("BYE", to_tag="none"), {}, 481, {}),
    "483 when no hop is left": (invite().replace(HOPS, b"Max-Forwards: 0"), {}, 483, {}),
    "501 for what nobody knows": (request("BREW"), {}, 501, {"Allow": "INVITE"}),
    "503 when full": (invite(), {"max_calls": 0, "retry_after_s": 7}, 503, {"Retry-After": "7"}),
    "505 for another version": (invite().replace(b"SIP/2.0\r\n", b"SIP/3.0\r\n", 1), {}, 505, {}),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_every_refusal_has_its_status_and_says_what_would_help(name: str) -> None:
    """RFC 3261 8.2 and 21.4: in one place, with the header each must carry."""
    message, options, status, said = REFUSALS[name]
    got, headers = refused(message, **options)
    assert got == status == int(name[:3])
    for header, start in said.items():
        assert headers[header].startswith(start)


@pytest.mark.parametrize(
    ("headers", "content_type", "status", "said"),
    [
        ((), "application/dtmf-relay", 200, ()),
        ((), "application/dtmf", 200, ()),
        ((), "application/media_control+xml", 415, ("Accept", "application/dtmf-relay, application/dtmf")),
        (("Content-Disposition: render;handling=optional",), "text/plain", 200, ()),
        (("Info-Package: conference",), "application/dtmf", 469, ("Recv-Info", "")),
    ],
)
def test_info_is_for_keys(headers: tuple[str, ...], content_type: str, status: int, said: tuple[str, ...]) -> None:
    """RFC 6086 4.2.2: a package we do not know is 469 with those we do, none; another body is 415."""
    line = Line()
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok))
    fields = {"branch": "z9hG4bK-2", "cseq": 2, "to_tag": ok.to.tag, "body": b"5", "content_type": content_type}
    (answer,) = line.receive(request("INFO", headers=headers, **fields))
    assert statuses([answer]) == [status]
    assert not said or said in answer.headers
    assert line.endpoint.calls == 1


@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE"])
def test_what_belongs_into_a_dialog_gets_481_without_one(method: str) -> None:
    """RFC 3261 12.2.2."""
    assert refused(request(method))[0] == 481


def test_an_invite_nobody_could_answer_gets_400() -> None:
    """RFC 3261 8.1.1.8: without a Contact there is nobody to say BYE to."""
    assert refused(invite(contact=None))[0] == 400


# Overload


def test_a_call_too_many_gets_503_with_retry_after_and_leaves_nothing() -> None:
    """The refusal is stateless: repeated INVITEs get it again, the ACK is dropped."""
    line = Line(max_calls=1, retry_after_s=9)
    line.receive(invite(call_id="a"))
    before = line.endpoint.transactions
    (full,) = line.receive(invite(call_id="b", branch="z9hG4bK-b"))
    assert (statuses([full]), full.required("Retry-After")) == ([503], "9")
    (again,) = line.receive(invite(call_id="b", branch="z9hG4bK-b"))
    assert again.to.tag == full.to.tag
    assert line.receive(ack_of(full)) == []
    assert (line.endpoint.transactions, line.endpoint.calls) == (before, 1)


def test_a_flood_of_requests_leaves_nothing() -> None:
    """Whatever needs no memory gets none: OPTIONS, CANCELs for nothing, requests for no dialog, refusals."""
    line = Line()
    for number in range(50):
        fields = {"branch": f"z9hG4bK-{number}", "call_id": str(number)}
        line.receive(request("OPTIONS", **fields))
        line.receive(request("CANCEL", **fields))
        line.receive(request("BYE", to_tag="x", **fields))
        line.receive(request("SUBSCRIBE", **fields))
        line.receive(invite(headers=("Require: nothing",), **fields))
    assert line.endpoint.transactions == 0
    assert line.endpoint.next_deadline() is None


def test_the_last_transactions_are_for_calls_that_are_up() -> None:
    """New calls are refused a little before the limit, so that a BYE still gets through."""
    line = Line(max_transactions=10)
    answers = [line.receive(invite(branch=f"z9hG4bK-{n}", call_id=str(n)))[0] for n in range(12)]
    assert statuses(answers) == [100] * 9 + [503] * 3
    handle = next(event.dialog for event in line.events if isinstance(event, CallOffered) and event.call_id == "0")
    (ok,) = line.do(Accept(handle, OUR_SDP))
    line.receive(ack_of(ok))
    assert statuses(line.receive(request("BYE", branch="z9hG4bK-b", call_id="0", cseq=2, to_tag=ok.to.tag))) == [200]


# Scanners and rubbish


def test_scanners_get_no_answer() -> None:
    """An answer would only tell them that somebody is here."""
    line = Line()
    assert line.receive(request("OPTIONS", headers=("User-Agent: friendly-scanner",))) == []
    assert line.endpoint.counters["scanners"] == 1


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\0\0\0\0",
        b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        b"SIP/2.0 4294967301 better not break the receiver\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9\nX: y\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
        b"\xff" * 1000,
    ],
)
def test_rubbish_is_counted_and_not_answered(rubbish: bytes) -> None:
    """Nothing that comes by wire may raise, and what cannot be answered is not."""
    line = Line()
    assert line.receive(rubbish) == []
    assert line.endpoint.transactions == 0


@pytest.mark.parametrize(
    ("find", "put"),
    [
        (b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE"),
        (b"CSeq: 1 OPTIONS", b"CSeq: 36893488147419103232 OPTIONS"),
        (b"From: Alice <sip:alice@example.org>", b'From: "Alice <sip:alice@example.org>'),
        (b"To: <sip:desk@192.0.2.1>", b"To: <sip:desk@192.0.2.1"),
        (b"Max-Forwards: 70", b"Max-Forwards: 300"),
        (b"Call-ID: call-1", b"Call-ID: call-1\r\nCall-ID: call-2"),
        (b"Content-Length: 0", b"Content-Length: -999"),
        (b"Content-Length: 0", b"Content-Length: 9999"),
        (b"OPTIONS sip:desk@192.0.2.1 SIP/2.0", b"OPTIONS <sip:desk@192.0.2.1> SIP/2.0"),
        (b"OPTIONS sip:desk@192.0.2.1 SIP/2.0", b"OPTIONS sip:desk@192.0.2.1; lr SIP/2.0"),
        (b"OPTIONS sip:desk@192.0.2.1 SIP/2.0", b"OPTIONS  sip:desk@192.0.2.1  SIP/2.0"),
    ],
)
def test_a_malformed_request_gets_400_and_leaves_nothing(find: bytes, put: bytes) -> None:
    """RFC 3261 21.4.1; answered without keeping anything."""
    line = Line()
    message = request("OPTIONS")
    assert find in message
    (answer,) = line.receive(message.replace(find, put))
    assert statuses([answer]) == [400]
    assert line.endpoint.transactions == 0
    assert line.endpoint.counters["malformed"] == 1


def test_another_version_gets_505() -> None:
    """RFC 3261 21.5.6."""
    assert refused(request("OPTIONS").replace(b"SIP/2.0\r\nVia", b"SIP/7.0\r\nVia"))[0] == 505


def test_text_that_is_not_utf8_comes_through_and_goes_back_unharmed() -> None:
    """Events must be writable, answers must match byte for byte."""
    line = Line()
    line.receive(invite().replace(b"From: Alice", b"From: Andr\xe9").replace(b"Call-ID: call-1", b"Call-ID: \xff1"))
    offer = line.event(CallOffered)
    assert offer.display == "Andr\N{REPLACEMENT CHARACTER}"
    assert b"From: Andr\xe9 <sip:alice@example.org>" in line.raw[0]
    assert b"Call-ID: \xff1\r\n" in line.raw[0]
