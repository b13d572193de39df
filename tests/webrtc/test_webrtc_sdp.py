from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PeerError
from gateway.webrtc.sdp import MAX_CANDIDATES, Offer, spoken_codec

HEAD = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]
ICE = ["a=ice-ufrag:abcd", "a=ice-pwd:0123456789012345678901", "a=fingerprint:sha-256 AA:BB", "a=rtcp-mux"]


def audio(mid: str = "0", codecs: str = "111 0", port: str = "9") -> list[str]:
    maps = {"111": "opus/48000/2", "0": "PCMU/8000", "9": "G722/8000", "8": "PCMA/8000"}
    return [
        f"m=audio {port} UDP/TLS/RTP/SAVPF {codecs}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{mid}",
        *ICE,
        *(f"a=rtpmap:{pt} {maps[pt]}" for pt in codecs.split()),
    ]


NO_NUMBERS = ["m=audio 9 UDP/TLS/RTP/SAVPF x ²", *ICE, "a=rtpmap:x opus/48000/2", "a=rtpmap:² opus/48000/2"]


def video(mid: str) -> list[str]:
    return ["m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", f"a=mid:{mid}", *ICE, "a=rtpmap:96 VP8/90000"]


def data(mid: str) -> list[str]:
    return ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", f"a=mid:{mid}", *ICE]


def text(*blocks: list[str]) -> str:
    return "\r\n".join(line for block in blocks for line in block) + "\r\n"


def test_what_we_take_stays_as_it_was() -> None:
    """Audio and the data channel pass untouched, in their order."""
    offer = text(HEAD, ["a=group:BUNDLE 0 1"], audio("0"), data("1"))
    assert Offer.parse(offer).taken() == offer


def test_other_m_lines_are_taken_out_and_put_back_as_rejected() -> None:
    """RFC 3264 6: an answer has as many m-lines as the offer, in the same order, port 0 where declined."""
    offer = Offer.parse(
        text(HEAD, ["a=group:BUNDLE v 0 w 1"], video("v"), audio("0"), video("w"), data("1"), audio("2"))
    )
    taken = offer.taken()
    assert "m=video" not in taken
    assert taken.count("m=audio") == 1
    assert "a=group:BUNDLE 0 1\r\n" in taken
    answer = offer.complete(text(HEAD, audio("0"), data("1")))
    media = [line.split()[:2] for line in answer.splitlines() if line.startswith("m=")]
    assert media == [["m=video", "0"], ["m=audio", "9"], ["m=video", "0"], ["m=application", "9"], ["m=audio", "0"]]
    assert "a=mid:w" in answer


def test_the_first_audio_we_can_speak_is_taken() -> None:
    """A stream in a foreign codec, or one that is switched off, is passed over for a later one."""
    offer = Offer.parse(text(HEAD, audio("0", "9"), audio("1", port="0"), audio("2", "8 0")))
    assert offer.audio == 2
    assert "a=mid:2" in offer.taken()


def test_a_bundled_stream_with_port_0_is_not_switched_off() -> None:
    """RFC 9143 6: with `bundle-only` port 0 means that the stream has no transport of its own."""
    assert Offer.parse(text(HEAD, [*audio("0", port="0"), "a=bundle-only"])).audio == 0


@pytest.mark.parametrize(
    ("offer", "hint", "says"),
    [
        ("", 400, "not SDP"),
        ("hello\r\n", 400, "not SDP"),
        (text(["v=1"]), 400, "v=0"),
        (text(HEAD, ["m=audio"]), 400, "m-line"),
        (text(HEAD, ["m=audio 99999 X 0"]), 400, "m-line"),
        (text(HEAD, ["m=audio ² X 0"]), 400, "m-line"),
        ("v=0\r\n" + "a=x\r\n" * 20000, 400, "too long"),
        (text(HEAD), 488, "no audio"),
        (text(HEAD, video("0")), 488, "no audio"),
        (text(HEAD, audio(port="0")), 488, "no audio"),
        (text(HEAD, audio(codecs="9 8")), 488, "no common codec"),
        (text(HEAD, NO_NUMBERS), 488, "no common codec"),
        (text(HEAD, [line for line in audio() if "ufrag" not in line]), 400, "ICE"),
        (text(HEAD, [line for line in audio() if "fingerprint" not in line]), 400, "DTLS"),
    ],
)
def test_an_unusable_offer_is_refused_with_its_reason(offer: str, hint: int, says: str) -> None:
    """The page's author reads what is missing; 488 is for what is well said but not for us."""
    with pytest.raises(PeerError, match=says) as refused:
        Offer.parse(offer)
    assert refused.value.status_hint == hint


def test_candidates_are_those_we_can_check() -> None:
    """No .local names to look up by multicast, no endless list to send checks to, no promise that these were all."""
    real = [f"a=candidate:1 1 udp 1 192.0.2.{n} 5000 typ host" for n in range(MAX_CANDIDATES + 9)]
    hidden = "a=candidate:2 1 udp 1 9b36eaac-bb2e.local 5000 typ host"
    taken = Offer.parse(text(HEAD, [*audio(), hidden, *real, "a=end-of-candidates"])).taken()
    assert taken.count("a=candidate") == MAX_CANDIDATES - 1
    assert ".local" not in taken
    assert "end-of-candidates" not in taken


def test_behind_a_nat_the_advertised_address_is_offered() -> None:
    """Host candidates and connection lines carry it; ports and everything else stay."""
    offer = Offer.parse(text(HEAD, audio()))
    line = "a=candidate:1 1 udp 2130706431 10.0.0.5 40000 typ host"
    answer = offer.complete(text(HEAD, [*audio(), line]), "203.0.113.7")
    assert "a=candidate:1 1 udp 2130706431 203.0.113.7 40000 typ host\r\n" in answer
    assert "c=IN IP4 203.0.113.7" in answer
    assert "10.0.0.5" not in answer
    assert "c=IN IP6 2001:db8::1" in offer.complete(text(HEAD, audio()), "2001:db8::1")


def test_an_answer_promises_no_source_and_no_header_extension() -> None:
    """The leg chooses its SSRC later, and Chromium would wait for extensions that were agreed on."""
    answer = text(HEAD, [*audio(), "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid", "a=ssrc:7 cname:x", "a=sendrecv"])
    completed = Offer.parse(text(HEAD, audio())).complete(answer)
    assert "a=ssrc" not in completed
    assert "a=extmap" not in completed
    assert "a=sendrecv\r\n" in completed


def test_an_offer_says_what_its_codecs_want() -> None:
    """RFC 7587 6.1; of the audio alone, and of no parameter that only begins so."""
    wish = "a=fmtp:111 minptime=10; useinbandfec=1"
    assert Offer.parse(text(HEAD, [*audio(), wish])).wants("useinbandfec=1")
    assert not Offer.parse(text(HEAD, [*audio(), "a=fmtp:111 useinbandfec=10"])).wants("useinbandfec=1")
    assert not Offer.parse(text(HEAD, audio("0"), [*video("1"), wish])).wants("useinbandfec=1")


def test_the_codec_spoken_is_the_answers_first() -> None:
    """RFC 3264 6.1: the answerer sends in the first format it lists; PCMU needs no rtpmap."""
    assert spoken_codec(text(HEAD, audio(codecs="111 0"))) == ("opus", 111)
    assert spoken_codec(text(HEAD, ["m=audio 9 UDP/TLS/RTP/SAVPF 0", *ICE])) == ("PCMU", 0)


LINES = st.sampled_from(
    [*HEAD, *audio(), *NO_NUMBERS, *video("1"), *data("2"), "a=mid:", "m=", "m= ", "a=", "a=rtpmap:x", "=", "x="]
)


@given(st.one_of(st.text(max_size=200), st.lists(st.one_of(LINES, st.text(max_size=20)), max_size=40).map("\n".join)))
def test_no_text_does_more_than_be_refused(offer: str) -> None:
    """Hostile offers end as `PeerError`, whatever they hold; accepted ones can be answered."""
    try:
        parsed = Offer.parse(offer)
    except PeerError:
        return
    taken = parsed.taken()
    assert len(Offer.parse(taken).sections) == (1 if parsed.data is None else 2)
    assert len(Offer.parse(parsed.complete(taken)).sections) == len(parsed.sections)
