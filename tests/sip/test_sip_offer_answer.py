"""What two descriptions agree on (RFC 3264), from both ends, and what is refused with which status."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PeerError
from gateway.sip.offer_answer import LocalMedia, Negotiated, accept, answer, offer
from gateway.sip.sdp import Description, Media, Origin, parse_sdp, render_sdp

US = LocalMedia("192.0.2.1", 6000, session_id=77, version=3)
HEAD = "v=0\r\no=peer 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
AUDIO = "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"


def offered(*parts: str) -> bytes:
    return (HEAD + "".join(parts)).encode()


def lines(sdp: bytes) -> list[str]:
    return sdp.decode().split("\r\n")


def test_the_plain_case() -> None:
    """One codec, the peer's payload numbers, DTMF, both directions."""
    agreed = answer(offered(AUDIO), US)
    assert agreed == Negotiated(
        sdp=agreed.sdp,
        host="192.0.2.9",
        port=4000,
        codec="PCMU",
        payload_type=0,
        dtmf_payload_type=101,
        ptime_ms=20,
        direction="sendrecv",
        rtcp_mux=False,
        held=False,
        receives={0: "PCMU", 8: "PCMA"},
    )
    assert "o=- 77 3 IN IP4 192.0.2.1" in lines(agreed.sdp)
    assert "c=IN IP4 192.0.2.1" in lines(agreed.sdp)
    assert "m=audio 6000 RTP/AVP 0 101" in lines(agreed.sdp)
    assert "a=rtpmap:101 telephone-event/8000" in lines(agreed.sdp)
    assert "a=sendrecv" in lines(agreed.sdp)


def test_whose_codec_order_decides() -> None:
    """The offerer's unless we say otherwise (RFC 3264 6.1)."""
    theirs = offered("m=audio 4000 RTP/AVP 8 0\r\n")
    assert answer(theirs, US).codec == "PCMA"
    assert answer(theirs, msgspec.structs.replace(US, prefer="ours")).codec == "PCMU"


def test_a_codec_under_a_dynamic_number_keeps_that_number() -> None:
    """RFC 3264 6.1: the offer's numbering holds; names ignore case."""
    agreed = answer(offered("m=audio 4000 RTP/AVP 96 97\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 pcma/8000\r\n"), US)
    assert (agreed.codec, agreed.payload_type) == ("PCMA", 97)
    assert "m=audio 6000 RTP/AVP 97" in lines(agreed.sdp)


def test_a_static_number_renamed_is_what_its_name_says() -> None:
    """An rtpmap overrides RFC 3551's table."""
    agreed = answer(offered("m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/16000\r\n"), US)
    assert agreed.codec == "PCMA"


def test_no_dtmf_where_it_was_not_offered_or_not_wanted() -> None:
    """An answer may only shrink the offer."""
    assert answer(offered("m=audio 4000 RTP/AVP 0\r\n"), US).dtmf_payload_type is None
    without = answer(offered(AUDIO), msgspec.structs.replace(US, dtmf=False))
    assert without.dtmf_payload_type is None
    assert b"telephone-event" not in without.sdp


@pytest.mark.parametrize(
    ("theirs", "ours", "held"),
    [
        ("sendrecv", "sendrecv", False),
        ("sendonly", "recvonly", True),
        ("recvonly", "sendonly", False),
        ("inactive", "inactive", True),
    ],
)
def test_directions_are_mirrored(theirs: str, ours: str, held: bool) -> None:
    """RFC 3264 6.1, and 8.4 for hold."""
    agreed = answer(offered(AUDIO, f"a={theirs}\r\n"), US)
    assert (agreed.direction, agreed.held) == (ours, held)
    assert f"a={ours}" in lines(agreed.sdp)


def test_a_sessions_direction_holds_for_its_streams() -> None:
    """Unless the stream has its own (RFC 8866 6.7)."""
    assert answer(offered("a=sendonly\r\n", AUDIO), US).held
    assert not answer(offered("a=sendonly\r\n", AUDIO, "a=sendrecv\r\n"), US).held


@pytest.mark.parametrize("where", ["session", "stream"])
def test_the_old_hold_is_understood(where: str) -> None:
    """RFC 2543: an address of 0.0.0.0."""
    sdp = offered(AUDIO)
    if where == "session":
        sdp = sdp.replace(b"c=IN IP4 192.0.2.9", b"c=IN IP4 0.0.0.0")
    else:
        sdp += b"c=IN IP4 0.0.0.0\r\n"
    agreed = answer(sdp, US)
    assert (agreed.held, agreed.direction) == (True, "recvonly")


def test_our_own_hold_limits_the_answer() -> None:
    """What we do not want the peer cannot have."""
    assert answer(offered(AUDIO), msgspec.structs.replace(US, direction="sendonly")).direction == "sendonly"
    inactive = answer(offered(AUDIO, "a=sendonly\r\n"), msgspec.structs.replace(US, direction="sendonly"))
    assert inactive.direction == "inactive"


def test_other_streams_are_refused_in_place() -> None:
    """RFC 3264 6: as many m-lines, in the same order, port 0 for what we do not take."""
    agreed = answer(offered("m=video 5000 RTP/AVP 31 34\r\n", AUDIO, "m=audio 4002 RTP/AVP 0\r\n"), US)
    media = [line for line in lines(agreed.sdp) if line.startswith("m=")]
    assert media == ["m=video 0 RTP/AVP 31", "m=audio 6000 RTP/AVP 0 101", "m=audio 0 RTP/AVP 0"]
    assert agreed.port == 4000


def test_an_audio_stream_we_cannot_take_is_passed_over() -> None:
    """The next one may do: no codec, switched off, encrypted."""
    agreed = answer(
        offered(
            "m=audio 4000 RTP/AVP 18\r\n",
            "m=audio 0 RTP/AVP 0\r\n",
            "m=audio 4004 RTP/SAVP 0\r\n",
            "m=audio 4006 RTP/AVP 8\r\n",
        ),
        US,
    )
    assert (agreed.port, agreed.codec) == (4006, "PCMA")


@pytest.mark.parametrize(("wanted", "given"), [("20", 20), ("40", 40), ("30", 30), ("10", 10), ("200", 60), ("x", 20)])
def test_the_packet_length_is_what_the_peer_asks_for(wanted: str, given: int) -> None:
    """10 to 60 ms, and ours is named as long: some gear takes no other length than its own."""
    agreed = answer(offered(AUDIO, f"a=ptime:{wanted}\r\n"), US)
    assert agreed.ptime_ms == given
    assert f"a=ptime:{given}" in lines(agreed.sdp)


@pytest.mark.parametrize(("ptime", "longest", "given"), [(40, 30, 30), (20, 10, 10), (20, 200, 20), (60, 5, 10)])
def test_no_packet_is_longer_than_the_peer_can_take(ptime: int, longest: int, given: int) -> None:
    """RFC 8866 6.4: maxptime bounds ptime."""
    assert answer(offered(AUDIO, f"a=ptime:{ptime}\r\na=maxptime:{longest}\r\n"), US).ptime_ms == given


WIDE = LocalMedia("192.0.2.1", 6000, codecs=("opus", "G722", "PCMA"), comfort_noise=True)


def test_wideband_codecs_are_named_by_their_rtp_clocks() -> None:
    """RFC 3551 4.5.2: G.722 says 8000 though it is 16 kHz; RFC 7587 7: Opus says 48000/2 whatever is in it. Telephone
    events come once for each clock (RFC 4733 2.1)."""
    ours = lines(offer(WIDE))
    assert "m=audio 6000 RTP/AVP 107 9 8 13 102 101" in ours
    for line in ("107 opus/48000/2", "9 G722/8000", "102 telephone-event/48000", "101 telephone-event/8000"):
        assert f"a=rtpmap:{line}" in ours


@pytest.mark.parametrize(
    ("codecs", "codec", "number", "events", "clock"),
    [
        (("opus", "PCMA"), "opus", 96, 98, 48000),
        (("G722", "PCMA"), "G722", 9, 97, 8000),
        (("PCMA",), "PCMA", 8, 97, 8000),
    ],
)
def test_events_go_by_the_clock_of_the_codec(
    codecs: tuple[str, ...], codec: str, number: int, events: int, clock: int
) -> None:
    """A peer that offers events at both clocks gets those of the codec taken, and no others. Comfort noise under its
    static number counts 8000 a second, and has no place beside Opus (which does its own)."""
    theirs = offered(
        "m=audio 4000 RTP/AVP 96 9 8 97 98 13\r\na=rtpmap:96 OPUS/48000/2\r\n",
        "a=rtpmap:97 telephone-event/8000\r\na=rtpmap:98 telephone-event/48000\r\n",
    )
    agreed = answer(theirs, msgspec.structs.replace(WIDE, codecs=codecs))
    assert (agreed.codec, agreed.payload_type) == (codec, number)
    assert (agreed.dtmf_payload_type, agreed.dtmf_clock_hz) == (events, clock)
    assert agreed.comfort_noise == (clock == 8000)
    assert f"m=audio 6000 RTP/AVP {number}{' 13' if clock == 8000 else ''} {events}" in lines(agreed.sdp)


def test_copies_are_asked_for_both_ways() -> None:
    """RFC 7587 6.1: a phone puts a copy of each packet into the next one for who says that it makes use of them."""
    theirs = offered("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n")
    for number, sdp in ((107, offer(WIDE)), (96, answer(theirs, WIDE).sdp)):
        (parameters,) = (line for line in lines(sdp) if line.startswith(f"a=fmtp:{number} "))
        assert "useinbandfec=1" in parameters.partition(" ")[2].split(";")


@pytest.mark.parametrize(
    ("fmtp", "copies"),
    [
        ("a=fmtp:96 useinbandfec=1", True),
        ("a=fmtp:96 minptime=10; useinbandfec=1;stereo=1", True),
        ("a=fmtp:96 useinbandfec=0", False),
        ("a=fmtp:96 useinbandfec=10", False),
        ("a=fmtp:97 useinbandfec=1", False),
        ("a=fmtp", False),
        ("a=fmtp:96", False),
        ("a=ptime:20", False),
    ],
)
def test_copies_are_sent_to_who_makes_use_of_them(fmtp: str, copies: bool) -> None:
    """By an offer as by an answer; and only with Opus."""
    theirs = f"m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n{fmtp}\r\n"
    assert answer(offered(theirs), WIDE).copies == copies
    assert accept(WIDE, offered(theirs.replace("96", "107").replace("97", "98"))).copies == copies
    assert not answer(offered("m=audio 4000 RTP/AVP 0\r\na=fmtp:0 useinbandfec=1\r\n"), US).copies


def test_opus_with_events_of_another_clock_still_has_keys() -> None:
    """Not by the book, but common: telephone-event/8000 beside Opus alone."""
    theirs = offered("m=audio 4000 RTP/AVP 96 97\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/8000\r\n")
    agreed = answer(theirs, WIDE)
    assert (agreed.codec, agreed.dtmf_payload_type, agreed.dtmf_clock_hz) == ("opus", 97, 8000)


@pytest.mark.parametrize("wrong", ["opus/48000", "opus/16000/2", "G722/16000", "L16/8000"])
def test_a_codec_with_other_clocks_or_channels_is_another_codec(wrong: str) -> None:
    """Guessing would be noise in the caller's ear."""
    with pytest.raises(PeerError):
        answer(offered(f"m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 {wrong}\r\n"), WIDE)


def test_every_number_that_may_come_is_known() -> None:
    """A peer may send any codec that both named, not only the one we send (RFC 3264 6.1)."""
    theirs = offered("m=audio 4000 RTP/AVP 8 96 9 18\r\na=rtpmap:96 opus/48000/2\r\n")
    assert answer(theirs, WIDE).receives == {8: "PCMA", 96: "opus", 9: "G722"}
    agreed = accept(WIDE, offered("m=audio 4000 RTP/AVP 120 8\r\na=rtpmap:120 opus/48000/2\r\n"))
    assert (agreed.codec, agreed.payload_type) == ("opus", 120)
    assert agreed.receives == {107: "opus", 9: "G722", 8: "PCMA", 120: "opus"}


def test_rtcp_on_the_same_port_is_agreed_when_offered() -> None:
    """RFC 5761."""
    agreed = answer(offered(AUDIO, "a=rtcp-mux\r\n"), US)
    assert agreed.rtcp_mux
    assert "a=rtcp-mux" in lines(agreed.sdp)


def test_ipv6_addresses_are_named_so() -> None:
    """RFC 8866 5.7."""
    sdp = offered(AUDIO).replace(b"IP4 192.0.2.9", b"IP6 2001:db8::9")
    agreed = answer(sdp, LocalMedia("2001:db8::1", 6000))
    assert agreed.host == "2001:db8::9"
    assert "c=IN IP6 2001:db8::1" in lines(agreed.sdp)


@pytest.mark.parametrize(
    ("sdp", "status"),
    [
        (offered(), 488),
        (offered("m=video 4000 RTP/AVP 31\r\n"), 488),
        (offered("m=audio 4000 RTP/AVP 18\r\n"), 488),
        (offered("m=audio 0 RTP/AVP 0\r\n"), 488),
        (offered("m=audio 4000 RTP/SAVP 0\r\n"), 488),
        (offered(AUDIO).replace(b"c=IN IP4 192.0.2.9", b"c=IN IP4 media.example.com"), 488),
        (b"", 400),
        (b"hello", 400),
        (b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n", 400),
        (offered("m=audio x RTP/AVP 0\r\n"), 400),
        (offered("m=audio 99999 RTP/AVP 0\r\n"), 400),
        (offered("m=audio 4000 RTP/AVP\r\n"), 400),
        (offered("nonsense\r\n"), 400),
        (offered(AUDIO).replace(b"c=IN IP4 192.0.2.9\r\n", b""), 400),
        (offered(AUDIO).replace(b"c=IN", b"c=XX"), 400),
        (offered("m=audio 4000 RTP/AVP 0\r\n" * 40), 400),
        (offered("a=x\r\n" * 10_000), 400),
    ],
)
def test_refusals(sdp: bytes, status: int) -> None:
    """400 for what cannot be read, 488 for what cannot be done."""
    with pytest.raises(PeerError) as caught:
        answer(sdp, US)
    assert caught.value.status_hint == status


# Both ends


@pytest.mark.parametrize("ours", ["sendrecv", "sendonly", "recvonly", "inactive"])
@pytest.mark.parametrize("theirs", ["sendrecv", "sendonly", "recvonly", "inactive"])
def test_both_ends_come_to_the_same_conclusion(ours: str, theirs: str) -> None:
    """One's sending is the other's receiving, codec and ports match."""
    caller = msgspec.structs.replace(US, direction=ours, codecs=("PCMA", "PCMU"))
    callee = LocalMedia("192.0.2.2", 7000, codecs=("PCMU", "PCMA"), direction=theirs)
    there = answer(offer(caller), callee)
    here = accept(caller, there.sdp)
    assert here.codec == there.codec == "PCMA"
    assert (here.payload_type, here.dtmf_payload_type) == (there.payload_type, there.dtmf_payload_type)
    assert (here.host, here.port, there.host, there.port) == ("192.0.2.2", 7000, "192.0.2.1", 6000)
    mirror = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
    assert here.direction == mirror[there.direction]


def test_our_offer_names_every_codec_in_our_order() -> None:
    """And accepts the one the answer chose, under the number it chose."""
    local = msgspec.structs.replace(US, codecs=("PCMA", "PCMU"))
    assert "m=audio 6000 RTP/AVP 8 0 101" in lines(offer(local))
    agreed = accept(local, offered("m=audio 4000 RTP/AVP 0\r\n"))
    assert (agreed.codec, agreed.dtmf_payload_type, agreed.sdp) == ("PCMU", None, offer(local))


@pytest.mark.parametrize(
    "media", ["m=audio 0 RTP/AVP 0\r\n", "m=audio 4000 RTP/AVP 18\r\n", "m=video 1 RTP/AVP 31\r\n", ""]
)
def test_an_answer_that_takes_nothing_is_refused(media: str) -> None:
    """488, and the call must end."""
    with pytest.raises(PeerError) as caught:
        accept(US, offered(media))
    assert caught.value.status_hint == 488


def test_the_version_grows_when_anything_changes_and_only_then() -> None:
    """RFC 3264 8: same o= line, same description."""
    first = answer(offered(AUDIO), US)
    same = answer(offered(AUDIO), US, first.sdp)
    assert same.sdp == first.sdp
    held = answer(offered(AUDIO, "a=sendonly\r\n"), US, same.sdp)
    assert parse_sdp(held.sdp).origin.version == 4
    resumed = answer(offered(AUDIO), US, held.sdp)
    assert parse_sdp(resumed.sdp).origin.version == 5
    assert parse_sdp(offer(US, resumed.sdp)).origin.version == 6


# Descriptions

WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)
ATTRIBUTES = st.lists(st.tuples(WORD, st.none() | WORD), max_size=4)
ADDRESS = st.sampled_from(["192.0.2.1", "2001:db8::1", "h.example.com"])
MEDIA = st.builds(
    Media,
    WORD,
    st.integers(0, 65535),
    st.sampled_from(["RTP/AVP", "RTP/SAVP", "UDPTL"]),
    st.lists(WORD, min_size=1, max_size=4),
    st.none() | ADDRESS,
    ATTRIBUTES,
)
ORIGIN = st.builds(Origin, WORD, WORD, st.integers(0, 2**63), ADDRESS)
DESCRIPTION = st.builds(Description, ORIGIN, st.none() | ADDRESS, ATTRIBUTES, st.lists(MEDIA, max_size=4))


@given(DESCRIPTION)
def test_a_description_survives_being_written_and_read(description: Description) -> None:
    """Every part that means something to us."""
    assert parse_sdp(render_sdp(description)) == description


@given(st.binary(max_size=300) | st.lists(st.sampled_from(offered(AUDIO).split(b"\r\n"))).map(b"\r\n".join))
def test_hostile_descriptions_are_agreed_on_or_refused(data: bytes) -> None:
    """With `PeerError`, nothing else."""
    for take in (answer, lambda sdp, local: accept(local, sdp)):
        try:
            agreed = take(data, US)
        except PeerError:
            continue
        assert parse_sdp(agreed.sdp).media
