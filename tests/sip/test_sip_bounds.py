"""The largest and most awkward input there may be: refused or understood in a moment, and in little memory.

Not a measurement of speed: the bounds are a hundred times what it takes, and only what grows with the square of its
length, or never ends, comes near them.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sip_wire import SDP, TCP, UDP, Line, invite
from test_sip_fuzz import DAMAGE, damaged

from gateway.core.errors import PeerError
from gateway.sip.digest import parse_fields
from gateway.sip.framing import Framer
from gateway.sip.headers import parse_name_addr, parse_params, parse_via, split_commas
from gateway.sip.offer_answer import LocalMedia, accept, answer, offer
from gateway.sip.sdp import MAX_SDP, parse_sdp
from gateway.sip.uri import parse_uri

LONG = 30_000  # octets; what one header may hold
MOST_S = 0.5
MOST_OCTETS = 4_000_000

UNITS = st.sampled_from(
    [
        *(
            '"',
            '\\"',
            "\\",
            "<",
            ">",
            "<>",
            '<">',
            ";",
            ",",
            "=",
            ":",
            "@",
            "[",
            "[::1]",
            "%",
            "%00",
            " ",
            "\t",
            "a",
            "é",
        ),
        *(
            ";a=b",
            ",a",
            ';a="b"',
            "<sip:a@b>,",
            "sip:",
            "a.",
            "1",
            "9.",
            "-",
            "?a=b&",
            "\r\n ",
            "\0",
            "()",
            "{",
            "Digest ",
        ),
        *('a="b",', "a=b ", '"a" <sip:b>,', ";;", "::", "SIP/2.0/UDP h,"),
    ]
)
AWKWARD = st.tuples(st.sampled_from(["", '"', "<", "sip:a@", "sip:", "Digest ", "SIP/2.0/UDP ", "<sip:a@b>;"]), UNITS)
PARSERS: list[Callable[[str], object]] = [
    *(split_commas, parse_params, parse_name_addr, parse_via, parse_uri, parse_fields),
]
PLACES = ("From", "To", "Via", "Contact", "Call-ID", "CSeq", "Diversion", "History-Info", "User-to-User", "Supported",
          "Authorization", "Record-Route", "Session-Expires", "Replaces", "Require", "X-Any")  # fmt: skip
LOCAL = LocalMedia("192.0.2.1", 6000)


class Bounded:
    """What happens within takes its share of the processor and of memory, and no more."""

    def __enter__(self) -> None:
        tracemalloc.start()
        self._begun = time.process_time()

    def __exit__(self, *_: object) -> None:
        took_s = time.process_time() - self._begun
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert took_s < MOST_S
        assert peak < MOST_OCTETS


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PARSERS), AWKWARD)
def test_no_value_takes_long(parser: Callable[[str], object], awkward: tuple[str, str]) -> None:
    """Whatever is repeated to the limit, in any parser of header values."""
    start, unit = awkward
    text = (start + unit * (LONG // len(unit)))[:LONG]
    with Bounded(), suppress(PeerError):
        parser(text)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(PLACES), AWKWARD, st.booleans())
def test_no_header_takes_long(name: str, awkward: tuple[str, str], many: bool) -> None:
    """One endless line, or as many as there may be; and the endpoint goes on."""
    start, unit = awkward
    if many:
        headers = tuple(f"{name}: {start}{unit * (100 // len(unit))}" for _ in range(230))
    else:
        headers = (f"{name}: {start}{unit * (LONG // len(unit))}",)
    line = Line()
    with Bounded():
        line.endpoint.receive(invite(headers=headers), UDP, line.now)
    assert line.receive(invite(call_id="next", branch="z9hG4bK-next"))


@pytest.mark.parametrize("line", ["From: Alice <sip:alice@example.org>", "To: <sip:desk@192.0.2.1>"])
@pytest.mark.parametrize("unit", [" ", ";", " ;", ";tag", "; tag =", "\t=", '"'])
def test_no_tag_takes_long_to_cut_off(line: str, unit: str) -> None:
    """What stands between an address and its tag, in a call that is taken."""
    stuffed = f"{line};x={unit * (LONG // len(unit))}y"
    message = invite().decode().replace(line, stuffed).encode()
    with Bounded():
        Line().endpoint.receive(message, UDP, 0.0)


@settings(max_examples=80, deadline=None)
@given(
    UNITS, st.sampled_from(["v=0\r\n", "", "v=0\r\no=- 1 1 IN IP4 h\r\nm=audio 1 RTP/AVP ", "v=0\r\na="]), st.booleans()
)
def test_no_description_takes_long(unit: str, start: str, in_lines: bool) -> None:
    """A session description up to its limit, of one endless line or of many short ones."""
    unit = f"a={unit}\r\n" if in_lines else unit
    text = (start + unit * (MAX_SDP // len(unit))).encode()[:MAX_SDP]
    with Bounded(), suppress(PeerError):
        answer(text, LOCAL)


@settings(max_examples=200, deadline=None)
@given(st.lists(DAMAGE, min_size=1, max_size=4))
def test_damaged_descriptions_are_understood_or_refused(damages: list[tuple[str, int, bytes]]) -> None:
    """As an offer and as an answer to ours: `PeerError`, or something that can be used."""
    text = SDP
    for how, at, put in damages:
        text = damaged(text, how, at, put) or b"v"
    for use in (lambda: answer(text, LOCAL), lambda: accept(LOCAL, text, offer(LOCAL))):
        with suppress(PeerError):
            agreed = use()
            assert 0 <= agreed.port < 65536
            assert parse_sdp(agreed.sdp).media


@pytest.mark.parametrize("unit", [b"\r\n", b"\r", b"a", b"INVITE sip:a SIP/2.0\r\n", b"Content-Length: 1\r\n", b"\0"])
def test_a_stream_without_end_is_cut_off(unit: bytes) -> None:
    """Octet by octet or by the segment: a connection holds one message at the most."""
    for size, octets in ((1, 10_000), (1400, 200_000)):
        framer = Framer()
        data = unit * (octets // len(unit))
        with Bounded(), suppress(PeerError):
            for start in range(0, len(data), size):
                framer.feed(data[start : start + size])


def test_a_body_as_long_as_it_says_is_not_believed() -> None:
    """A Content-Length beyond the limit ends the connection before the body comes."""
    line = Line(TCP)
    framer = Framer()
    with pytest.raises(PeerError):
        framer.feed(b"INVITE sip:a SIP/2.0\r\nContent-Length: 999999999\r\n\r\n")
    assert line.receive(invite(headers=("Content-Length: 999999999",)), TCP)[0].cseq.method == "INVITE"
