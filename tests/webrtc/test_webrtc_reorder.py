from __future__ import annotations

from aiortc import RTCPeerConnection
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from gateway.webrtc.reorder import HELD_BACK, Reorder, install


def packet(sequence: int) -> RtpPacket:
    made = RtpPacket(sequence_number=sequence % 0x10000, timestamp=960 * sequence % 2**32)
    made._data = b"%d" % sequence
    return made


def through(sequences: list[int]) -> list[int | None]:
    """What comes out at each packet in."""
    buffer = Reorder()
    frames = [buffer.add(packet(sequence))[1] for sequence in sequences]
    return [None if frame is None else int(frame.data) for frame in frames]


def test_packets_in_order_pass_at_once() -> None:
    """No delay while the network behaves, across the wrap of the sequence number too."""
    sequences = list(range(65530, 65550))
    assert through(sequences) == sequences


def test_swapped_neighbours_are_put_right() -> None:
    """The commonest disorder costs nothing but one packet's time."""
    assert through([1, 3, 2, 4, 5]) == [1, None, 2, 3, 4]


def test_a_lost_packet_is_waited_for_once_and_never_longer() -> None:
    """A loss costs 20 ms from then on, not 200: the next loss adds nothing."""
    assert through([1, 3, 4, 5, 7, 8, 9]) == [1, None, 3, 4, 5, 7, 8]
    assert through([1, 2, 30, 31, 32]) == [1, 2, None, 30, 31]


def test_late_packets_and_duplicates_are_dropped() -> None:
    """What has been passed by cannot be played any more."""
    assert through([5, 6, 5, 6, 4, 7]) == [5, 6, None, None, None, 7]
    buffer = Reorder()
    for sequence in [5, 6, 5, 6, 4, 7]:
        buffer.add(packet(sequence))
    assert buffer.late == 3


def test_a_restarted_stream_is_followed_at_once() -> None:
    """A far jump (a new microphone, a new encoder) is no gap to wait for."""
    assert through([10, 11, 5000, 5001, 12, 13]) == [10, 11, 5000, 5001, 12, 13]


@given(st.integers(0, 65535), st.lists(st.integers(0, 60), min_size=1, max_size=80))
def test_whatever_comes_leaves_in_order_and_never_twice(start: int, offsets: list[int]) -> None:
    """Any loss, disorder and duplication within the window: strictly ascending out, almost nothing kept."""
    buffer = Reorder()
    out = []
    for offset in offsets:
        _, frame = buffer.add(packet(start + offset))
        if frame is not None:
            out.append(int(frame.data))
        assert len(buffer._held) <= HELD_BACK
    assert out == sorted(set(out))


async def test_aiortc_still_keeps_its_buffer_where_we_replace_it() -> None:
    """An upgrade that moves it must be noticed here, not as 300 ms of delay in the field."""
    connection = RTCPeerConnection()
    receiver = connection.addTransceiver("audio").receiver
    install(receiver)
    assert isinstance(receiver._RTCRtpReceiver__jitter_buffer, Reorder)
    await connection.close()
