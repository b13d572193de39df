"""Addresses and typed header values (RFC 3261 19 and 25)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PeerError
from gateway.sip.headers import (
    NameAddr,
    Via,
    parse_cseq,
    parse_name_addr,
    parse_params,
    parse_via,
    quote_string,
    render_params,
    split_commas,
    unquote_string,
)
from gateway.sip.uri import Uri, escape_user, parse_uri

NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)
HOST = st.sampled_from(["example.com", "192.0.2.1", "[2001:db8::1]", "h", "a-b.c.d."])
PORT = st.none() | st.integers(1, 65535)
PARAMS = st.dictionaries(NAME, st.none() | NAME, max_size=4)
URI = st.builds(
    lambda scheme, user, host, port, params: Uri(scheme, escape_user(user), host, port, render_params(params)),
    st.sampled_from(["sip", "sips"]),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    HOST,
    PORT,
    PARAMS,
)
DISPLAY = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20).map(str.strip)


@given(URI)
def test_an_address_survives_being_written_and_read(uri: Uri) -> None:
    """Every part of it, escapes and all."""
    assert parse_uri(str(uri)) == uri


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
def test_any_text_can_be_a_user_part(text: str) -> None:
    """Escaped going out, unescaped coming in. A colon would start a password, so it is escaped too."""
    assert parse_uri(f"sip:{escape_user(text)}@h").user == text


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:alice@atlanta.com", "alice", "atlanta.com", None),
        ("SIP:alice:secret@atlanta.com:5070;transport=tcp?subject=x", "alice", "atlanta.com", 5070),
        ("sip:atlanta.com", "", "atlanta.com", None),
        ("sip:+1-212-555-1212:1234@gateway.com;user=phone", "+1-212-555-1212", "gateway.com", None),
        ("sip:%61lice@h", "alice", "h", None),
        ("sip:user;par=u%40example.net@example.com", "user;par=u@example.net", "example.com", None),
        ("sip:*21#@[2001:db8::9:1]:5061", "*21#", "[2001:db8::9:1]", 5061),
        ("tel:+358-555-1234567;postd=pp22", "+358-555-1234567", "", None),
    ],
)
def test_addresses_as_they_occur(text: str, user: str, host: str, port: int | None) -> None:
    """RFC 3261 19.1.3, RFC 4475 and real telephones."""
    uri = parse_uri(text)
    assert (uri.user, uri.host, uri.port) == (user, host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "sip:",
        "sip:@",
        "sip:a@",
        "sip:a b@h",
        "sip:a@h:0",
        "sip:a@h:99999",
        "sip:a@h:5060x",
        "sip:a@[::1",
        "sip:%zz@h",
        "<sip:a@h>",
        "sip:a@h;lr x",
        "si p:a@h",
        "tel:1 2",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """With `PeerError`, which becomes a 400."""
    with pytest.raises(PeerError):
        parse_uri(text)


def test_parameters_of_an_address_ignore_case() -> None:
    """RFC 3261 19.1.4."""
    uri = parse_uri("sip:h;Transport=TCP;lr")
    assert (uri.param("transport"), uri.param("lr"), uri.param("maddr")) == ("TCP", "", None)


@given(DISPLAY, URI, PARAMS)
def test_a_name_addr_survives_being_written_and_read(display: str, uri: Uri, params: dict[str, str | None]) -> None:
    """Names with quotes, commas and backslashes too."""
    address = NameAddr(uri, display, params)
    assert parse_name_addr(str(address)) == address


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        ("sip:a@h;tag=1", "", "sip:a@h", "1"),
        ("<sip:a@h;x=1>;tag=1", "", "sip:a@h;x=1", "1"),
        ("Alice Example <sip:a@h>", "Alice Example", "sip:a@h", ""),
        ('"J Rosenberg \\\\\\""       <sip:jdrosen@h> ; tag = 98asjd8', 'J Rosenberg \\"', "sip:jdrosen@h", "98asjd8"),
        ('""<sip:a@h>', "", "sip:a@h", ""),
        ("Bell, Alexander <sip:a@h>;tag=4", "Bell, Alexander", "sip:a@h", "4"),
        ("caller<sip:caller@example.com>", "caller", "sip:caller@example.com", ""),
    ],
)
def test_name_addrs_as_they_occur(text: str, display: str, uri: str, tag: str) -> None:
    """Without brackets all parameters are the header's (RFC 3261 20)."""
    address = parse_name_addr(text)
    assert (address.display, str(address.uri), address.tag) == (display, uri, tag)


@pytest.mark.parametrize(
    "text",
    ["", "<sip:a@h", '"A <sip:a@h>', '"A" sip:a@h', "<>", "sip:a@h?x=y", "sip:a@h,sip:b@h", "<sip:a@h> x;tag=1"],
)
def test_broken_name_addrs_are_refused(text: str) -> None:
    """RFC 3261 20: , and ? need the brackets, quotes must end."""
    with pytest.raises(PeerError):
        parse_name_addr(text)


@given(st.sampled_from(["udp", "tcp", "tls"]), HOST, PORT, PARAMS)
def test_a_via_survives_being_written_and_read(
    transport: str, host: str, port: int | None, params: dict[str, str | None]
) -> None:
    """Transport in upper case on the wire, lower case in our hands."""
    via = Via(transport, host, port, params)
    assert parse_via(str(via)) == via


def test_a_via_may_have_spaces_where_nobody_puts_them() -> None:
    """RFC 4475 3.1.1.1."""
    via = parse_via("SIP  / 2.0\t/ UDP  192.0.2.2 : 5061 ;branch = z9hG4bK390skdjuw")
    assert (via.transport, via.host, via.port, via.branch) == ("udp", "192.0.2.2", 5061, "z9hG4bK390skdjuw")


@pytest.mark.parametrize("text", ["", "SIP/2.0/UDP", "SIP/2.0 UDP h", "SIP/2.0/UDP h:0", "SIP/2.0/UDP h h2"])
def test_broken_vias_are_refused(text: str) -> None:
    """Nothing could be sent back by them."""
    with pytest.raises(PeerError):
        parse_via(text)


@pytest.mark.parametrize("text", ["", "1", "INVITE", "-1 INVITE", "1 IN VITE", "2147483648 INVITE", "9" * 5000 + " X"])
def test_broken_cseqs_are_refused(text: str) -> None:
    """RFC 3261 8.1.1.5: a number below 2**31 and one method."""
    with pytest.raises(PeerError):
        parse_cseq(text)


@given(PARAMS)
def test_parameters_survive_being_written_and_read(params: dict[str, str | None]) -> None:
    """Order included."""
    assert parse_params(render_params(params)) == params


def test_a_quoted_parameter_may_hold_separators() -> None:
    """RFC 3326: Reason texts do."""
    params = parse_params(';cause=486;text="busy; really, \\"busy\\""')
    assert unquote_string(params["text"] or "") == 'busy; really, "busy"'


@given(st.text(max_size=30))
def test_any_text_can_be_quoted(text: str) -> None:
    """RFC 3261 25.1 quoted-string."""
    assert unquote_string(quote_string(text)) == text


@given(st.text('ab,;"<> \\', max_size=60))
def test_splitting_never_loses_what_it_does_not_refuse(text: str) -> None:
    """Commas go, empty pieces and outer spaces go, all else stays."""
    try:
        pieces = split_commas(text)
    except PeerError:
        assert '"' in text
        return
    kept = "".join(pieces).replace(",", "").replace(" ", "")
    assert kept == text.replace(",", "").replace(" ", "")
