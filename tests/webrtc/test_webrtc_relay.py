from __future__ import annotations

import asyncio
from collections import deque
from fractions import Fraction

import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver
from aiortc.rtp import RtpPacket
from av import Packet
from hypothesis import given
from hypothesis import strategies as st
from waiting import turns

from gateway.core.errors import ConfigError
from gateway.core.loops import run_virtual
from gateway.media import rtp
from gateway.webrtc.relay import MOST_WAITING, Outgoing, Tap, tap


def packet(number: int, timestamp: int | None = None) -> bytes:
    at = 960 * number if timestamp is None else timestamp
    return rtp.build(rtp.RtpPacket(96, number & 0xFFFF, at & 0xFFFFFFFF, 7, b"%d" % number))


async def listening() -> tuple[Outgoing, asyncio.Task[Packet]]:
    """With a browser that waits for its first packet."""
    outgoing = Outgoing()
    outgoing.clock_hz = 48000
    first = asyncio.create_task(outgoing.recv())
    await turns()
    return outgoing, first


def test_aiortc_has_nothing_to_decode_and_the_leg_gets_everything() -> None:
    """Swapped, doubled and empty ones too, without the header extensions: what is to be made of them it knows best."""
    taken: list[bytes] = []
    stand_in = Tap(taken.append)
    for number in (5, 7, 6, 6):
        made = RtpPacket(payload_type=96, sequence_number=number, timestamp=960 * number, marker=number == 5)
        made.ssrc, made.payload = 7, b"%d" % number if number != 7 else b""
        made.extensions.mid = "0"
        assert stand_in.add(made) == (False, None)
    assert [rtp.parse(data) for data in taken] == [
        rtp.RtpPacket(96, 5, 4800, 7, b"5", True),
        rtp.RtpPacket(96, 7, 6720, 7, b"", False),
        rtp.RtpPacket(96, 6, 5760, 7, b"6", False),
        rtp.RtpPacket(96, 6, 5760, 7, b"6", False),
    ]
    assert all(data[0] == 0x80 for data in taken)


async def test_aiortc_still_keeps_its_packets_where_we_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that moves them is noticed here, and by whoever installs it all the same with the remedy."""
    connection = RTCPeerConnection()
    receiver = connection.addTransceiver("audio").receiver
    tap(receiver, lambda data: None)
    assert isinstance(receiver._RTCRtpReceiver__jitter_buffer, Tap)
    monkeypatch.delattr(receiver, "_RTCRtpReceiver__jitter_buffer")
    with pytest.raises(ConfigError, match="pip install 'aiortc"):
        tap(receiver, lambda data: None)
    assert isinstance(receiver, RTCRtpReceiver)
    await connection.close()


def test_a_packet_leaves_as_soon_as_it_is_there() -> None:
    """Nothing is held back, and nothing made up where the leg sends nothing."""

    async def scenario() -> None:
        outgoing, first = await listening()
        outgoing.send(packet(1, 777))
        sent = await first
        assert (bytes(sent), sent.pts * sent.time_base) == (b"1", 0)
        waits = asyncio.create_task(outgoing.recv())
        made_up, _ = await asyncio.wait({waits}, timeout=5)
        assert not made_up
        outgoing.send(packet(2, 777 + 960))
        sent = await waits
        assert (bytes(sent), sent.pts * sent.time_base) == (b"2", Fraction(1, 50))

    run_virtual(scenario())


def test_what_comes_before_the_browser_can_hear_is_not_kept_for_it() -> None:
    """It would be late for the rest of the call."""

    async def scenario() -> None:
        outgoing = Outgoing()
        for number in range(4):
            outgoing.send(packet(number))
        first = asyncio.create_task(outgoing.recv())
        await turns()
        outgoing.send(packet(4))
        assert bytes(await first) == b"4"

    run_virtual(scenario())


@pytest.mark.parametrize(("jump", "step"), [(960, 960), (2880, 2880), (2**31, 960), (-5000, 960), (10**6, 960)])
def test_the_browsers_clock_goes_on_where_the_legs_begins_anew(jump: int, step: int) -> None:
    """As when another media process took the leg over; what is left out keeps its time."""

    async def scenario() -> None:
        outgoing, first = await listening()
        outgoing.send(packet(1, 2**32 - 100))
        outgoing.send(packet(2, 2**32 - 100 + jump))
        began = (await first).pts
        assert (await outgoing.recv()).pts - began == step

    run_virtual(scenario())


@given(st.lists(st.booleans(), max_size=200))
def test_what_waits_never_grows_and_keeps_its_order(steps: list[bool]) -> None:
    """However late this loop is: the oldest are left out, and no other."""

    async def scenario() -> None:
        outgoing, first = await listening()
        outgoing.send(packet(0))
        await first
        waiting = deque[int](maxlen=MOST_WAITING)
        for number, send in enumerate(steps):
            if send:
                outgoing.send(packet(number))
                waiting.append(number)
            elif waiting:
                assert bytes(await outgoing.recv()) == b"%d" % waiting.popleft()

    run_virtual(scenario())
