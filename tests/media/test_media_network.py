"""Peers, strangers and worse: who is heard, who is answered, and that nothing they send stops a tick."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, PHONE, STRANGER, Phone, World, frames, sine, through_code
from wide_world import WideWorld

from gateway.core.events import LineFellSilent, LineRecovered
from gateway.media import rtcp, rtp
from gateway.media.commands import (
    CloseLeg,
    LegClosed,
    LegFailed,
    LegLatched,
    LegOpened,
    LegStats,
    PushPcm,
    QueueAudio,
    SetLoopback,
)
from gateway.media.plane import PlaneOptions, Received

NAT = ("192.0.2.99", 1024)
NEW_PORT = ("192.0.2.99", 60001)


def stats(world: World, leg: str = "call") -> LegStats:
    """Close the leg and see what it counted."""
    world.do(CloseLeg(leg)).ticks(2)
    return next(closed.stats for closed in world.all(LegClosed) if closed.leg == leg)


def echo(**options: object) -> World:
    return World().open(**options).connect().do(SetLoopback("call", True))


def test_the_echo_is_what_was_said() -> None:
    """After the jitter buffer and back: every sample, 40 ms later on a perfect network."""
    pcm = sine(440, 0.5)
    world = echo().talk(Phone(), pcm).ticks(4)
    assert np.array_equal(world.spoken()[2 * FRAME :][: len(pcm)], through_code(pcm))


@pytest.mark.parametrize(("codec", "law"), [("PCMU", 0), ("PCMA", 1)])
def test_both_laws_in_and_out(codec: str, law: int) -> None:
    """A call in either law is answered in the same."""
    world = World().open().connect(codec=codec).do(SetLoopback("call", True))
    world.talk(Phone(law=law), sine(440, 0.3)).ticks(4)
    assert {p.payload_type for p in world.packets()} == {8 * law}
    assert np.array_equal(world.spoken(law=law)[2 * FRAME :][:2400], through_code(sine(440, 0.3), law))


def test_a_peer_may_switch_laws_in_mid_stream() -> None:
    """RFC 3264 lets it use either if both were agreed on: each packet is decoded by its own type."""
    world, phone = echo(), Phone()
    world.talk(phone, sine(440, 0.2))
    phone.law = 1
    world.talk(phone, sine(440, 0.2)).ticks(4)
    assert np.array_equal(
        world.spoken()[10 * FRAME :][2 * FRAME :][:1600], through_code(through_code(sine(440, 0.2), 1))
    )


def test_media_goes_to_the_sdp_until_it_comes_from_elsewhere() -> None:
    """Symmetric RTP: behind a NAT the address that really sends is the one that can be reached."""
    world, phone = World().open().connect(), Phone()
    world.ticks(3)
    assert {d.destination for d in world.sent if not d.control} == {PHONE}
    world.tick(phone.packet(sine(440, 0.02)), source=NAT)
    assert world.all(LegLatched) == [LegLatched(world.now - 0.02, "call", *NAT)]
    world.sent.clear()
    world.ticks(3)
    assert {d.destination for d in world.sent if not d.control} == {NAT}


def test_strangers_are_ignored_and_counted() -> None:
    """Once latched, nobody else is heard or answered: RTP injection fails."""
    world, phone, intruder = echo(), Phone(), Phone(ssrc=666, timestamp=999)
    pcm = sine(440, 0.4)
    for frame in frames(pcm):
        world.tick(phone.packet(frame))
        world.tick(intruder.packet(np.full(FRAME, 9000, np.int16)), source=STRANGER)
    assert len(world.all(LegLatched)) == 1
    assert {d.destination for d in world.sent if not d.control} == {PHONE}
    assert np.abs(world.spoken()).max() < 8900
    counted = stats(world)
    assert (counted.packets_foreign, counted.packets_received) == (20, 20)


def test_the_signalled_address_takes_over_from_one_who_was_quicker() -> None:
    """Whoever guesses the port and sends first loses the call again to the address in the SDP."""
    world, phone, intruder = World().open().connect(), Phone(), Phone(ssrc=666)
    world.tick(intruder.packet(sine(300, 0.02)), source=STRANGER)
    world.talk(phone, sine(440, 0.1))
    assert [(m.host, m.port) for m in world.all(LegLatched)] == [STRANGER, PHONE]
    world.tick(intruder.packet(sine(300, 0.02)), source=STRANGER)
    assert len(world.all(LegLatched)) == 2


def test_a_new_offer_may_move_the_media() -> None:
    """A re-INVITE with another address latches anew; the same address again changes nothing."""
    world, phone = World().open().connect(), Phone()
    world.talk(phone, sine(440, 0.1)).connect().talk(phone, sine(440, 0.1))
    assert len(world.all(LegLatched)) == 1
    world.connect(host=NAT[0], port=NAT[1])
    phone.source = NAT
    world.talk(phone, sine(440, 0.1))
    assert [(m.host, m.port) for m in world.all(LegLatched)] == [PHONE, NAT]


def moving() -> tuple[World, Phone, Phone]:
    """A phone behind a NAT that announced another port, but has not read our answer yet: one more packet comes from
    where it was. Behind it, the phone as it goes on."""
    world, phone = World().open().connect(host="10.0.0.5", port=4000), Phone()
    phone.source = NAT
    world.talk(phone, sine(440, 0.2)).connect(host="10.0.0.5", port=4002)
    world.tick(phone.packet(sine(440, 0.02)), source=NAT)
    there = Phone(ssrc=4711, sequence=9, timestamp=77)
    there.source = NEW_PORT
    return world, phone, there


def test_a_peer_that_moves_is_found_though_it_sent_on_from_where_it_was() -> None:
    """Its NAT's new port is nowhere in the SDP, and the stream another one."""
    world, phone, there = moving()
    world.sent.clear()
    world.talk(there, sine(440, 0.4)).ticks(2)
    assert [(m.host, m.port) for m in world.all(LegLatched)] == [NAT, NAT, NEW_PORT]
    assert {d.destination for d in world.sent[1:] if not d.control} == {NEW_PORT}
    world.tick(phone.packet(sine(440, 0.02)), source=NAT)
    assert stats(world).packets_foreign == 1


def test_nobody_elsewhere_takes_the_place_of_a_peer_that_moves() -> None:
    """Who guesses the port, and the moment, is a stranger still."""
    world, _, there = moving()
    there.source = ("203.0.113.5", 60001)
    world.talk(there, sine(440, 0.4))
    assert [(m.host, m.port) for m in world.all(LegLatched)] == [NAT, NAT]
    assert stats(world).packets_foreign == 20


def test_a_peer_that_stays_where_it_was_is_nobody_else_s_prey_for_long() -> None:
    """It may announce what it likes, and send as ever: soon only the SDP's address may correct that again."""
    world, phone, there = moving()
    world.talk(phone, sine(440, 3.0)).talk(there, sine(440, 0.4))
    assert [(m.host, m.port) for m in world.all(LegLatched)] == [NAT, NAT]
    assert stats(world).packets_foreign == 20


def fallen_silent() -> tuple[World, Phone]:
    """Behind a NAT, after a fifth of a second."""
    world, phone = echo(silent_after_s=2.0), Phone()
    phone.source = NAT
    world.talk(phone, sine(440, 0.2)).ticks(120)
    assert len(world.all(LineFellSilent)) == 1
    return world, phone


def test_a_stream_that_fell_silent_may_come_back_from_another_port() -> None:
    """A NAT that has forgotten the phone gives it another port: the same stream from the same address is heard and
    answered there, and not where it came from before."""
    world, phone = fallen_silent()
    phone.source = NEW_PORT
    world.sent.clear()
    world.talk(phone, sine(440, 0.4)).ticks(4)
    assert [(m.host, m.port) for m in world.all(LegLatched)] == [NAT, NEW_PORT]
    assert len(world.all(LineRecovered)) == 1
    assert np.abs(world.spoken()[-1600:]).max() > 7000
    assert {d.destination for d in world.sent[1:] if not d.control} == {NEW_PORT}
    world.tick(phone.packet(sine(440, 0.02)), source=NAT)
    counted = stats(world)
    assert (counted.packets_foreign, counted.packets_lost, counted.packets_received) == (1, 0, 30)


@pytest.mark.parametrize(
    ("source", "ssrc"), [(NEW_PORT, 666), ((STRANGER[0], NAT[1]), 77)], ids=["another stream", "another address"]
)
def test_a_silent_line_is_nobody_elses(source: tuple[str, int], ssrc: int) -> None:
    """Whoever lies in wait for the silence knows neither the stream's number nor has its address."""
    world, phone = fallen_silent()
    intruder = Phone(ssrc=ssrc, timestamp=phone.timestamp, sequence=phone.sequence)
    intruder.source = source
    world.talk(intruder, sine(300, 0.4))
    world.talk(phone, sine(440, 0.2))
    assert [(m.host, m.port) for m in world.all(LegLatched)] == [NAT]
    assert stats(world).packets_foreign == 20


def test_who_is_heard_has_not_moved() -> None:
    """While packets come from where they did, the same stream from another port is somebody's copy."""
    world, phone = echo(silent_after_s=2.0), Phone()
    phone.source = NAT
    for frame in frames(sine(440, 3.0)):
        packet = phone.packet(frame)
        world.take([Received("call", packet, source, world.now) for source in (NAT, NEW_PORT)])
    assert [(m.host, m.port) for m in world.all(LegLatched)] == [NAT]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "phone.example.com", ""])
def test_nothing_is_sent_nowhere(host: str) -> None:
    """The old hold address, and names that would have to be looked up in mid-tick, get no packets until latched."""
    world, phone = World().open().connect(host=host), Phone()
    assert world.ticks(5).sent == []
    world.talk(phone, sine(440, 0.1))
    assert {d.destination for d in world.sent if not d.control} == {PHONE}


def test_a_new_ssrc_takes_over_with_its_second_packet() -> None:
    """A transfer or music on hold restarts the stream with everything new; one stray packet does not."""
    world, phone = echo(), Phone()
    world.talk(phone, sine(440, 0.2))
    world.tick(phone.packet(sine(440, 0.02)), Phone(ssrc=1234, timestamp=3, sequence=9).packet(sine(300, 0.02)))
    world.talk(phone, sine(440, 0.2))
    assert stats_lost(world) == 0
    other = Phone(ssrc=4321, timestamp=2**31, sequence=65535)
    pcm = sine(700, 0.4)
    world.sent.clear()
    world.talk(other, pcm).ticks(5)
    heard = world.spoken()[-17 * FRAME :]
    assert np.array_equal(
        heard[-5 * FRAME - 8 * FRAME : -5 * FRAME], through_code(pcm)[len(pcm) - 11 * FRAME : len(pcm) - 3 * FRAME]
    )
    counted = stats(world)
    assert counted.packets_lost == 0


def stats_lost(world: World) -> int:
    leg = world.plane.table.legs["call"]
    return world.plane._reception.lost(leg.row)


def test_losses_are_counted_by_sequence_numbers() -> None:
    """RFC 3550 A.3, across the wrap; duplicates do not make losses good in the end."""
    world, phone = World().open().connect(), Phone(sequence=65500)
    for k, frame in enumerate(frames(sine(440, 2.0))):
        packet = phone.packet(frame)
        if k % 10 != 5:
            world.tick(packet)
        else:
            world.tick()
    counted = stats(world)
    assert (counted.packets_received, counted.packets_lost) == (90, 10)
    assert counted.mos is not None
    assert 2.5 < counted.mos < 4.2


def test_a_packet_whose_number_is_none_of_the_stream_s_is_let_fall() -> None:
    """RFC 3550 A.1: it is not played, moves nothing, and nobody counts the thousands between it and the others."""
    world, phone, pcm, chance = echo(), Phone(sequence=65500), sine(440, 2.0), np.random.default_rng(3)
    for k, frame in enumerate(frames(pcm)):
        wild = Phone(sequence=phone.sequence + int(chance.integers(3000, 65400)), timestamp=int(chance.integers(2**32)))
        world.tick(phone.packet(frame), *([wild.packet(-frame)] if k > 1 else []))
    assert np.array_equal(world.spoken()[2 * FRAME :][: 97 * FRAME], through_code(pcm)[: 97 * FRAME])
    counted = stats(world)
    assert (counted.packets_received, counted.packets_lost, counted.packets_late) == (100, 0, 0)
    assert counted.packets_malformed == 98


def test_a_stream_whose_numbers_begin_anew_is_the_stream_from_its_second_packet_on() -> None:
    """A relay that was restarted, and kept the SSRC: what it sends is no loss of what it did not."""
    world, phone = World().open().connect(), Phone(sequence=65500)
    world.talk(phone, sine(440, 1.0))
    phone.sequence += 20_000
    world.talk(phone, sine(440, 1.0))
    phone.sequence -= 30_000
    world.talk(phone, sine(440, 1.0))
    counted = stats(world)
    assert (counted.packets_received, counted.packets_lost, counted.packets_malformed) == (148, 0, 2)
    assert counted.mos == pytest.approx(4.39, abs=0.03)


def test_a_packet_that_came_twice_replaces_none_that_was_lost() -> None:
    """On lines that double every packet, too, whichever copy is the later one; the copies cost no quality."""
    world, phone = World().open().connect(), Phone(sequence=65500)
    before = b""
    for k, frame in enumerate(frames(sine(440, 3.0))):
        packet = phone.packet(frame)
        if k % 10 != 5:
            world.tick(packet, *([before] if k % 10 in (7, 8) else [packet]))
            before = packet
        else:
            world.tick()
    counted = stats(world)
    assert (counted.packets_received, counted.packets_lost, counted.packets_late) == (270, 15, 0)
    assert counted.mos is not None
    assert 2.5 < counted.mos < 4.2


def test_copies_that_come_late_are_not_waited_for() -> None:
    """A second way through the network that is 100 ms longer brings nothing new: the buffer stays short."""
    world, phone = echo(), Phone()
    pcm = sine(440, 4.0)
    packets = [phone.packet(frame) for frame in frames(pcm)]
    for k, packet in enumerate(packets):
        world.tick(packet, *packets[max(0, k - 5) : max(0, k - 4)])
    assert np.array_equal(world.spoken()[2 * FRAME :], through_code(pcm)[: -2 * FRAME])
    assert stats(world).packets_late == 0


def test_packets_out_of_order_are_not_lost() -> None:
    """What was missing and comes after all is counted as come, once."""
    world, phone = World().open().connect(), Phone()
    packets = [phone.packet(frame) for frame in frames(sine(440, 2.0))]
    for one, other in zip(packets[::2], packets[1::2], strict=True):
        world.tick(other)
        world.tick(one, one)
    assert stats(world).packets_lost == 0


@pytest.mark.parametrize("jump", [20000, -20000, 0x10000 - 30052, -45])
def test_numbers_that_begin_anew_are_no_losses(jump: int) -> None:
    """RFC 3550 A.1: a sender that was restarted under its old SSRC numbers its packets from anywhere. What is lost
    from there on is counted, and so was what was lost before."""
    world, phone = World().open().connect(), Phone(sequence=30000)
    for frame in frames(sine(440, 1.0)):
        if phone.sequence == 30010:
            phone.sequence += 1
        world.tick(phone.packet(frame))
    phone.sequence += jump
    for k, frame in enumerate(frames(sine(440, 2.0))):
        packet = phone.packet(frame)
        if k % 20 != 15:
            world.tick(packet)
        else:
            world.tick()
    # Begun among numbers that may still be under way, it is known by what is new, and has what was missing.
    assert stats(world).packets_lost == (3 if jump == -45 else 1 + 5)


def test_a_new_source_in_the_first_second_is_no_jitter() -> None:
    """Its clock is another one: what lies between the two says nothing of the line."""
    world = World().open().connect()
    world.talk(Phone(), sine(440, 0.5))
    world.talk(Phone(ssrc=9, timestamp=0, sequence=9000), sine(440, 0.5))
    assert stats(world).jitter_ms == 0


def test_a_call_begins_without_the_jitter_of_the_one_before() -> None:
    """They may have the same row, one right after the other."""
    world = World().open("one").connect("one")
    world.talk(Phone("one"), sine(440, 0.3))
    world.do(CloseLeg("one")).ticks(1)
    world.open("two").connect("two").talk(Phone("two", timestamp=77), sine(440, 0.5))
    assert stats(world, "two").jitter_ms == 0


def test_of_two_sources_at_once_the_first_is_heard() -> None:
    """Early media that goes on for a while beside the callee's: each is whole, and they are not cut into each other.
    When the first has ended, the other one is heard."""
    world, first, other = echo(), Phone(ssrc=1), Phone(ssrc=2, sequence=5000, timestamp=99999)
    low, high = sine(300, 1.0), sine(1000, 1.0)
    world.talk(first, low[:1600])
    for mine, beside in zip(frames(low[1600:]), frames(high), strict=False):
        world.tick(first.packet(mine), other.packet(beside))
    world.ticks(3)
    heard = world.spoken()[2 * FRAME :][: len(low)]
    assert np.array_equal(heard, through_code(low))
    world.sent.clear()
    world.talk(other, high).ticks(4)
    assert np.array_equal(world.spoken()[-4 * FRAME - 2400 :][:2400], through_code(high)[-2400 - 2 * FRAME :][:2400])


def test_perfect_reception_gives_the_best_score() -> None:
    """No loss, little delay: the E-model's figure for G.711; and none at all before a second of media."""
    world, phone = World().open().connect(), Phone()
    world.talk(phone, sine(440, 0.5))
    assert world.plane._control.stats(world.plane.table.legs["call"]).mos is None
    world.talk(phone, sine(440, 2.0))
    assert stats(world).mos == pytest.approx(4.39, abs=0.03)


def test_jitter_is_measured_as_rfc_3550_does() -> None:
    """A.8's running mean of the change in transit time, in ms."""
    world, phone = World().open().connect(), Phone()
    for k, frame in enumerate(frames(sine(440, 6.0))):
        packet = phone.packet(frame)
        world.take([Received("call", packet, PHONE, world.now - (0.004 if k % 2 else 0.012))])
    assert stats(world).jitter_ms == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize("wall_ahead_s", [0.0, 1.8e9])
def test_reports_go_out_every_five_seconds_and_round_trips_come_back(wall_ahead_s: float) -> None:
    """Sender and receiver reports in both directions: the far side's view and the round trip reach the statistics."""
    world, phone = World(options=PlaneOptions(slots=8, wall_ahead_s=wall_ahead_s)).open().connect(), Phone()
    for frame in frames(sine(440, 12.0)):
        world.tick(phone.packet(frame))
    ours = [rtcp.parse(d.data)[0] for d in world.sent if d.control]
    assert {d.destination for d in world.sent if d.control} == {(PHONE[0], PHONE[1] + 1)}
    assert len(ours) == 2
    latest = ours[-1]
    assert latest.sender is not None
    assert latest.blocks[0].ssrc == phone.ssrc
    assert latest.blocks[0].lost == 0
    sent_at = next(
        at for k in range(10000) if rtcp.ntp((at := world.start + 0.02 * k) + wall_ahead_s) >= latest.sender.ntp
    )
    # The far side answers 300 ms after it got our report; the way takes 50 ms each.
    world.now = sent_at + 0.4
    block = rtcp.Block(latest.ssrc, 3, 17, 1000, 5, rtcp.middle(latest.sender.ntp), int(0.3 * 65536))
    answer = rtcp.build(rtcp.Report(phone.ssrc, rtcp.SenderInfo(rtcp.ntp(5.0), 1, 2, 3), (block,)), "phone")
    world.take([Received("call", answer, (PHONE[0], PHONE[1] + 1), world.now)])
    counted = stats(world)
    assert counted.round_trip_ms == pytest.approx(100, abs=1)
    assert counted.remote_lost == 17
    assert counted.packets_malformed == counted.packets_foreign == 0


def test_a_far_side_that_received_more_than_was_sent_lost_nothing() -> None:
    """RFC 3550 6.4.1 counts copies as received, and GStreamer its first packet twice: -1 is no number of packets."""
    world, phone = World().open().connect(), Phone()
    world.talk(phone, sine(440, 0.2))
    block = rtcp.Block(int(world.plane.table.ssrc[0]), 0, -1, 1000, 5, 0, 0)
    report = rtcp.build(rtcp.Report(phone.ssrc, None, (block,)), "phone")
    world.take([Received("call", report, (PHONE[0], PHONE[1] + 1), world.now)])
    assert stats(world).remote_lost == 0


def test_rtcp_shares_the_port_where_that_was_agreed() -> None:
    """RFC 5761: with rtcp-mux reports leave from, and are taken on, the RTP port."""
    world = World().open().connect(rtcp_mux=True)
    for frame in frames(sine(440, 6.0)):
        world.tick(Phone().packet(frame))
    reports = [d for d in world.sent if rtp.is_rtcp(d.data)]
    assert {(d.destination, d.control) for d in reports} == {(PHONE, False)}


@pytest.mark.parametrize(("host", "answered"), [(PHONE[0], True), ("192.0.2.99", False)])
def test_reports_go_to_where_the_peers_own_come_from(host: str, answered: bool) -> None:
    """RFC 4961: behind a NAT RTCP has any port. Of another machine than the audio's nobody gets them."""
    world, phone = World().open().connect(), Phone()
    world.talk(phone, sine(440, 0.2))
    theirs = rtcp.build(rtcp.Report(phone.ssrc, rtcp.SenderInfo(rtcp.ntp(5.0), 1, 2, 3), ()), "phone")
    world.take([Received("call", theirs, (host, 50123), world.now)])
    world.talk(phone, sine(440, 6.0))
    expected = (host, 50123) if answered else (PHONE[0], PHONE[1] + 1)
    assert {d.destination for d in world.sent if d.control} == {expected}


REPORT = rtcp.build(rtcp.Report(7, rtcp.SenderInfo(rtcp.ntp(5.0), 1, 2, 3), ()), "anybody")


def test_reports_of_a_stranger_before_the_first_packet_lead_nowhere() -> None:
    """Until a peer is heard it might be anybody: ours go to its host all the same."""
    world, phone = World().open().connect(), Phone()
    world.take([Received("call", REPORT, ("203.0.113.5", 50123), world.now)])
    world.talk(phone, sine(440, 6.0))
    assert {d.destination for d in world.sent if d.control} == {(PHONE[0], PHONE[1] + 1)}


def test_reports_move_with_the_peer() -> None:
    """Its reports come from elsewhere then, too."""
    world, phone = World().open().connect(), Phone()
    world.talk(phone, sine(440, 0.2))
    world.take([Received("call", REPORT, (PHONE[0], 50123), world.now)])
    phone.source = (PHONE[0], PHONE[1] + 10)
    world.connect(port=phone.source[1]).talk(phone, sine(440, 6.0))
    assert {d.destination for d in world.sent if d.control} == {(PHONE[0], PHONE[1] + 11)}


def test_a_goodbye_leaves_with_the_leg() -> None:
    """The far side's statistics end when ours do: RTCP BYE."""
    world, phone = World().open().connect(), Phone()
    world.talk(phone, sine(440, 0.2)).do(CloseLeg("call"))
    (goodbye,) = world.tick()
    assert goodbye.data[-8:-4] == bytes([0x81, 203, 0, 1])


def test_a_silent_line_is_noticed_and_so_is_its_return() -> None:
    """No media for the configured time is told once; RTCP, comfort noise and digits count as media."""
    world, phone = World().open(silent_after_s=1.0).connect(), Phone()
    world.talk(phone, sine(440, 0.2))
    for k in range(4):
        world.tick(phone.build(13, b"\x40") if k % 2 else rtcp.build(rtcp.Report(77, None, ()), "x")).__len__()
        world.ticks(40)
    assert world.all(LineFellSilent) == []
    world.ticks(100)
    (fell,) = world.all(LineFellSilent)
    assert fell.for_s == pytest.approx(1.0, abs=0.03)
    world.talk(phone, sine(440, 0.1))
    assert len(world.all(LineRecovered)) == 1


def test_a_held_line_is_not_a_silent_one() -> None:
    """While we do not expect media its absence means nothing."""
    world = World().open(silent_after_s=1.0).connect(direction="sendonly").ticks(200)
    assert world.all(LineFellSilent) == []
    world.connect().ticks(60)
    assert len(world.all(LineFellSilent)) == 1


def test_all_slots_in_use_is_a_refusal_and_names_are_unique() -> None:
    """A leg that cannot be is `LegFailed`, and those that are do not notice."""
    world = World(options=PlaneOptions(slots=2)).open("a").open("b").open("c").open("a").ticks(1)
    assert [s.leg for s in world.all(LegOpened)] == ["a", "b"]
    assert [s.leg for s in world.all(LegFailed)] == ["c", "a"]
    world.do(CloseLeg("a")).open("c").ticks(1)
    assert [s.leg for s in world.all(LegOpened)] == ["a", "b", "c"]
    assert not world.do(CloseLeg("b")).do(CloseLeg("c")).ticks(2).plane.busy


def test_calls_do_not_hear_each_other() -> None:
    """Eight calls at once, each with its own tone, each gets its own echo and nothing else."""
    world = World()
    names = [f"call{k}" for k in range(8)]
    phones = [Phone(name, ssrc=k, timestamp=1000 * k, sequence=17 * k) for k, name in enumerate(names)]
    tones = [frames(sine(300 + 100 * k, 0.5)) for k in range(8)]
    for name, phone in zip(names, phones, strict=True):
        world.open(name).connect(name, host="192.0.2.1", port=5000 + len(name)).do(SetLoopback(name, True))
        phone.source = ("192.0.2.1", 6000)
    for k in range(25):
        world.take(
            [Received(p.leg, p.packet(tone[k]), p.source, world.now) for p, tone in zip(phones, tones, strict=True)]
        )
    world.ticks(4)
    for k, name in enumerate(names):
        pcm = np.concatenate(tones[k])
        assert np.array_equal(world.spoken(name)[2 * FRAME :][: len(pcm)], through_code(pcm)), name


def test_the_audio_of_a_leg_without_a_socket_passes_uncoded() -> None:
    """Through the same rows: what was pushed into it comes back, and what the bot says is said, to the sample."""
    world = WideWorld().browser(wide=False)
    world.do(SetLoopback("call", True))
    pcm = sine(440, 0.4)
    for frame in frames(pcm):
        world.do(PushPcm("call", frame.tobytes())).tick()
    world.ticks(4)
    world.do(SetLoopback("call", False)).do(QueueAudio("call", 1, pcm.tobytes(), last=True)).ticks(25)
    assert world.sent == []
    rate, said = world.said_by()
    assert rate == 8000
    assert np.array_equal(said[2 * FRAME :][: len(pcm)], pcm)
    assert np.array_equal(said[-25 * FRAME :][: len(pcm)], pcm)


def test_a_plane_that_was_stopped_goes_on_in_time() -> None:
    """After a pause of the process the clock of events is right again, and nothing plays twice."""
    world, phone = echo(), Phone()
    world.talk(phone, sine(440, 0.2))
    world.now += 3.0
    world.talk(phone, sine(440, 0.4)).ticks(5)
    assert world.plane._time_of(world.plane._position) == pytest.approx(world.now, abs=0.02)


hostile = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda kind, seq, ts, ssrc, payload: rtp.build(rtp.RtpPacket(kind, seq, ts, ssrc, payload)),
        st.sampled_from([0, 0, 0, 8, 13, 101, 96]),
        st.integers(0, 65535),
        st.integers(0, 2**32 - 1),
        st.sampled_from([77, 77, 77, 78, 0, 2**32 - 1]),
        st.sampled_from(
            [bytes(160), bytes(80), bytes(480), bytes(481), b"", b"\x01", struct.pack("!BBH", 5, 0x80, 800)]
        ),
    ),
    st.builds(lambda b, n: bytes([0x80 | n, 200 + n % 5]) + b, st.binary(max_size=60), st.integers(0, 31)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(hostile, st.sampled_from([PHONE, STRANGER, NAT]), st.floats(-1, 1)), max_size=60))
def test_no_datagram_breaks_a_tick_or_another_call(attack: list[tuple[bytes, tuple[str, int], float]]) -> None:
    """Random octets, wrong sources, SSRC and timestamp games: the call they come to may suffer, no other one does."""
    world = World().open("victim").connect("victim").open("call").connect().do(SetLoopback("call", True))
    phone, pcm = Phone(), sine(440, 0.4)
    for k, frame in enumerate(frames(pcm)):
        bad = [Received("victim", d, source, world.now + at) for d, source, at in attack[k::20]]
        world.take([*bad, Received("call", phone.packet(frame), PHONE, world.now)])
    world.ticks(4)
    assert np.array_equal(world.spoken()[2 * FRAME :][: len(pcm)], through_code(pcm))


def test_a_flood_into_one_call_is_survived_by_that_call() -> None:
    """A hundred times the rate, from strangers and with rubbish from the peer: the caller is still heard."""
    world, phone, rng = echo(), Phone(), np.random.default_rng(1)
    pcm = sine(440, 0.4)
    for frame in frames(pcm):
        junk = [Received("call", rng.bytes(172), STRANGER, world.now) for _ in range(60)]
        junk += [Received("call", rng.bytes(40), PHONE, world.now) for _ in range(40)]
        world.take([*junk, Received("call", phone.packet(frame), PHONE, world.now)])
    world.ticks(4)
    assert np.array_equal(world.spoken()[2 * FRAME :][: len(pcm)], through_code(pcm))
