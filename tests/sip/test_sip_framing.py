"""Cutting streams into messages (RFC 3261 18.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sip_wire import SDP, invite, request

from gateway.core.errors import PeerError
from gateway.sip.framing import Framer

MESSAGES = st.lists(st.sampled_from([invite(), request("OPTIONS"), invite(body=SDP * 3), b"\r\n\r\n"]), max_size=6)


@given(MESSAGES, st.lists(st.integers(1, 300), max_size=30))
def test_however_it_arrives_the_same_messages_come_out(messages: list[bytes], cuts: list[int]) -> None:
    """TCP may deliver any pieces."""
    framer, stream, got = Framer(), b"".join(messages), []
    for cut in cuts:
        got += framer.feed(stream[:cut])
        stream = stream[cut:]
    got += framer.feed(stream)
    assert got == messages


def test_line_ends_before_a_message_are_skipped() -> None:
    """RFC 3261 7.5."""
    assert Framer().feed(b"\r\n" + request("OPTIONS")) == [request("OPTIONS")]


@pytest.mark.parametrize(
    "stream",
    [
        b"OPTIONS sip:x SIP/2.0\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nContent-Length: -1\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 99999999\r\n\r\n",
        b"x" * 40_000,
    ],
)
def test_a_stream_that_cannot_be_cut_is_given_up(stream: bytes) -> None:
    """No waiting for a body that never comes, no buffer without end."""
    with pytest.raises(PeerError):
        Framer().feed(stream)


def test_a_slow_stream_costs_no_more_than_a_quick_one() -> None:
    """Each byte is searched once, not once for every byte after it."""
    framer = Framer()
    for byte in invite()[:-1]:
        assert framer.feed(bytes([byte])) == []
    assert len(framer.feed(invite()[-1:])) == 1
