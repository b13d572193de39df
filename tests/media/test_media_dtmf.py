"""RFC 4733 digits: exactly one press told a press, whatever the network does to its packets."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, Phone, World, sine, through_code

from gateway.core.events import DigitPressed
from gateway.media import rtcp, rtp
from gateway.media.commands import QueueAudio, SendDigits
from gateway.media.dtmf import DIGITS, DigitReceiver, Press


def press(digit: str, timestamp: int, packets: int = 5, ends: int = 3) -> list[tuple[bytes, int]]:
    """Event payloads with their timestamp: 20 ms steps, then the end repeated."""
    event = DIGITS.index(digit)
    running = [struct.pack("!BBH", event, 10, FRAME * (k + 1)) for k in range(packets - 1)]
    return [(p, timestamp) for p in running + [struct.pack("!BBH", event, 0x8A, FRAME * packets)] * ends]


def told(packets: list[tuple[bytes, int]]) -> list[Press]:
    receiver = DigitReceiver()
    presses = [p for k, (payload, ts) in enumerate(packets) for p in receiver.receive(payload, ts, 0.02 * k)]
    return presses + receiver.expire(0.02 * len(packets) + 1.0)


@pytest.mark.parametrize("digit", DIGITS)
def test_every_key_is_told_once_with_its_duration(digit: str) -> None:
    """Seven packets, one press of 100 ms."""
    assert told(press(digit, 1000)) == [Press(digit, 100)]


def test_a_press_whose_end_is_lost_is_told_all_the_same() -> None:
    """After a while without packets the press is over, with the duration last heard of."""
    receiver = DigitReceiver()
    for payload, ts in press("5", 1000)[:4]:
        assert receiver.receive(payload, ts, 0.0) == []
    assert receiver.expire(0.1) == []
    assert receiver.expire(0.3) == [Press("5", 80)]
    assert receiver.expire(9.0) == []


def test_the_next_press_ends_one_whose_end_was_lost() -> None:
    """Fast dialling over a bad line: both digits, in order, even if they are the same."""
    assert told(press("1", 1000)[:3] + press("1", 3000)) == [Press("1", 60), Press("1", 100)]


def test_a_press_longer_than_eight_seconds_is_one_press() -> None:
    """RFC 4733 2.5.1.3: a duration that runs out of bits goes on as a new segment."""
    first = [(struct.pack("!BBH", 7, 10, 0xFFFF), 1000)]
    assert told(first + press("7", 1000 + 0xFFFF, 5)) == [Press("7", (0xFFFF + 800) // 8)]


def test_a_long_press_is_one_even_if_the_packet_between_its_segments_is_lost() -> None:
    """That the first segment was full is said once only: the next one tells it too, by where it begins."""
    first = [(struct.pack("!BBH", 7, 10, duration), 1000) for duration in (0xFFFF - 480, 0xFFFF - 320)]
    assert told(first + press("7", 1000 + 0xFFFF, 5)) == [Press("7", (0xFFFF + 800) // 8)]


def test_digits_are_heard_on_when_the_sender_s_clock_steps_back() -> None:
    """A relay that begins anew under the same SSRC: earlier timestamps are old only if they are not much earlier, and
    for as long as packets may be held up on their way."""
    receiver = DigitReceiver()
    heard = [p for payload, ts in press("1", 3_000_000) for p in receiver.receive(payload, ts, 0.0)]
    heard += [p for payload, ts in press("9", 2_960_000) for p in receiver.receive(payload, ts, 0.5)]
    heard += [p for payload, ts in press("2", 2_970_000) for p in receiver.receive(payload, ts, 2.0)]
    heard += [p for payload, ts in press("3", 1000) + press("4", 2600) for p in receiver.receive(payload, ts, 2.3)]
    assert [p.digit for p in heard] == ["1", "2", "3", "4"]


def test_a_press_is_told_once_however_late_its_end_is_repeated() -> None:
    """The same timestamp is the same press."""
    receiver = DigitReceiver()
    assert [p for payload, ts in press("1", 1000) for p in receiver.receive(payload, ts, 0.0)] == [Press("1", 100)]
    assert receiver.receive(*press("1", 1000)[-1], 5.0) == []


def test_flash_and_short_payloads_are_no_digits() -> None:
    """Events past D are passed over; less than four octets is malformed."""
    assert told([(struct.pack("!BBH", 16, 0x8A, 800), 1)]) == []
    with pytest.raises(ValueError, match="four octets"):
        DigitReceiver().receive(b"\x01\x02", 0, 0.0)


Fate = st.sampled_from(["once", "once", "lost", "twice"])


@settings(deadline=None)
@given(st.text("0123456789*#", min_size=1, max_size=8), st.data(), st.integers(0, 2**32 - 1))
def test_loss_and_doubling_never_change_the_digits(digits: str, data: st.DataObject, start: int) -> None:
    """As long as one packet of each press arrives, the digits are exactly those that were pressed."""
    arrived: list[tuple[bytes, int]] = []
    for k, digit in enumerate(digits):
        sent = press(digit, (start + 1600 * k) % 2**32)
        fates = data.draw(st.lists(Fate, min_size=len(sent), max_size=len(sent)))
        got = [p for p, fate in zip(sent, fates, strict=True) for _ in range(["lost", "once", "twice"].index(fate))]
        arrived += got or sent[:1]
    assert "".join(p.digit for p in told(arrived)) == digits


@settings(deadline=None)
@given(st.permutations(range(7)))
def test_reordering_never_doubles_a_press(order: list[int]) -> None:
    """Packets of one press in any order are one press."""
    packets = press("9", 1000)
    assert [p.digit for p in told([packets[k] for k in order])] == ["9"]


def test_a_press_in_a_call_is_an_event_of_its_log() -> None:
    """Through the plane: audio stops, event packets come in its place, the press is told when it ends."""
    world, phone = World().open().connect(), Phone()
    world.talk(phone, sine(300, 0.2))
    began = phone.timestamp
    for payload, _ in press("3", began):
        world.tick(phone.build(101, payload, timestamp=began))
        phone.timestamp += FRAME
    ended = world.now
    world.talk(phone, sine(300, 0.2)).ticks(20)
    (pressed,) = world.all(DigitPressed)
    assert (pressed.call, pressed.digit, pressed.duration_ms, pressed.method) == ("call", "3", 100, "rfc4733")
    assert pressed.at < ended


def test_digits_we_send_are_what_the_rfc_asks_for() -> None:
    """Marker on the first packet, one timestamp a press, duration growing, the end three times, sequence unbroken."""
    world = World().open().connect().ticks(3).do(SendDigits("call", "1#", 100)).ticks(25)
    events = [p for p in world.packets() if p.payload_type == 101]
    one, hash_key = events[:7], events[7:]
    for packets, number in ((one, 1), (hash_key, 11)):
        assert {p.payload[0] for p in packets} == {number}
        assert [p.marker for p in packets] == [True] + [False] * 6
        assert len({p.timestamp for p in packets}) == 1
        durations = [struct.unpack("!H", p.payload[2:])[0] for p in packets]
        assert durations == [160, 320, 480, 640, 800, 800, 800]
        assert [p.payload[1] >> 7 for p in packets] == [0, 0, 0, 0, 1, 1, 1]
    assert (hash_key[0].timestamp - one[0].timestamp) % 2**32 == 10 * FRAME
    sequences = [p.sequence for p in world.packets()]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def test_the_three_ends_of_a_press_leave_at_the_pace_of_the_others() -> None:
    """RFC 4733 2.5.1.4: together, a moment's loss would take all three."""
    world = World().open().connect().ticks(3).do(SendDigits("call", "1", 100)).ticks(25)
    left = [rtp.parse(d.data) for d in world.sent if not rtp.is_rtcp(d.data)]
    assert len(left) == 28, "one packet a tick"
    assert [k for k, p in enumerate(left) if p.payload_type == 101] == list(range(3, 10))
    silence = [p for p in left[10:] if p.payload_type == 0]
    assert (silence[0].timestamp - left[3].timestamp) % 2**32 == 7 * FRAME


def test_reports_count_the_octets_of_events() -> None:
    """RFC 3550 6.4.1: payload octets, of which an event has four."""
    world = World().open().connect().ticks(10).do(SendDigits("call", "12", 100)).ticks(300)
    packets = [rtp.parse(d.data) for d in world.sent if not rtp.is_rtcp(d.data)]
    told = [rtcp.parse(d.data)[0].sender for d in world.sent if rtp.is_rtcp(d.data)]
    assert told
    for sender in told:
        assert sender is not None
        assert sender.octets == sum(len(p.payload) for p in packets[: sender.packets])


def test_what_we_send_is_what_we_would_hear() -> None:
    """Sender and receiver wired back to back: any digits, commas as pauses, come out as pressed."""
    world = World().open().connect().do(SendDigits("call", "123456789*0#ABCD,,7", 60)).ticks(230)
    receiver, heard = DigitReceiver(), ""
    for k, packet in enumerate(world.packets()):
        if packet.payload_type == 101:
            presses = receiver.receive(packet.payload, packet.timestamp, 0.02 * k)
            assert {p.duration_ms for p in presses} <= {60}
            heard += "".join(p.digit for p in presses)
    assert heard == "123456789*0#ABCD7"


def test_digits_hold_the_playout() -> None:
    """No word of a clip is lost under a digit."""
    world = World().open().connect().do(QueueAudio("call", 1, sine(440, 0.2).tobytes(), last=True)).ticks(5)
    world.do(SendDigits("call", "5", 100)).ticks(20)
    spoken = world.spoken()
    # The key's five frames, and the two that repeat its end, have no audio; the rest of the pause has silence.
    sent = np.concatenate([spoken[: 5 * FRAME], spoken[8 * FRAME : 13 * FRAME]])
    assert not spoken[5 * FRAME : 8 * FRAME].any()
    assert np.array_equal(sent, through_code(sine(440, 0.2)))


def test_a_peer_without_rfc4733_hears_the_tones() -> None:
    """In-band: the two tones of the key, each at -6 dBm0."""
    world = World().open().connect(dtmf_payload_type=None).do(SendDigits("call", "8", 100)).ticks(10)
    heard = world.spoken()[: 5 * FRAME].astype(float)
    for hz in (852, 1336):
        level = 2 * abs((heard * np.exp(-2j * np.pi * hz * np.arange(len(heard)) / 8000)).mean())
        assert level == pytest.approx(22656 / 2, rel=0.05)
