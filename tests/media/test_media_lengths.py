"""Packets that are not of whole 10 ms, or longer than 60: what programs send that take what their file gives them.

FFmpeg and GStreamer fill a datagram with G.711 (1460, 1388 octets) where nobody tells them a packet time, and cut where
their blocks end. RFC 3551 4.2 asks receivers for anything from 0 to 200 ms.
"""

from __future__ import annotations

from itertools import accumulate, cycle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_world import FRAME, Phone, World, frames, through_code
from wide_world import Ffmpeg, WidePhone, WideWorld, level_at, wide_speech, world

from gateway.core.errors import PeerError
from gateway.media import codecs, g711
from gateway.media.cells import LONGEST, Cells
from gateway.media.commands import CloseLeg, LegClosed, LegStats, SetLoopback
from gateway.media.jitter import CELL

FFMPEG, FFMPEG_PACKED, GSTREAMER = (1460, 588), (160,) * 6 + (64,), (1388, 660)
LENGTHS = pytest.mark.parametrize(
    "lengths", [(40,), (120,), (200,), (37,), (640,), (1024,), (1600,), FFMPEG, FFMPEG_PACKED, GSTREAMER], ids=str
)


def noise(seconds: float) -> np.ndarray:
    """Whose every stretch is another's."""
    return np.random.default_rng(4).integers(-8000, 8000, int(8000 * seconds)).astype(np.int16)


def send(world: World, phone: Phone, octets: bytes, lengths: tuple[int, ...], *, lost: int = 0) -> int:
    """All of it, each packet when its last sample was picked up, but for every `lost`-th. Gives how many there were."""
    turn = cycle(lengths)
    packets, at = [], 0
    while at < len(octets):
        payload = octets[at : at + next(turn)]
        packets.append((at + len(payload), phone.build(9 if isinstance(phone, WidePhone) else 0, payload)))
        phone.timestamp += len(payload)
        at += len(payload)
    for now in range(0, len(octets) + FRAME, FRAME):
        due = [k for k, (end, _) in enumerate(packets) if now - FRAME < end <= now]
        world.tick(*(packets[k][1] for k in due if not lost or k % lost != lost - 1))
    return len(packets)


def stats(world: World) -> LegStats:
    world.do(CloseLeg("call")).ticks(2)
    return world.all(LegClosed)[-1].stats


def coded(pcm: np.ndarray) -> bytes:
    return g711.encode(pcm).tobytes()


@LENGTHS
def test_g711_of_any_length_is_heard(lengths: tuple[int, ...]) -> None:
    """Every sample of it, once the buffer has found how long it has to wait; and nothing is told of as broken."""
    phone, pcm = Phone(timestamp=2**32 - 9000), noise(6)
    line = World().open().connect().do(SetLoopback("call", True))
    count = send(line, phone, coded(pcm), lengths)
    line.ticks(20)
    assert through_code(pcm[24000:40000]).tobytes() in line.spoken().tobytes()
    counted = stats(line)
    assert (counted.packets_received, counted.packets_lost, counted.packets_malformed) == (count, 0, 0)


@pytest.mark.parametrize("lengths", [(40,), (120,), FFMPEG_PACKED, (1024,)], ids=str)
def test_lost_ones_are_counted(lengths: tuple[int, ...]) -> None:
    """Each once, however many cells of 10 ms it was of."""
    line = World().open().connect()
    count = send(line, Phone(), coded(noise(8)), lengths, lost=19)
    counted = stats(line)
    assert (counted.packets_received, counted.packets_lost) == (count - count // 19, count // 19)


def test_a_short_packet_at_the_end_of_a_stretch_moves_nothing() -> None:
    """A talkspurt whose last packet is short, a rest, and packets of 20 ms again, which begin anywhere."""
    phone, pcm = Phone(), noise(4)
    line = World().open().connect().do(SetLoopback("call", True))
    send(line, phone, coded(pcm[:8037]), (160,))
    line.ticks(50)
    phone.timestamp += 8000
    send(line, phone, coded(pcm[8037:31877]), (160,))
    line.ticks(5)
    played = line.spoken().tobytes()
    assert through_code(pcm[320:8000]).tobytes() in played
    assert through_code(pcm[8037:31877]).tobytes() in played


@pytest.mark.parametrize("lengths", [(120,), (200,), FFMPEG_PACKED, (800,)], ids=str)
def test_g722_of_any_length_is_heard(lengths: tuple[int, ...]) -> None:
    """The same octets in packets of 20 ms sound the same."""
    coder, pcm = Ffmpeg("G722"), np.tile(wide_speech(), 2)
    octets = b"".join(coder.code(piece) for piece in frames(pcm, 320))
    heard = []
    for packets in ((160,), lengths):
        line = world("G722")
        count = send(line, WidePhone("G722"), octets, packets)
        line.ticks(20)
        counted = line.plane._control.stats(line.plane.table.legs["call"])
        assert (counted.packets_received, counted.packets_lost, counted.packets_malformed) == (count, 0, 0)
        heard.append(line.heard())
    usual, odd = heard
    assert usual[44000:60000].tobytes() in odd.tobytes()


@pytest.mark.parametrize("ptime_ms", [80, 100, 120])
def test_opus_of_more_than_60_ms_is_heard(ptime_ms: int) -> None:
    """libopus fills such packets with several frames; each is played in its place."""
    line: WideWorld = world("opus")
    phone = WidePhone("opus", ptime_ms)
    tone = np.rint(8000 * np.sin(2 * np.pi * 1000 * np.arange(16000 * 6) / 16000)).astype(np.int16)
    pieces = frames(tone, 16 * ptime_ms)
    for piece in pieces:
        line.tick(phone.packet(piece)).clear()
        line.ticks(ptime_ms // 20 - 1)
    counted = line.plane._control.stats(line.plane.table.legs["call"])
    assert (counted.packets_received, counted.packets_lost, counted.packets_malformed) == (len(pieces), 0, 0)
    heard = line.heard()
    assert level_at(heard[16000:32000], 1000, 8000) == pytest.approx(8000, rel=0.1)


@given(st.lists(st.integers(1, LONGEST), min_size=1, max_size=30), st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1))
def test_a_stream_is_the_same_in_cells(lengths: list[int], start: int, seed: int) -> None:
    """However it was cut, wherever its clock begins: octet by octet, at its place, in pieces of 10 to 60 ms."""
    octets = np.random.default_rng(seed).bytes(sum(lengths))
    stream, at, made = Cells(), 0, bytearray()
    for length in lengths:
        timestamp, payload = start + at & 0xFFFFFFFF, octets[at : at + length]
        at += length
        if not stream.concern(payload):
            assert start + len(made) & 0xFFFFFFFF == timestamp
            made += payload
            continue
        for piece in stream.feed(timestamp, payload):
            assert piece.timestamp == start + len(made) & 0xFFFFFFFF
            assert len(piece.octets) in range(CELL, 7 * CELL, CELL)
            made += piece.octets
    assert bytes(made) == octets[: len(made)]
    assert len(octets) - len(made) < CELL


@given(st.lists(st.integers(1, 400), min_size=2, max_size=40), st.integers(0, 2**32 - 1), st.data())
def test_a_lost_one_costs_the_cells_it_shared(lengths: list[int], start: int, data: st.DataObject) -> None:
    """And one that another overtook, nothing: all other cells are made, and are right."""
    octets = np.random.default_rng(7).bytes(sum(lengths))
    ends = list(accumulate(lengths))
    packets = [(end - length, octets[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
    lost = data.draw(st.integers(1, len(packets) - 1))
    sent = [packet for k, packet in enumerate(packets) if k != lost]
    late = data.draw(st.integers(0, len(sent) - 1))
    sent[late : late + 2] = sent[late : late + 2][::-1]
    stream, made = Cells(begun=True, _origin=start, _end=start), dict[int, bytes]()
    for at, payload in sent:
        for piece in stream.feed(start + at & 0xFFFFFFFF, payload):
            first = (piece.timestamp - start) % 2**32
            made |= {first + k: piece.octets[k : k + CELL] for k in range(0, len(piece.octets), CELL)}
    gone = range(packets[lost][0], packets[lost][0] + lengths[lost])
    whole = {at for at in range(0, len(octets) - CELL + 1, CELL) if not set(range(at, at + CELL)) & set(gone)}
    assert set(made) == whole
    assert all(made[at] == octets[at : at + CELL] for at in whole)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=LONGEST)), max_size=20))
def test_no_timestamps_break_the_cells(packets: list[tuple[int, bytes]]) -> None:
    """Whatever they are, what comes out is whole cells, and what waits is little."""
    stream = Cells()
    for timestamp, payload in packets:
        if stream.concern(payload):
            assert all(len(piece.octets) % CELL == 0 for piece in stream.feed(timestamp, payload))
        assert len(stream._parts) <= 2 * LONGEST // CELL


@pytest.mark.parametrize("ptime_ms", [20, 40, 60, 80, 100, 120])
def test_the_frames_of_an_opus_packet_decode_as_the_packet(ptime_ms: int) -> None:
    """By libopus: sample by sample."""
    coder, whole, parts = Ffmpeg("opus", ptime_ms), codecs.decoder("opus"), codecs.decoder("opus")
    for piece in frames(wide_speech(), 16 * ptime_ms):
        packet = coder.code(piece)
        cut = codecs.opus_frames(packet)
        assert len(cut) == ptime_ms / codecs.opus_frame_ms(packet)
        assert np.array_equal(np.concatenate([parts.decode(frame) for frame in cut]), whole.decode(packet))


@given(st.binary(min_size=1, max_size=300))
def test_no_octets_break_the_frames(payload: bytes) -> None:
    """They are refused, or no longer than the packet."""
    try:
        cut = codecs.opus_frames(payload)
    except PeerError:
        return
    assert sum(len(frame) - 1 for frame in cut) < len(payload)
    assert len(cut) * codecs.opus_frame_ms(payload) == codecs._opus_duration_ms(payload)
