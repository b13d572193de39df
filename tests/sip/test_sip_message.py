"""Messages from bytes and back: what is read, what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sip_wire import SDP, invite

from gateway.core.errors import PeerError
from gateway.sip.message import Malformed, Message, Request, Response, parse, respond

TOKEN = st.text("ABCXYZabcxyz019-.!%*_+`'~", min_size=1, max_size=12)
# Values as the wire can carry them: no line ends, no white space at their edges, never a continuation.
VALUE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Z"), include_characters=" ;,<>\"='"), max_size=40)
HEADERS = st.lists(st.tuples(TOKEN.map("X-{}".format), VALUE.map(str.strip)), max_size=8)


@given(method=TOKEN, headers=HEADERS, body=st.binary(max_size=200))
def test_a_request_survives_the_wire(method: str, headers: list[tuple[str, str]], body: bytes) -> None:
    """Whatever we can write we read back the same."""
    request = Request(method, "sip:a@b", headers, body)
    again = parse(request.to_bytes())
    assert isinstance(again, Request)
    assert (again.method, again.uri, again.body) == (method, "sip:a@b", body)
    assert again.headers == [*headers, ("Content-Length", str(len(body)))]


@given(status=st.integers(100, 699), reason=VALUE.map(str.strip), headers=HEADERS, body=st.binary(max_size=200))
def test_a_response_survives_the_wire(status: int, reason: str, headers: list[tuple[str, str]], body: bytes) -> None:
    """A reason phrase may be empty or in any script."""
    again = parse(Response(status, reason, headers, body).to_bytes(), stream=True)
    assert isinstance(again, Response)
    assert (again.status, again.reason, again.body) == (status, reason, body)


@given(st.binary(max_size=400))
def test_random_bytes_are_a_message_or_malformed(data: bytes) -> None:
    """Nothing else may be raised on what strangers send."""
    _try(data)


@given(st.data())
def test_a_damaged_message_is_a_message_or_malformed(data: st.DataObject) -> None:
    """Cut, doubled and overwritten anywhere; the typed views raise `PeerError` at most."""
    message = bytearray(invite())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(message) - 1))
        match data.draw(st.sampled_from(["cut", "double", "put"])):
            case "cut":
                del message[at : at + data.draw(st.integers(1, 20))]
            case "double":
                message[at:at] = message[at : at + data.draw(st.integers(1, 60))]
            case _:
                message[at : at + 1] = data.draw(st.binary(max_size=3))
        if not message:
            return
    _try(bytes(message))


def _try(data: bytes) -> None:
    try:
        message = parse(data)
    except Malformed as error:
        message = error.request  # type: ignore[assignment]
    if message is None:
        return
    for view in ("via", "from_", "to", "cseq", "call_id", "contact", "target", "vias"):
        try:
            getattr(message, view, None)
        except PeerError:
            continue
    message.sdp()
    message.to_bytes()


def test_compact_forms_and_odd_cases_are_the_same_headers() -> None:
    """RFC 3261 7.3.3: `v`, `VIA` and `via` are Via."""
    message = parse(b"OPTIONS sip:a SIP/2.0\r\nv: 1\r\nVIA: 2\r\nvIa: 3\r\ni:4\r\nX-own: 5\r\n\r\n")
    assert message.all("Via") == ["1", "2", "3"]
    assert message.first("Call-ID") == "4"
    assert message.first("x-OWN") == "5"


def test_folded_lines_are_one() -> None:
    """RFC 3261 7.3.1."""
    message = parse(b"OPTIONS sip:a SIP/2.0\r\nSubject: one\r\n  two\r\n\tthree\r\nTo : x\r\n\r\n")
    assert message.first("Subject") == "one two three"
    assert message.first("To") == "x"


def test_commas_part_values_only_where_the_grammar_has_lists() -> None:
    """A Subject or Date may hold commas; a quoted name too."""
    message = parse(
        b"OPTIONS sip:a SIP/2.0\r\nSubject: hello, world\r\n"
        b'Contact: "Doe, John" <sip:j@h;x=1>;q=0.5, <sip:k@h?a=b,c>\r\nAllow: INVITE,ACK ,, BYE\r\n\r\n'
    )
    assert message.values("Subject") == ["hello, world"]
    assert message.values("Contact") == ['"Doe, John" <sip:j@h;x=1>;q=0.5', "<sip:k@h?a=b,c>"]
    assert message.values("Allow") == ["INVITE", "ACK", "BYE"]


def test_a_datagram_may_be_longer_than_its_content_length() -> None:
    """RFC 3261 18.3: the rest is discarded."""
    assert parse(b"OPTIONS sip:a SIP/2.0\r\nl: 2\r\n\r\nabcdef").body == b"ab"
    assert parse(b"OPTIONS sip:a SIP/2.0\r\n\r\nabcdef").body == b"abcdef"


@pytest.mark.parametrize(
    "data",
    [
        b"OPTIONS sip:a SIP/2.0\r\nX: a\rb\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nX: a\nY: b\r\n\r\n",
    ],
)
def test_a_stray_line_end_is_no_way_to_smuggle_a_header(data: bytes) -> None:
    """Echoed into our answer it would become a line of its own."""
    with pytest.raises(Malformed):
        parse(data)


def test_limits_come_before_any_work() -> None:
    """A message of a million headers costs a count, not a million splits."""
    with pytest.raises(Malformed):
        parse(b"OPTIONS sip:a SIP/2.0\r\n" + b"X:y\r\n" * 100_000 + b"\r\n")
    with pytest.raises(Malformed):
        parse(b"OPTIONS sip:a SIP/2.0\r\nX: " + b"y" * 100_000 + b"\r\n\r\n")


def test_a_response_copies_what_every_response_copies() -> None:
    """RFC 3261 8.2.6.2."""
    request = parse(invite(headers=("Timestamp: 54", "Subject: no")))
    assert isinstance(request, Request)
    response = respond(request, 200, to_tag="x")
    assert [name for name, _ in response.headers] == ["Via", "From", "To", "Call-ID", "CSeq"]
    assert response.to.tag == "x"
    assert respond(request, 100).first("Timestamp") == "54"


def test_setting_a_header_replaces_all_its_lines_in_place() -> None:
    """And the typed view follows."""
    message = Message([("A", "1"), ("To", "<sip:a@b>"), ("A", "2"), ("Z", "3")])
    assert message.to.uri.user == "a"
    message.set("To", "<sip:c@d>")
    message.set("A", "9")
    assert message.to.uri.user == "c"
    assert message.headers == [("A", "9"), ("To", "<sip:c@d>"), ("Z", "3")]


def test_a_multipart_body_without_a_session_has_none() -> None:
    """Only an application/sdp part is one."""
    body = b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--\r\n"
    message = Message([("Content-Type", "multipart/mixed;boundary=x")], body)
    assert message.sdp() is None
    assert Message([("Content-Type", "application/sdp; charset=utf-8")], SDP).sdp() == SDP
