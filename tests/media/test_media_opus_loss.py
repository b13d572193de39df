"""Packets of Opus that are lost: recovered from the next one, or made up, and played in their own time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from media_world import frames, speech
from scipy.signal import resample_poly
from wide_world import NUMBER, WIDE_FRAME, WidePhone, WideWorld, level_at, tone_at_16_khz

from gateway.media import rtcp
from gateway.media.commands import CloseLeg, LegClosed, QueueAudio

UNDECODABLE = b"\x41\xc8"
"""Behind the first octet of an Opus packet, with code 3: one frame, and more padding than there is."""

LATE = 32
"""Samples by which the halver holds the sound back."""


class Network(NamedTuple):
    """What becomes of packets: `lost` never come, `late` come so many ticks after their time."""

    ptime_ms: int = 20
    ahead: int = 0
    """Packets that have come at the beginning beyond the first one: so many wait longer in the buffer."""

    lost: tuple[int, ...] = ()
    late: dict[int, int] = {}  # noqa: RUF012 - never written to
    broken: tuple[int, ...] = ()
    """Packets that come, and cannot be decoded."""

    copies: bool = True


def voice() -> np.ndarray:
    """Two seconds of a voice at 16 kHz."""
    return resample_poly(speech()[6000:22400], 2, 1).astype(np.int16)


def through(network: Network) -> tuple[np.ndarray, WideWorld]:
    """What is recorded of the caller, 16 kHz, packet by packet as the phone sent them; and the world."""
    w, phone = WideWorld(), WidePhone("opus", network.ptime_ms, copies=network.copies)
    w.open(record="call.wav").connect(codec="opus", payload_type=NUMBER["opus"])
    length, ticks = 16 * network.ptime_ms, network.ptime_ms / 20
    due: dict[int, list[bytes]] = {}
    packets = [phone.packet(piece) for piece in frames(voice(), length)]
    for k in network.broken:
        packets[k] = packets[k][:12] + bytes([packets[k][12] | 3]) + UNDECODABLE
    for k, packet in enumerate(packets):
        if k not in network.lost:
            due.setdefault(int(max(0, k - network.ahead) * ticks) + network.late.get(k, 0), []).append(packet)
    for tick in range(int(len(packets) * ticks) + 10):
        w.tick(*due.get(tick, []))
    w.do(CloseLeg("call")).ticks(2)
    heard = np.frombuffer(bytes(w.files.written[max(w.files.written)][44:]), "<i2")[::2].astype(float)
    begin = 320 + LATE
    return heard[begin : begin + len(packets) * length].reshape(-1, length), w


def likeness_db(network: Network) -> tuple[np.ndarray, WideWorld]:
    """Of each packet's time, signal over error against the same call on a perfect network."""
    whole, _ = through(network._replace(lost=(), late={}, broken=()))
    heard, w = through(network)
    error = np.sum((heard - whole) ** 2, axis=1) + 1
    return 10 * np.log10((np.sum(whole**2, axis=1) + 1) / error), w


ONE, TWO = Network(lost=(50,)), Network(lost=(50, 51))
FORTY = Network(40, lost=(25,))
SIXTY = Network(60, lost=(16,))


@pytest.mark.parametrize(
    ("network", "least_db"),
    [
        pytest.param(ONE, (20, 14), id="one: its copy waits in the next"),
        pytest.param(ONE._replace(copies=False), (10, 5), id="one that nobody copied is made up"),
        pytest.param(TWO, (9, 2), id="two: the first is made up, the second has a copy"),
        pytest.param(TWO._replace(ahead=2), (9, 2), id="two, with the copy there early"),
        pytest.param(Network(lost=(50, 52)), (20, 14, 10), id="every other one"),
        pytest.param(Network(late={50: 2}), (20, 14), id="recovered, and too late"),
        pytest.param(FORTY, (12, 20), id="40 ms: the half that is left when the copy comes"),
        pytest.param(FORTY._replace(ahead=1), (20, 20), id="40 ms, with the copy there early"),
        pytest.param(Network(40, ahead=1, late={25: 4}), (20, 20), id="40 ms, come when half of it was recovered"),
        pytest.param(SIXTY._replace(ahead=1), (12, 15), id="60 ms"),
        pytest.param(Network(10, lost=(101,)), (20, 20), id="10 ms, the second of a tick"),
        pytest.param(Network(10, lost=(100, 101)), (14, 10), id="10 ms, all of a tick"),
    ],
)
def test_what_was_lost_is_like_what_was_said(network: Network, least_db: tuple[int, ...]) -> None:
    """From the first packet lost on, each is at least that like itself in the call that lost none (concealed in
    narrowband they are at -7 to 3 dB); what came before is the same, and what comes later is soon again."""
    likeness, w = likeness_db(network)
    begins = min(network.lost or network.late)
    end = begins + len(least_db)
    assert (likeness[begins:end] > least_db).all(), np.rint(likeness[begins:end])
    assert (likeness[:begins] > 40).all()
    assert (likeness[end + 5 : -1] > 25).all()
    stats = w.all(LegClosed)[0].stats
    assert stats.packets_lost == len(network.lost)


@pytest.mark.parametrize(
    ("network", "least_db"),
    [
        pytest.param(Network(broken=(50,)), (20, 14), id="its copy waits in the next"),
        pytest.param(Network(broken=(50,), copies=False), (10, 5), id="nobody copied it"),
        pytest.param(Network(broken=(50, 51)), (9, 2), id="two"),
        pytest.param(Network(10, broken=(101,)), (20, 20), id="10 ms"),
        pytest.param(Network(60, ahead=1, broken=(16,)), (12, 15), id="60 ms"),
    ],
)
def test_what_cannot_be_decoded_is_as_good_as_lost(network: Network, least_db: tuple[int, ...]) -> None:
    """No worse: made up in wideband, or of its copy. It is told as malformed, and held against the line's sound as far
    as it was not got back."""
    likeness, w = likeness_db(network)
    begins = min(network.broken)
    assert (likeness[begins : begins + len(least_db)] > least_db).all(), np.rint(likeness[begins:])
    assert (likeness[:begins] > 40).all()
    stats = w.all(LegClosed)[0].stats
    _, as_lost = through(network._replace(broken=(), lost=network.broken))
    lost = as_lost.all(LegClosed)[0].stats
    assert (stats.packets_lost, stats.packets_malformed) == (0, len(network.broken))
    assert (stats.packets_recovered, stats.mos) == (lost.packets_recovered, lost.mos)


def test_a_broken_packet_that_claims_more_takes_nothing_of_the_next() -> None:
    """It says that it has 40 ms, and has none; 20 ms later comes what is whole."""
    whole, _ = through(Network())
    w, phone = WideWorld(), WidePhone("opus", copies=True)
    w.open(record="call.wav").connect(codec="opus", payload_type=NUMBER["opus"])
    for number, piece in enumerate(frames(voice(), WIDE_FRAME)):
        packet = phone.packet(piece)
        w.tick(packet[:12] + bytes([packet[12] | 3, 0x42, 200]) if number == 50 else packet)
    w.ticks(10).do(CloseLeg("call")).ticks(2)
    heard = np.frombuffer(bytes(w.files.written[max(w.files.written)][44:]), "<i2")[::2].astype(float)
    heard = heard[320 + LATE :][: whole.size].reshape(whole.shape)
    error = np.sum((heard - whole) ** 2, axis=1) + 1
    likeness = 10 * np.log10((np.sum(whole**2, axis=1) + 1) / error)
    assert likeness[50] > 20
    assert likeness[51] > 14
    assert (likeness[55:-1] > 25).all()


@pytest.mark.parametrize(
    ("network", "lost", "recovered"),
    [
        pytest.param(ONE, 1, 1, id="one"),
        pytest.param(ONE._replace(copies=False), 1, 0, id="one that nobody copied"),
        pytest.param(TWO, 2, 1, id="two, of which the second has a copy"),
        pytest.param(Network(lost=tuple(range(32, 46, 2))), 7, 7, id="every other one"),
        pytest.param(FORTY._replace(ahead=1), 1, 1, id="40 ms"),
        pytest.param(SIXTY._replace(ahead=1), 1, 1, id="60 ms"),
        pytest.param(Network(10, ahead=2, lost=(101,)), 1, 1, id="10 ms"),
        pytest.param(Network(lost=(40,), late={50: 2}), 1, 2, id="one that came when it was not needed any more, too"),
        pytest.param(Network(lost=(40,), late={50: 2}, copies=False), 1, 0, id="neither of which was copied"),
    ],
)
def test_what_was_got_back_is_told(network: Network, lost: int, recovered: int) -> None:
    """Beside what was lost on the way; and it is not held against the line's sound."""
    _, w = through(network)
    _, whole = through(network._replace(lost=(), late={}, broken=()))
    stats, perfect = (one.all(LegClosed)[0].stats for one in (w, whole))
    assert (stats.packets_lost, stats.packets_recovered) == (lost, recovered)
    assert perfect.packets_recovered == 0
    assert stats.packets_late == len(network.late)
    assert (stats.mos == perfect.mos) is (recovered == lost + len(network.late))


def test_what_comes_too_late_sounds_as_if_it_were_lost() -> None:
    """To the same opinion of the line."""
    networks = Network(late={50: 2, 60: 2}, copies=False), Network(lost=(50, 60), copies=False)
    late, lost = (through(network)[1].all(LegClosed)[0].stats for network in networks)
    assert (late.packets_late, late.packets_lost, lost.packets_lost) == (2, 0, 2)
    assert late.mos == lost.mos


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(Network(late={50: 1}), id="swapped"),
        pytest.param(Network(ahead=3, late={50: 4}), id="overtaken by four"),
        pytest.param(Network(40, ahead=1, late={25: 3}), id="40 ms"),
        pytest.param(Network(10, ahead=4, late={100: 2}), id="10 ms"),
    ],
)
def test_what_comes_in_time_needs_no_copy(network: Network) -> None:
    """However far it was overtaken: it is decoded itself, and all is heard to the bit as if it never had been."""
    heard, w = through(network)
    assert np.array_equal(heard, through(network._replace(late={}))[0])
    assert w.all(LegClosed)[0].stats.packets_late == 0


def test_what_was_got_back_of_another_source_counts_too() -> None:
    """A phone that begins a new stream in mid-call had the old one recovered all the same; a new call had not."""
    w, phone = WideWorld(), WidePhone("opus", copies=True)
    w.open().connect(codec="opus", payload_type=NUMBER["opus"])
    for ssrc in (77, 78):
        phone.ssrc = ssrc
        for number, piece in enumerate(frames(voice(), WIDE_FRAME)[32:50]):
            packet = phone.packet(piece)
            w.tick(*() if number == 5 else (packet,))
    w.ticks(5).do(CloseLeg("call")).ticks(2)
    w.open().connect(codec="opus", payload_type=NUMBER["opus"]).do(CloseLeg("call")).ticks(2)
    assert [one.stats.packets_recovered for one in w.all(LegClosed)] == [2, 0]


def test_a_long_gap_fades_and_ends_with_the_copy() -> None:
    """A quarter of a second: 120 ms are made up, ever lower, then there is silence; the last 20 ms have a copy."""
    heard, _ = through(Network(lost=tuple(range(50, 62))))
    levels = np.sqrt(np.mean(heard**2, axis=1))
    assert levels[50] > 5000
    assert levels[52] < levels[50] / 2
    assert (levels[56:61] < 100).all()
    likeness, _ = likeness_db(Network(lost=tuple(range(50, 62))))
    assert likeness[61] > 0


def sent_octets(*, copies: bool) -> list[float]:
    """Mean length of what is sent to a phone before it loses anything, while it does, and long after."""
    w = WideWorld()
    w.open().connect(codec="opus", payload_type=NUMBER["opus"], copies=copies)
    ssrc, lengths = int(w.plane.table.ssrc[w.plane.table.row_of["call"]]), []
    for clip, fractions in enumerate(([0], [26], [0] * 12)):
        for fraction in fractions:
            w.tick(rtcp.build(rtcp.Report(9, None, (rtcp.Block(ssrc, fraction, 5, 100, 0, 0, 0),)), "x"))
        w.sent.clear()
        w.do(QueueAudio("call", clip, speech()[6000:22400].tobytes(), last=True)).ticks(100)
        lengths.append(float(np.mean([len(packet.payload) for packet in w.packets()])))
    return lengths


def test_a_phone_that_loses_packets_is_sent_copies() -> None:
    """While its reports tell of losses and a while longer, and only if it said that it makes use of them."""
    before, meanwhile, after = sent_octets(copies=True)
    assert meanwhile > 1.3 * before
    assert after == pytest.approx(before, rel=0.05)
    assert max(sent_octets(copies=False)) < 1.1 * before


def rested(*, key: bool) -> np.ndarray:
    """The phone says a second of a tone, nothing for 0.4 s (or a key), and then is silent."""
    w, phone = WideWorld(), WidePhone("opus", copies=True)
    w.open(record="call.wav").connect(codec="opus", payload_type=NUMBER["opus"])
    for piece in frames(tone_at_16_khz(700, 1.0), WIDE_FRAME):
        w.tick(phone.packet(piece))
    for _ in range(20):
        w.tick(*([phone.build(101, bytes([5, 10, 0, 160]))] if key else []))
        phone.timestamp += 960
    quiet = np.zeros(WIDE_FRAME, np.int16)
    for _ in range(25):
        w.tick(phone.packet(quiet))
    w.do(CloseLeg("call")).ticks(2)
    assert w.all(LegClosed)[0].stats.packets_lost == 0
    return np.frombuffer(bytes(w.files.written[max(w.files.written)][44:]), "<i2")[::2]


@pytest.mark.parametrize("key", [False, True])
def test_a_rest_is_no_loss(key: bool) -> None:
    """Who said nothing for a while, or pressed a key, lost nothing: the copy in the next packet is of what was said
    before, and is not heard again."""
    heard = rested(key=key)
    assert level_at(heard[8000:12000], 700, 16000) == pytest.approx(6000, rel=0.2)
    assert max(level_at(piece, 700, 16000) for piece in frames(heard[16000 + 3200 : 16000 + 6720], 320)) < 100
