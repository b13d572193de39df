"""Protected legs (RFC 3711, RFC 7714): two planes talk through SRTP, and whoever has no key gets and does nothing."""

from __future__ import annotations

import hashlib
import hmac
import struct

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, PHONE, STRANGER, Phone, World, frames, sine, speech, through_code
from pylibsrtp import Policy, Session

from gateway.core.errors import MisuseError
from gateway.core.events import DigitPressed, LineFellSilent
from gateway.media import g711, rtcp, rtp
from gateway.media.commands import (
    Again,
    CloseLeg,
    LegClosed,
    LegLatched,
    LegStats,
    QueueAudio,
    SendDigits,
    SetLoopback,
    SetTone,
    Srtp,
)
from gateway.media.datagrams import Received, ToSend
from gateway.media.legs import Leg
from gateway.media.plane import PlaneOptions
from gateway.media.srtp import MOST_WRAPS, SecureLegs

OCTETS = {
    "AES_CM_128_HMAC_SHA1_80": (16, 14),
    "AES_CM_128_HMAC_SHA1_32": (16, 14),
    "AEAD_AES_128_GCM": (16, 12),
    "AEAD_AES_256_GCM": (32, 12),
}
PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
SUITE = "AES_CM_128_HMAC_SHA1_80"


def key(suite: str = SUITE, seed: int = 1) -> bytes:
    return bytes((seed * 37 + k) % 256 for k in range(sum(OCTETS[suite])))


def keys(suite: str = SUITE, ours: int = 1, theirs: int = 2) -> Srtp:
    return Srtp(suite, key(suite, ours), key(suite, theirs))


def session(suite: str, master: bytes, kind: int) -> Session:
    return Session(Policy(key=master, ssrc_type=kind, srtp_profile=PROFILES[suite]))


class SecurePhone(Phone):
    """A phone with libsrtp of its own. Its key is `theirs` of `keys()`."""

    def __init__(self, suite: str = SUITE, *, ours: int = 1, theirs: int = 2, **options: int) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.sends = session(suite, key(suite, theirs), Policy.SSRC_ANY_OUTBOUND)
        self.takes = session(suite, key(suite, ours), Policy.SSRC_ANY_INBOUND)

    def build(self, payload_type: int, payload: bytes, marker: bool = False, timestamp: int | None = None) -> bytes:
        return self.sends.protect(super().build(payload_type, payload, marker, timestamp))


def secure(srtp: Srtp | None = None, **options: object) -> World:
    return World().open().connect(srtp=srtp or keys(), **options)


def stats(world: World) -> LegStats:
    return world.do(CloseLeg("call")).ticks(2).all(LegClosed)[0].stats


# By the book


def derived(master: bytes, salt: bytes, label: int, octets: int) -> bytes:
    """RFC 3711 4.3: session keys out of the master key, with a key derivation rate of 0."""
    x = int.from_bytes(salt.ljust(14, b"\0"), "big") ^ label << 48
    stream = Cipher(algorithms.AES(master), modes.CTR((x << 16).to_bytes(16, "big"))).encryptor()
    return stream.update(bytes(octets))


def protected_by_hand(suite: str, master: bytes, packet: bytes, roc: int) -> bytes:
    """An SRTP packet by our own reckoning: RFC 3711 4.1.1 and 4.2, RFC 7714 8.1 and 9."""
    key_octets, salt_octets = OCTETS[suite]
    head, payload, ssrc, sequence = packet[:12], packet[12:], packet[8:12], packet[2:4]
    key_, salt = master[:key_octets], master[key_octets:]
    cipher_key = derived(key_, salt, 0, key_octets)
    session_salt = int.from_bytes(derived(key_, salt, 2, salt_octets), "big")
    index = roc << 16 | int.from_bytes(sequence, "big")
    if "GCM" in suite:
        nonce = (int.from_bytes(ssrc, "big") << 48 | index) ^ session_salt
        return head + AESGCM(cipher_key).encrypt(nonce.to_bytes(12, "big"), payload, head)
    counter = session_salt << 16 ^ int.from_bytes(ssrc, "big") << 64 ^ index << 16
    coded = Cipher(algorithms.AES(cipher_key), modes.CTR(counter.to_bytes(16, "big"))).encryptor().update(payload)
    tag = hmac.digest(derived(key_, salt, 1, 20), head + coded + struct.pack("!I", roc), hashlib.sha1)
    return head + coded + tag[: 4 if suite.endswith("32") else 10]


def test_our_reckoning_is_that_of_the_standard() -> None:
    """RFC 3711 B.2 (the first key stream blocks) and B.3 (key derivation)."""
    master, salt = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"), bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    assert derived(master, salt, 0, 16).hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert derived(master, salt, 2, 14).hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert derived(master, salt, 1, 20).hex().upper() == "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"
    stream = Cipher(
        algorithms.AES(bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")),
        modes.CTR(bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000")),
    ).encryptor()
    assert stream.update(bytes(16)).hex().upper() == "E03EAD0935C95E80E166B16DD92B4EB4"


@pytest.mark.parametrize("suite", list(OCTETS))
def test_what_leaves_is_srtp_by_the_book(suite: str) -> None:
    """Octet by octet, from the standards' own derivation."""
    world = secure(keys(suite))
    plain = World().open().connect()
    for one in (world, plain):
        one.plane.table.sequence[0] = 0x7FFE  # the same in both: SSRC and timestamp are by the same seed
        one.do(SetTone("call", 1004.0))
    for _ in range(4):
        (wire,) = world.tick()
        (inner,) = plain.tick()
        assert wire.data == protected_by_hand(suite, key(suite, 1), inner.data, 0)
        assert (wire.destination, wire.control) == (inner.destination, inner.control)


# A call


@pytest.mark.parametrize("suite", list(OCTETS))
def test_two_planes_talk(suite: str) -> None:
    """Audio, digits and reports, both ways, and nothing of it is readable on the way."""
    left, right = (World(options=PlaneOptions(slots=2, rtcp_interval_s=0.2)) for _ in range(2))
    left.open().connect(srtp=keys(suite, 1, 2))
    right.open().connect(srtp=keys(suite, 2, 1)).do(SetLoopback("call", True))
    tone = sine(440, 0.6)
    left.do(SendDigits("call", "42", 80)).ticks(1).do(QueueAudio("call", 1, tone.tobytes(), last=True))
    opened = session(suite, key(suite, 2), Policy.SSRC_ANY_INBOUND)
    to_right: list[ToSend] = []
    echoed = []
    for _ in range(75):
        to_left = right.tick(*[d.data for d in to_right])
        to_right = left.tick(*[d.data for d in to_left])
        echoed += [rtp.parse(opened.unprotect(d.data)).payload for d in to_left if not rtp.is_rtcp(d.data)]
    assert "".join(p.digit for p in right.all(DigitPressed)) == "42"
    heard = g711.decode(np.frombuffer(b"".join(p for p in echoed if len(p) == FRAME), np.uint8), 0)
    assert through_code(tone)[:FRAME].tobytes() in heard.tobytes()
    assert stats(left).round_trip_ms is not None
    counted = stats(right)
    assert counted.packets_forged == counted.packets_malformed == counted.packets_lost == 0


def test_plain_and_protected_legs_live_in_one_plane() -> None:
    """Each gets its own kind; the plain one's packets are what they would be alone."""
    world = World().open("plain", port=1).open("safe", port=2).connect("plain").connect("safe", srtp=keys())
    phones = {"plain": Phone("plain"), "safe": SecurePhone()}
    for frame in frames(speech()[8000:16000]):
        world.take([Received(name, phone.packet(frame), PHONE, world.now) for name, phone in phones.items()])
    sizes = {name: {len(d.data) for d in world.sent if d.leg == name and not rtp.is_rtcp(d.data)} for name in phones}
    assert sizes == {"plain": {172}, "safe": {182}}
    for name in phones:
        world.do(CloseLeg(name))
    world.ticks(2)
    assert [c.stats.packets_received for c in world.all(LegClosed)] == [50, 50]


def anybody(leg: Leg, datagram: Received) -> bool:
    return True


def test_plain_legs_pay_nothing() -> None:
    """Without a protected leg every batch goes through as it is, untouched and uncopied."""
    secured = SecureLegs()
    to_send, received = [ToSend("call", b"out", PHONE)], [Received("call", b"in", PHONE, 1.0)]
    assert secured.protect(to_send) is to_send
    assert secured.open(received, anybody) is received
    world = secure()
    world.do(CloseLeg("call")).ticks(2)
    assert (
        world.plane._secure.open(received, lambda leg, datagram: True) is received
    )  # the last protected leg leaves nothing behind


def test_the_goodbye_is_protected_too() -> None:
    """The last report leaves after the leg is gone."""
    world = secure()
    phone = SecurePhone()
    world.tick(phone.packet(sine(440, 0.02)))
    world.do(CloseLeg("call"))
    (goodbye,) = [d for d in world.tick() if rtp.is_rtcp(d.data)]
    opened = phone.takes.unprotect_rtcp(goodbye.data)
    assert opened[-8 + 1] == 203
    assert len(rtcp.parse(opened)) == 1


# Without the key


def test_a_wrong_key_is_silence_and_counted() -> None:
    """Neither heard nor latched to; the line counts as dead after its time."""
    world = World().open(silent_after_s=1.0).connect(srtp=keys())
    world.talk(SecurePhone(theirs=9), sine(440, 2.0))
    assert world.all(LegLatched) == []
    assert len(world.all(LineFellSilent)) == 1
    counted = stats(world)
    assert (counted.packets_forged, counted.packets_received) == (100, 0)


def test_plain_packets_do_not_get_in() -> None:
    """A leg with keys takes nothing without."""
    world = secure()
    world.talk(Phone(), sine(440, 1.0))
    assert stats(world).packets_forged == 50


def test_a_stranger_with_an_old_packet_moves_nothing() -> None:
    """It is foreign; a replay from where the peer is is malformed, as the network doubles packets, too."""
    world = secure()
    phone = SecurePhone()
    old = [phone.packet(frame) for frame in frames(sine(440, 0.2))]
    for packet in old:
        world.tick(packet)
    for packet in old:
        world.tick(packet, source=STRANGER)
        world.tick(packet)
    assert [(latched.host, latched.port) for latched in world.all(LegLatched)] == [PHONE]
    counted = stats(world)
    assert (counted.packets_foreign, counted.packets_malformed, counted.packets_forged) == (10, 10, 0)
    assert counted.packets_received == 10


def test_a_stranger_s_copy_does_not_make_a_replay_of_the_packet_itself() -> None:
    """Whoever listens on the way may be read first: of a tick's packets, those to everybody's socket are."""
    world, phone = secure().do(SetLoopback("call", True)), SecurePhone()
    for frame in frames(sine(440, 1.0)):
        packet = phone.packet(frame)
        sources = [PHONE] if not world.all(LegLatched) else [STRANGER, (PHONE[0], 4711), PHONE]
        world.take([Received("call", packet, source, world.now - 0.005) for source in sources])
    counted = stats(world)
    assert (counted.packets_received, counted.packets_foreign, counted.packets_malformed) == (50, 98, 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 181), st.integers(1, 255))
def test_no_octet_can_be_changed(at: int, flip: int) -> None:
    """Wherever the packet is touched, it is dropped and the next one is heard."""
    world = secure()
    phone = SecurePhone()
    world.tick(phone.packet(sine(440, 0.02)))
    packet = bytearray(phone.packet(sine(440, 0.02)))
    packet[at] ^= flip
    world.tick(bytes(packet)).clear()
    world.tick(phone.packet(sine(440, 0.02)))
    counted = stats(world)
    assert counted.packets_received == 2
    assert counted.packets_forged + counted.packets_malformed == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=1600) | st.binary(max_size=60).map(lambda b: b"\x80\xc8" + b), max_size=8))
def test_rubbish_does_no_harm(rubbish: list[bytes]) -> None:
    """Of any length, as RTP or RTCP: nothing raises, and the call goes on."""
    for suite in ("AES_CM_128_HMAC_SHA1_32", "AEAD_AES_256_GCM"):
        world = secure(keys(suite))
        world.tick(*rubbish, *(b"\x90" + one for one in rubbish), *(b"\xbf\x00" + one for one in rubbish))
        world.tick(SecurePhone(suite).packet(sine(440, 0.02)))
        assert stats(world).packets_received == 1


def test_sources_without_end_are_not_followed() -> None:
    """A peer with a key may change its SSRC, but not fill our memory with them."""
    world = secure()
    for ssrc in range(100):
        world.tick(SecurePhone(ssrc=1000 + ssrc).packet(sine(440, 0.02)))
    assert stats(world).packets_malformed == 100 - 32


# Counting on


def test_the_sequence_wraps_both_ways() -> None:
    """RFC 3711 3.3.1: each side counts the other's wraps, also across a loss at the wrap."""
    world = secure()
    world.plane.table.sequence[0] = 0xFFF0
    phone = SecurePhone(sequence=0xFFF0)
    heard = 0
    for k, frame in enumerate(frames(sine(440, 1.0))):
        packet = phone.packet(frame)
        for datagram in world.tick(*([] if k in (15, 16) else [packet])):
            if not rtp.is_rtcp(datagram.data):
                phone.takes.unprotect(datagram.data)
                heard += 1
    assert heard == 50
    counted = stats(world)
    assert (counted.packets_received, counted.packets_lost, counted.packets_forged) == (48, 2, 0)


def test_a_reoffer_with_the_same_keys_goes_on() -> None:
    """After a wrap on both sides, a hold and a retrieve leave the counts of packets alone (RFC 4568 7.1.4)."""
    world = secure()
    world.plane.table.sequence[0] = 0xFFF0
    phone = SecurePhone(sequence=0xFFF0)
    for direction in ("sendrecv", "sendonly", "sendrecv"):
        world.connect(srtp=keys(), direction=direction)
        for frame in frames(sine(440, 0.6)):
            for datagram in world.tick(phone.packet(frame)):
                assert len(phone.takes.unprotect(datagram.data)) == 172
    assert stats(world).packets_forged == 0


def test_a_new_key_of_the_peer_takes_over() -> None:
    """Packets that left under the old one are still taken until the first under the new one; then no more."""
    world = secure()
    old, new = SecurePhone(), SecurePhone(theirs=5, sequence=103)
    late = [old.packet(frame) for frame in frames(sine(440, 0.06))]
    world.tick(late[0])
    world.connect(srtp=keys(theirs=5))
    world.tick(late[1])
    world.tick(new.packet(sine(440, 0.02)))
    world.tick(late[2])
    counted = stats(world)
    assert (counted.packets_received, counted.packets_forged) == (3, 1)


def test_no_key_stream_is_used_twice() -> None:
    """A key that comes back after another one counts on from where it was."""
    world = secure()
    world.plane.table.sequence[0] = 0xFFF0
    phone = SecurePhone()
    for _ in range(32):
        for datagram in world.tick():
            phone.takes.unprotect(datagram.data)
    world.connect(srtp=keys("AEAD_AES_128_GCM")).ticks(3).connect(srtp=keys())
    (datagram,) = world.tick()
    assert len(phone.takes.unprotect(datagram.data)) == 172


@pytest.mark.parametrize("suite", list(OCTETS))
@pytest.mark.parametrize("wraps", [0, 1, MOST_WRAPS - 1])
@pytest.mark.parametrize("sequence", [0, 1, 0x5FFF, 0x8000, 0xFFFF])
def test_a_leg_that_was_opened_again_finds_how_often_its_peer_has_wrapped(
    suite: str, wraps: int, sequence: int
) -> None:
    """The count goes into each packet's authentication (RFC 3711 4.2), and died with the process that kept it. A
    forger is not heard meanwhile, and does not disturb."""
    world = World().open(again=Again(20000, 990.0)).connect(srtp=keys(suite))
    index = wraps << 16 | sequence
    genuine, forged = (
        [
            protected_by_hand(suite, key(suite, seed), rtp.build(packet), at >> 16)
            for at in range(index, index + 5)
            for packet in [rtp.RtpPacket(0, at & 0xFFFF, 160 * at & 0xFFFFFFFF, 77, bytes(160))]
        ]
        for seed in (2, 9)
    )
    for k in range(5):
        world.tick(forged[k], genuine[k])
    counted = stats(world)
    assert (counted.packets_received, counted.packets_forged, counted.packets_malformed) == (5, 5, 0)


def test_a_peer_that_had_wrapped_before_is_a_forger_to_a_leg_that_was_not() -> None:
    """Only a leg that was opened again has missed anything; nobody else's packets are tried more than once."""
    packet = rtp.build(rtp.RtpPacket(0, 5, 800, 77, bytes(160)))
    world = secure()
    world.tick(protected_by_hand(SUITE, key(SUITE, 2), packet, 1))
    assert stats(world).packets_forged == 1


def test_protection_may_begin_and_end_with_an_agreement() -> None:
    """A re-offer from plain to protected and back, as both sides agreed."""
    world = World().open().connect()
    assert len(world.tick()[0].data) == 172
    world.connect(srtp=keys())
    assert len(world.tick()[0].data) == 182
    world.connect()
    assert len(world.tick()[0].data) == 172


@pytest.mark.parametrize("bad", [Srtp("NULL", b"", b""), Srtp(SUITE, b"short", key()), Srtp(SUITE, key(), b"")])
def test_a_leg_whose_keys_are_none_does_not_speak(bad: Srtp) -> None:
    """Our caller's fault; better silence than plain audio."""
    world = World().open()
    with pytest.raises(MisuseError):
        world.connect(srtp=bad)
    assert world.ticks(3).sent == []
    assert "short" not in repr(bad)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(bad), type=Srtp) == bad
