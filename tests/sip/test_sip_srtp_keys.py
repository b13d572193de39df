"""Keys in descriptions (RFC 4568): what is read and written, what is agreed on under each policy, what is refused."""

from __future__ import annotations

import contextlib
from base64 import b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import MisuseError, PeerError
from gateway.sip.crypto import MASTER_OCTETS, SUITES, Crypto, SrtpKeys, our_key, our_lines, parse_crypto
from gateway.sip.offer_answer import LocalMedia, accept, answer, offer
from gateway.sip.sdp import parse_sdp

MASTER = bytes(range(MASTER_OCTETS))
OFF = LocalMedia("192.0.2.1", 6000, session_id=77)
OPTIONAL = msgspec.structs.replace(OFF, srtp="optional", master=MASTER)
REQUIRED = msgspec.structs.replace(OPTIONAL, srtp="required")
POLICIES = {"off": OFF, "optional": OPTIONAL, "required": REQUIRED}
HEAD = "v=0\r\no=peer 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
THEIRS = bytes(range(100, 130))
LINE = f"1 AES_CM_128_HMAC_SHA1_80 inline:{b64encode(THEIRS).decode()}"
PLAIN, SECURE = "m=audio 4000 RTP/AVP 0\r\n", "m=audio 4002 RTP/SAVP 0\r\n"


def offered(*parts: str) -> bytes:
    return (HEAD + "".join(parts)).encode()


def crypto(line: str = LINE) -> str:
    return f"a=crypto:{line}\r\n"


def lines(sdp: bytes) -> list[str]:
    return sdp.decode().split("\r\n")


@st.composite
def cryptos(draw: st.DrawFn) -> Crypto:
    name = draw(st.sampled_from(list(SUITES)))
    key = draw(st.binary(min_size=sum(SUITES[name]), max_size=sum(SUITES[name])))
    return Crypto(draw(st.integers(0, 999_999_999)), name, key)


# One line


@given(cryptos())
def test_what_is_written_is_read_again(line: Crypto) -> None:
    """The round trip of every suite, tag and key."""
    assert parse_crypto(line.render()) == line


@given(
    st.text(max_size=200)
    | st.from_regex(r"[0-9]{1,9} [A-Z_0-9]{1,30} inline:[!-~]{0,80}( [!-~]{1,9})?", fullmatch=True)
)
def test_anything_else_is_refused_in_peace(text: str) -> None:
    """A `PeerError` or a line, never another exception."""
    with contextlib.suppress(PeerError):
        parse_crypto(text)


@pytest.mark.parametrize(
    "tail",
    ["|2^31", "|1048576", "|2^20 WSH=128", " WSH=64 -X-OURS=1", "  "],
)
def test_what_changes_nothing_for_us_is_passed_over(tail: str) -> None:
    """A key's lifetime, the hint for the replay window, and optional extensions (RFC 4568 6.1, 6.3.7)."""
    assert parse_crypto(LINE + tail).key == THEIRS


def test_case_and_padding_do_not_matter() -> None:
    """Phones write both ways."""
    key = b64encode(bytes(44)).decode().rstrip("=")
    assert parse_crypto(f"7 aead_aes_256_gcm INLINE:{key}") == Crypto(7, "AEAD_AES_256_GCM", bytes(44))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1",
        "x" + LINE,
        LINE.replace("1 ", "1234567890 ", 1),
        LINE.replace("AES_CM_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_80"),
        LINE.replace("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"),
        LINE.replace("inline", "uri"),
        LINE[:-1],
        LINE[:-4],
        LINE + "AAAA",
        LINE + "|2^31|1:4",
        LINE + "|1:4",
        LINE + ";inline:" + LINE.rpartition(":")[2],
        LINE + " UNENCRYPTED_SRTP",
        LINE + " UNAUTHENTICATED_SRTP",
        LINE + " KDR=3",
        LINE + " FEC_ORDER=SRTP_FEC",
        LINE.replace("inline:", "inline:\x00"),
        "1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 10_000,
    ],
)
def test_hostile_lines(line: str) -> None:
    """Neither half a key nor less protection than the suite's name promises."""
    with pytest.raises(PeerError):
        parse_crypto(line)


def test_no_two_suites_share_key_octets() -> None:
    """Changing the suite in mid-call must not use a key stream twice."""
    keys = [line.key for line in our_lines(MASTER)]
    assert len(b"".join(keys)) == len(set(b"".join(keys))) == MASTER_OCTETS
    with pytest.raises(MisuseError):
        our_lines(MASTER[:-1])


def test_keys_do_not_show() -> None:
    """Whatever is logged or asserted by its repr carries no key."""
    agreed = answer(offered(SECURE, crypto()), REQUIRED)
    for shown in (repr(REQUIRED), repr(agreed.srtp), repr(parse_crypto(LINE))):
        assert repr(THEIRS)[2:12] not in shown
        assert repr(MASTER)[2:12] not in shown


# Answers


@pytest.mark.parametrize("policy", ["optional", "required"])
@pytest.mark.parametrize("protocol", ["RTP/SAVP", "RTP/SAVPF", "RTP/AVP"])
def test_an_offer_with_keys_is_answered_with_keys(policy: str, protocol: str) -> None:
    """In the offer's own protocol, with its tag and suite and a key of ours; also where keys are only suggested."""
    media = SECURE.replace("RTP/SAVP", protocol)
    agreed = answer(offered(media, crypto("9 F8 inline:AAAA"), crypto(LINE.replace("1 ", "42 ", 1))), POLICIES[policy])
    ours = our_key(MASTER, "AES_CM_128_HMAC_SHA1_80")
    assert agreed.srtp == SrtpKeys("AES_CM_128_HMAC_SHA1_80", ours, THEIRS)
    assert f"m=audio 6000 {protocol} 0" in lines(agreed.sdp)
    assert [line for line in lines(agreed.sdp) if "crypto" in line] == [
        f"a=crypto:42 AES_CM_128_HMAC_SHA1_80 inline:{b64encode(ours).decode()}"
    ]


@pytest.mark.parametrize(
    ("policy", "media", "agreed"),
    [
        ("off", PLAIN, "plain"),
        ("off", PLAIN + crypto(), "plain"),
        ("off", SECURE + crypto(), 488),
        ("optional", PLAIN, "plain"),
        ("optional", PLAIN + crypto("1 F8 inline:AAAA"), "plain"),
        ("optional", SECURE, 488),
        ("optional", SECURE + crypto("1 F8 inline:AAAA"), 488),
        ("required", PLAIN, 488),
        ("required", PLAIN + crypto("1 F8 inline:AAAA"), 488),
        ("required", SECURE, 488),
        ("required", "m=audio 4000 UDP/TLS/RTP/SAVP 0\r\n" + crypto(), 488),
    ],
)
def test_policies(policy: str, media: str, agreed: str | int) -> None:
    """Off is as if there were no SRTP; required takes nothing else; what cannot be agreed on is a 488."""
    if agreed == 488:
        with pytest.raises(PeerError) as caught:
            answer(offered(media), POLICIES[policy])
        assert caught.value.status_hint == 488
    else:
        answered = answer(offered(media), POLICIES[policy])
        assert answered.srtp is None
        assert b"crypto" not in answered.sdp


@pytest.mark.parametrize("order", [(PLAIN, SECURE + crypto()), (SECURE + crypto(), PLAIN)])
@pytest.mark.parametrize(("policy", "port"), [("off", 4000), ("optional", 4002), ("required", 4002)])
def test_of_two_sections_the_protected_one_is_taken(order: tuple[str, str], policy: str, port: int) -> None:
    """The old way of suggesting keys: the same audio twice. The other section is refused with port 0."""
    agreed = answer(offered(*order), POLICIES[policy])
    assert (agreed.port, agreed.srtp is not None) == (port, port == 4002)
    assert sorted(section.port for section in parse_sdp(agreed.sdp).media) == [0, 6000]


# Both ends


@pytest.mark.parametrize("callee", list(POLICIES))
@pytest.mark.parametrize("caller", list(POLICIES))
def test_both_ends_come_to_the_same_conclusion(caller: str, callee: str) -> None:
    """One's key is the other's; nobody who requires protection ends up without, and off never meets required."""
    ours = POLICIES[caller]
    theirs = msgspec.structs.replace(POLICIES[callee], port=7000, master=bytes(reversed(MASTER)))
    if {caller, callee} == {"off", "required"}:
        with pytest.raises(PeerError):
            answer(offer(ours), theirs)
        return
    there = answer(offer(ours), theirs)
    here = accept(ours, there.sdp)
    if "off" in (caller, callee):
        assert here.srtp is there.srtp is None
    else:
        assert here.srtp is not None
        assert there.srtp is not None
        assert (here.srtp.ours, here.srtp.theirs) == (there.srtp.theirs, there.srtp.ours)
        assert here.srtp.suite == there.srtp.suite == "AEAD_AES_256_GCM"


def test_an_offer_without_srtp_is_what_it_always_was() -> None:
    """Off changes not an octet."""
    assert b"crypto" not in offer(OFF)
    assert offer(msgspec.structs.replace(OFF, master=MASTER)) == offer(OFF)


@pytest.mark.parametrize(
    "wrong",
    [
        SECURE,
        PLAIN,
        SECURE + crypto(LINE.replace("1 ", "2 ", 1)),
        SECURE + crypto(LINE.replace("1 ", "9 ", 1)),
        SECURE + crypto(LINE[:-4]),
    ],
)
def test_an_answer_must_take_one_of_the_lines_offered(wrong: str) -> None:
    """By tag and suite; anything else would be silence at best."""
    with pytest.raises(PeerError):
        accept(REQUIRED, offered(wrong))


def test_a_secure_answer_to_a_plain_offer_is_refused() -> None:
    """RFC 3264 6: the answer's protocol is the offer's."""
    with pytest.raises(PeerError):
        accept(OFF, offered(SECURE, crypto()))


def test_offers_and_answers_of_one_dialog_keep_their_keys() -> None:
    """Holding and retrieving changes neither key, so that both sides go on counting packets where they were."""
    first = answer(offered(SECURE, crypto()), REQUIRED)
    local = msgspec.structs.replace(REQUIRED, version=2)
    held = answer(offered(SECURE, crypto(), "a=sendonly\r\n"), local)
    assert held.srtp == first.srtp
    rekeyed = answer(offered(SECURE, crypto(LINE.replace("/", "+").replace("Z", "Y"))), local)
    assert rekeyed.srtp is not None
    assert first.srtp is not None
    assert rekeyed.srtp.ours == first.srtp.ours
    assert rekeyed.srtp.theirs != first.srtp.theirs
