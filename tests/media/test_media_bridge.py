"""Two legs that hear each other: a caller and the party they were transferred to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from media_world import Phone, World, frames, sine, through_code

from gateway.core.clock import SystemClock
from gateway.media import g711, rtp
from gateway.media.commands import (
    Bridge,
    CloseLeg,
    ConnectLeg,
    LegLatched,
    OpenLeg,
    PacketReady,
    QueueAudio,
    RelayPacket,
    SetLoopback,
    first_leg,
)
from gateway.media.datagrams import Received
from gateway.media.io import MediaPool
from gateway.media.options import PlaneOptions

TARGET = ("198.51.100.9", 5000)
CALLER_SAYS, TARGET_SAYS = sine(440, 0.4), sine(900, 0.4)


def two_legs() -> tuple[World, Phone, Phone]:
    """A caller in PCMU, and a target in PCMA."""
    world = World().open("c-1").connect("c-1")
    world.open("c-1.2", port=20002).connect("c-1.2", codec="PCMA", host=TARGET[0], port=TARGET[1])
    target = Phone("c-1.2", ssrc=99, law=1)
    target.source = TARGET
    return world, Phone("c-1"), target


def talk_both(world: World, caller: Phone, target: Phone, left: np.ndarray, right: np.ndarray) -> None:
    for mine, theirs in zip(frames(left), frames(right), strict=True):
        at = world.now - 0.005
        packets = ((caller, mine), (target, theirs))
        world.take([Received(phone.leg, phone.packet(pcm), phone.source, at) for phone, pcm in packets])
    world.ticks(5)


def tail(pcm: np.ndarray) -> np.ndarray:
    """The last 200 ms that are no silence."""
    loud = np.flatnonzero(np.abs(pcm.astype(int)) > 500)
    return pcm[loud[-1] - 1599 : loud[-1] + 1] if len(loud) > 1600 else pcm[:0]


def hz(pcm: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(pcm.astype(float), 8000))))


def test_bridged_legs_hear_each_other_each_in_its_own_code() -> None:
    """Every sample arrives, coded anew for the other side, and neither hears itself."""
    world, caller, target = two_legs()
    world.do(Bridge("c-1", "c-1.2"))
    talk_both(world, caller, target, CALLER_SAYS, TARGET_SAYS)
    to_target, to_caller = world.spoken("c-1.2", law=1), world.spoken("c-1")
    assert abs(hz(tail(to_target)) - 440) < 5
    assert abs(hz(tail(to_caller)) - 900) < 5
    expected = through_code(through_code(CALLER_SAYS), 1)
    begin = int(np.argmax(to_target == expected[1])) - 1
    assert np.array_equal(to_target[begin : begin + 3200], expected)


def test_a_bridge_that_ends_leaves_each_to_its_own_playout() -> None:
    """What was queued meanwhile is played from its first sample on."""
    world, caller, target = two_legs()
    world.do(Bridge("c-1", "c-1.2"))
    world.do(QueueAudio("c-1", 1, sine(600, 0.4).tobytes(), last=True))
    talk_both(world, caller, target, CALLER_SAYS, TARGET_SAYS)
    world.sent.clear()
    world.do(Bridge("c-1", None))
    talk_both(world, caller, target, CALLER_SAYS, TARGET_SAYS)
    assert abs(hz(tail(world.spoken("c-1"))) - 600) < 5
    assert np.abs(world.spoken("c-1.2", law=1).astype(int)).max() <= 8  # the nearest to silence that A-law has


def test_hold_on_a_bridge_lets_the_holders_music_through() -> None:
    """A caller who holds hears nothing of us, and what its telephone plays meanwhile is for the target."""
    world, caller, target = two_legs()
    world.do(Bridge("c-1", "c-1.2")).connect("c-1", direction="recvonly")
    talk_both(world, caller, target, CALLER_SAYS, TARGET_SAYS)
    assert world.packets("c-1") == []
    assert abs(hz(tail(world.spoken("c-1.2", law=1))) - 440) < 5


def test_a_row_that_changes_hands_is_not_listened_to_any_more() -> None:
    """The target is gone, and a stranger's call gets its row: the caller must not hear them, nor they the caller."""
    world, caller, _ = two_legs()
    world.do(Bridge("c-1", "c-1.2"))
    row = world.plane.table.legs["c-1.2"].row
    world.do(CloseLeg("c-1.2"))
    world.open("c-7", port=20004).connect("c-7", host="203.0.113.5", port=4444)
    assert world.plane.table.legs["c-7"].row == row
    stranger = Phone("c-7", ssrc=5)
    stranger.source = ("203.0.113.5", 4444)
    world.sent.clear()
    talk_both(world, caller, stranger, CALLER_SAYS, TARGET_SAYS)
    for leg in ("c-1", "c-7"):
        assert not world.spoken(leg).any()


def test_nobody_is_bridged_to_what_is_not_there() -> None:
    """A command that crossed a leg's end on the way."""
    world, caller, _ = two_legs()
    world.do(CloseLeg("c-1.2")).do(Bridge("c-1", "c-1.2")).do(Bridge("c-1", "c-1")).do(Bridge("c-1", None))
    world.talk(caller, CALLER_SAYS)
    assert not world.spoken("c-1").any()


def test_a_bridged_call_is_recorded_with_both_voices(tmp_path: Path) -> None:
    """Left the caller, right what the caller heard: the target."""
    path = tmp_path / "call.wav"
    world = World().open("c-1", record=str(path)).connect("c-1")
    world.open("c-1.2", port=20002).connect("c-1.2", codec="PCMA", host=TARGET[0], port=TARGET[1])
    target = Phone("c-1.2", ssrc=99, law=1)
    target.source = TARGET
    world.do(Bridge("c-1", "c-1.2"))
    talk_both(world, Phone("c-1"), target, CALLER_SAYS, TARGET_SAYS)
    world.do(CloseLeg("c-1")).ticks(3)
    stereo = np.frombuffer(path.read_bytes()[44:], "<i2").reshape(-1, 2)
    assert abs(hz(tail(stereo[:, 0])) - 440) < 5
    assert abs(hz(tail(stereo[:, 1])) - 900) < 5


def test_a_newcomer_is_heard_though_the_one_before_still_sends() -> None:
    """Another peer on the same leg, behind a NAT that its SDP does not know: the former's last packets, which come
    first, must not be latched to."""
    world = World().open("c-1").connect("c-1")
    former, newcomer = Phone("c-1"), Phone("c-1", ssrc=99, sequence=7, timestamp=90)
    newcomer.source = ("203.0.113.5", 4444)
    world.talk(former, CALLER_SAYS[:1600])
    world.connect("c-1", host="10.0.0.1", port=4444, newcomer=True)
    world.talk(former, CALLER_SAYS[:1600])
    world.do(SetLoopback("c-1", True)).sent.clear()
    for mine, theirs in zip(frames(CALLER_SAYS), frames(TARGET_SAYS), strict=True):
        at = world.now - 0.005
        packets = ((former, mine), (newcomer, theirs))
        world.take([Received("c-1", phone.packet(pcm), phone.source, at) for phone, pcm in packets])
    world.ticks(5)
    assert [latched.host for latched in world.all(LegLatched)] == ["198.51.100.7", "203.0.113.5"]
    assert abs(hz(tail(world.spoken("c-1"))) - 900) < 5


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["join", "part", "close", "open"]), st.sampled_from(["a", "b", "c"]), st.sampled_from("abc")
        ),
        max_size=30,
    )
)
def test_a_bridge_has_two_ends_whatever_happens(actions: list[tuple[str, str, str]]) -> None:
    """Who is looped sounds like a partner that sounds like them, and nobody sounds like a leg that is gone."""
    world = World()
    for leg in "abc":
        world.open(leg).connect(leg)
    table = world.plane.table
    for action, leg, other in actions:
        match action:
            case "join":
                world.do(Bridge(leg, other))
            case "part":
                world.do(Bridge(leg, None))
            case "close":
                world.do(CloseLeg(leg))
            case "open" if leg not in table.legs:
                world.open(leg).connect(leg)
        world.tick()
        for one in table.legs.values():
            partner = int(table.sounds_like[one.row])
            assert int(table.sounds_like[partner]) == one.row
            assert table.by_row[partner] is not None
            assert bool(table.loopback[one.row]) == (partner != one.row)


def loudest(packet: PacketReady) -> float:
    return float(np.abs(g711.decode(np.frombuffer(rtp.parse(packet.data).payload, np.uint8))).max())


def test_the_legs_of_one_call_meet_on_one_plane() -> None:
    """Over two workers with several planes each, the second leg is opened beside the first one."""
    assert (first_leg("c-1"), first_leg("c-1.2")) == ("c-1", "c-1")

    async def run() -> float:
        pool = MediaPool(
            workers=2, bind="127.0.0.1", rtp_ports=(39000, 39099), clock=SystemClock(),
            options=PlaneOptions(slots=600), vad="none",
        )  # fmt: skip
        await pool.start()
        try:
            heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()

            def listen(said: object) -> None:
                if isinstance(said, PacketReady) and (level := loudest(said)) and not heard.done():
                    heard.set_result(level)

            pool.subscribe("c-1.2", listen)
            for leg in ("c-1", "c-2", "c-3", "c-1.2"):
                pool.send(OpenLeg(leg, kind="relayed"))
                pool.send(ConnectLeg(leg, "", 0, "PCMU", 0))
            pool.send(Bridge("c-1", "c-1.2"))
            caller = Phone("c-1")
            for _ in range(500):
                pool.send(RelayPacket("c-1", caller.packet(sine(440, 0.02)), time.monotonic()))
                if (await asyncio.wait([heard], timeout=0.02))[0]:
                    break
            return await asyncio.wait_for(heard, 5)
        finally:
            await pool.close()

    assert asyncio.run(run()) > 1000
