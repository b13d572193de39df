"""Legs whose packets somebody else carries: heard and spoken to as if they had a socket."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media_world import FRAME, PHONE, Phone, World, frames, sine, speech
from pylibsrtp import Policy, Session
from wide_world import NUMBER, WIDE_FRAME, WidePhone, WideWorld, wide_speech

from gateway.media import commands as c
from gateway.media import rtcp, rtp, trace
from gateway.media.plane import PlaneOptions

CODECS = pytest.mark.parametrize("codec", ["PCMU", "opus"])
KEYS = c.Srtp("AES_CM_128_HMAC_SHA1_80", bytes(range(30)), bytes(range(30, 60)))
FATE = [1, 2, 4, 3, 5, 5, 8, 7, 20, 21, 22, 24, 25, 23]
"""Of the first packets: numbers as they come, some swapped, doubled, lost and late."""


def talked(kind: str, codec: str, keys: c.Srtp | None) -> tuple[WideWorld, list[bytes]]:
    """A call in which both sides talk, over a bad network; and what the far side was sent."""
    w, number = WideWorld(), NUMBER.get(codec, 0)
    w.open(kind=kind, record="call.wav")
    w.connect(codec=codec, payload_type=number, dtmf_payload_type=None, rtcp_mux=True, srtp=keys)
    phone = WidePhone("opus", copies=True) if codec == "opus" else Phone()
    pieces = frames(wide_speech(), WIDE_FRAME) if codec == "opus" else frames(speech())
    packets = [phone.packet(piece) for piece in pieces[:200]]
    if keys is not None:
        theirs = Session(Policy(key=keys.theirs, ssrc_type=Policy.SSRC_ANY_OUTBOUND))
        packets = [theirs.protect(packet) for packet in packets]
    w.do(c.QueueAudio("call", 1, speech()[8000:24000].tobytes(), last=True))
    for number in [*FATE, *range(35, len(packets))]:
        if kind == "rtp":
            w.tick(packets[number])
        else:
            w.do(c.RelayPacket("call", packets[number], w.now - 0.005)).tick()
    if kind == "rtp":
        return w, [one.data for one in w.sent]
    assert not w.sent
    return w, [one.data for one in w.all(c.PacketReady)]


@CODECS
@pytest.mark.parametrize("keys", [None, KEYS])
def test_a_relayed_leg_is_one_with_a_socket_to_the_bit(codec: str, keys: c.Srtp | None) -> None:
    """The same jitter buffer, recovery, detector, recording, figures, packets and reports, whoever carries them."""
    (socket, sent), (relayed, handed_over) = talked("rtp", codec, keys), talked("relayed", codec, keys)
    assert handed_over == sent
    assert len(sent) > 150
    assert any(rtp.is_rtcp(one) for one in sent)
    for w in (socket, relayed):
        w.do(c.CloseLeg("call")).ticks(2)
    of_packets = (c.LegLatched, c.LegClosed, c.PacketReady)
    assert [one for one in relayed.said if not isinstance(one, of_packets)] == [
        one for one in socket.said if not isinstance(one, of_packets)
    ]
    assert relayed.files.written == socket.files.written
    (figures,), (of_socket,) = (w.all(c.LegClosed) for w in (relayed, socket))
    assert figures.stats == of_socket.stats
    assert figures.stats.packets_lost > 5
    assert figures.stats.mos is not None


def test_packets_that_try_the_line_are_no_loss_and_nothing_to_hear() -> None:
    """Browsers send some of mere padding: they count, and neither they nor a rest after them are made up for."""
    w, phone = WideWorld(), WidePhone("opus", copies=True)
    w.open(kind="relayed", record="call.wav").connect(codec="opus", payload_type=NUMBER["opus"])

    def came(packet: bytes) -> None:
        w.do(c.RelayPacket("call", packet, w.now)).tick()

    pieces = frames(wide_speech()[12000:], WIDE_FRAME)
    for piece in pieces[:25]:
        came(phone.packet(piece))
    came(phone.build(NUMBER["opus"], b""))
    phone.timestamp += 960 * 20
    w.ticks(19)
    for piece in pieces[25:35]:
        came(phone.packet(piece))
    w.do(c.CloseLeg("call")).ticks(2)
    stats = w.all(c.LegClosed)[0].stats
    assert (stats.packets_received, stats.packets_lost, stats.packets_malformed) == (36, 0, 0)
    heard = np.frombuffer(bytes(w.files.written[max(w.files.written)][44:]), "<i2")[::2].reshape(-1, WIDE_FRAME)
    levels = np.abs(heard.astype(int)).max(axis=1)
    assert levels[5:24].min() > 1000
    assert levels[30:42].max() < 100
    assert levels[48:54].min() > 1000


def test_what_the_peer_reports_is_known() -> None:
    """The figures have it, and losses are answered with copies where they are wanted. Those come on top of what Opus
    may take, which is more than for a telephone."""
    w, lengths = World(options=PlaneOptions(slots=2, rtcp_interval_s=0.1)), list[float]()
    w.open(kind="relayed").connect(codec="opus", payload_type=NUMBER["opus"], copies=True, opus_bits_per_s=48_000)
    w.ticks(8)
    (of_us,) = (rtcp.parse(one.data)[0] for one in w.all(c.PacketReady) if rtp.is_rtcp(one.data))
    assert of_us.sender is not None
    since = w.now - 0.02 - next(one.at for one in w.all(c.PacketReady) if rtp.is_rtcp(one.data))
    for clip, (fraction, lost) in enumerate(((0, 0), (30, 7))):
        turn = rtcp.middle(of_us.sender.ntp), round(65536 * (since + 0.02 - 0.08))
        block = rtcp.Block(of_us.ssrc, fraction, lost, 0, 0, *(turn if clip == 0 else (0, 0)))
        w.do(c.RelayPacket("call", rtcp.build(rtcp.Report(9, None, (block,)), "x"), w.now)).said.clear()
        w.do(c.QueueAudio("call", clip, speech()[6000:22400].tobytes(), last=True)).ticks(100)
        lengths.append(mean_octets(w))
    w.do(c.CloseLeg("call")).ticks(2)
    stats = w.all(c.LegClosed)[0].stats
    assert stats.remote_lost == 7
    assert stats.round_trip_ms == pytest.approx(80.0, abs=0.2)
    telephone = World().open(kind="relayed").connect(codec="opus", payload_type=NUMBER["opus"])
    telephone.do(c.QueueAudio("call", 1, speech()[6000:22400].tobytes(), last=True)).ticks(100)
    assert lengths[0] > 1.3 * mean_octets(telephone)
    assert lengths[1] > 1.2 * lengths[0]


def mean_octets(w: World) -> float:
    """Of an audio packet's payload."""
    return float(np.mean([len(one.data) - rtp.HEADER for one in w.all(c.PacketReady) if not rtp.is_rtcp(one.data)]))


@CODECS
def test_its_packets_are_kept_for_replays(codec: str, tmp_path: Path) -> None:
    """In the trace, each before the tick that took it."""
    w, number = World(), NUMBER.get(codec, 0)
    w.open(kind="relayed", trace=str(tmp_path / "packets.trace")).connect(codec=codec, payload_type=number)
    phone = WidePhone("opus") if codec == "opus" else Phone()
    packets = [phone.packet(piece) for piece in frames(sine(300, 1.0), WIDE_FRAME if codec == "opus" else FRAME)]
    for packet in packets:
        w.do(c.RelayPacket("call", packet, w.now - 0.003)).tick()
    w.do(c.CloseLeg("call")).ticks(2)
    kept = [one for one in trace.read((tmp_path / "packets.trace").read_bytes()) if isinstance(one, trace.Traced)]
    assert [one.data for one in kept] == packets
    assert [one.at_s for one in kept] == pytest.approx([0.02 * k - 0.003 for k in range(len(kept))], abs=2e-6)


def test_it_reports_by_the_same_way_and_says_no_goodbye() -> None:
    """Whoever carries its packets ends the connection himself."""
    w = World(options=PlaneOptions(slots=2, rtcp_interval_s=0.1))
    w.open(kind="relayed").connect().ticks(50)
    reports = [one for one in w.all(c.PacketReady) if rtp.is_rtcp(one.data)]
    assert 8 <= len(reports) <= 11
    w.do(c.CloseLeg("call")).ticks(2)
    assert len(w.all(c.PacketReady)) == 50 + len(reports)
    assert not w.sent


def test_packets_of_others_are_not_its_own() -> None:
    """Neither a datagram from the network, nor a packet handed to a leg of another kind."""
    w, phone = World(), Phone()
    w.open("browser", kind="relayed").connect("browser").open("phone", port=20002).connect("phone")
    w.tick(phone.packet(sine(300, 0.02)), leg="browser", source=PHONE)
    w.do(c.RelayPacket("phone", phone.packet(sine(300, 0.02)), w.now)).tick()
    w.do(c.CloseLeg("browser")).do(c.CloseLeg("phone")).ticks(2)
    browser, other = (one.stats for one in w.all(c.LegClosed))
    assert (browser.packets_received, browser.packets_foreign) == (0, 1)
    assert other.packets_received == 0


def test_a_phone_and_a_browser_hear_each_other() -> None:
    """On a bridge, each by its own way."""
    w = World()
    w.open("c-1", kind="relayed").connect("c-1").open("c-1.2", port=20002).connect("c-1.2").do(c.Bridge("c-1", "c-1.2"))
    phone, page = Phone("c-1.2"), Phone("c-1", ssrc=5)
    for _ in range(30):
        w.do(c.RelayPacket("c-1", page.packet(sine(440, 0.02, 3000)), w.now))
        w.tick(phone.packet(sine(300, 0.02, 12000)), leg="c-1.2")
    assert np.abs(w.spoken("c-1.2")[-FRAME:]).max() == pytest.approx(3000, rel=0.05)
    last = rtp.parse(w.all(c.PacketReady)[-1].data)
    assert len(last.payload) == FRAME
    assert any(byte not in (0x7F, 0xFF) for byte in last.payload)


def test_what_is_not_protected_by_its_keys_is_not_heard() -> None:
    """Whoever found the way to the browser's socket."""
    w, phone = World(), Phone()
    w.open(kind="relayed").connect(srtp=KEYS)
    others = Session(Policy(key=KEYS.ours, ssrc_type=Policy.SSRC_ANY_OUTBOUND))
    for packet in (phone.packet(sine(300, 0.02)), others.protect(phone.packet(sine(300, 0.02))), b"\x80", b""):
        w.do(c.RelayPacket("call", packet, w.now)).tick()
    w.do(c.CloseLeg("call")).ticks(2)
    stats = w.all(c.LegClosed)[0].stats
    assert (stats.packets_received, stats.packets_forged, stats.packets_malformed) == (0, 2, 2)


def test_rtcp_comes_the_same_way() -> None:
    """Read as a report, or counted."""
    w = World().open(kind="relayed").connect()
    ssrc = int(w.plane.table.ssrc[0])
    w.do(c.RelayPacket("call", rtcp.build(rtcp.Report(9, None, (rtcp.Block(ssrc, 0, 4, 1, 0, 0, 0),)), "x"), w.now))
    w.do(c.RelayPacket("call", b"\x80", w.now)).ticks(2).do(c.CloseLeg("call")).ticks(2)
    stats = w.all(c.LegClosed)[0].stats
    assert (stats.remote_lost, stats.packets_malformed) == (4, 1)
