"""Codecs with a memory (G.722, Opus): what a phone codes is what the bot hears, at 16 kHz where it listens so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, PHONE, Phone, frames, sine, speech
from wide_world import (
    CLOCK,
    CODECS,
    NUMBER,
    SUITE,
    WIDE_FRAME,
    Ffmpeg,
    WidePhone,
    WideWorld,
    level_at,
    tone_at_16_khz,
    wide_speech,
    world,
)

from gateway.core.errors import PeerError
from gateway.core.events import DigitPressed
from gateway.media import codecs
from gateway.media.commands import CloseLeg, HeardAudio, LegClosed, Listen, QueueAudio, SendDigits, SetLoopback, Srtp
from gateway.media.decimate import _WEIGHTS, DELAY, Halver
from gateway.media.plane import Received

# The codecs alone


def test_g722_decodes_as_another_implementation_does() -> None:
    """FFmpeg's decoder is written apart from the one we use; both follow G.722 to the bit, on speech and on noise."""
    ours, theirs = codecs.decoder("G722"), Ffmpeg("G722")
    noise = np.random.default_rng(1).integers(0, 256, 160 * 40, dtype=np.uint8)
    coded = Ffmpeg("G722").code(wide_speech()) + noise.tobytes()
    for k in range(0, len(coded) - 159, 160):
        payload = coded[k : k + 160]
        assert np.array_equal(ours.decode(payload), theirs.decode(payload)), k


@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_what_we_code_another_implementation_decodes(codec: str) -> None:
    """An octave of tones comes back at its level, within 1 dB, whatever the packet's length."""
    for ptime_ms in (10, 20, 30, 40, 60):
        coder, decoder = codecs.encoder(codec), Ffmpeg(codec)
        length = 16 * codecs.packet_ms(codec, ptime_ms)
        tone = np.rint(8000 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).astype(np.int16)
        payloads = [coder.encode(piece) for piece in frames(tone, length)]
        assert {codecs.duration_ms(codec, p) for p in payloads} == {length // 16}
        heard = np.concatenate([decoder.decode(p) for p in payloads])
        rate = 48000 if codec == "opus" else 16000
        assert level_at(heard[rate // 4 : rate // 4 * 3], 1000, rate) == pytest.approx(8000, rel=0.12)


@given(st.binary(max_size=300), st.sampled_from(["G722", "opus"]))
def test_no_payload_does_harm(payload: bytes, codec: str) -> None:
    """Anything decodes to the length it claims, or is refused."""
    decoder = codecs.decoder(codec)
    try:
        length = codecs.duration_ms(codec, payload)
        pcm = decoder.decode(payload)
    except PeerError:
        return
    assert len(pcm) == 16 * length


def test_the_lower_band_is_flat_and_the_rest_does_not_fold_into_it() -> None:
    """0.05 dB to the band's edge, 60 dB of what would fold."""
    t = np.arange(16000) / 16000
    row = np.zeros(1, np.int64)

    def halved(hz: float) -> np.ndarray:
        return Halver(1).feed(row, np.rint(10000 * np.sin(2 * np.pi * hz * t)).astype(np.int16)[None])[0][0]

    for hz in (300, 1000, 3400):
        assert 20 * np.log10(level_at(halved(hz)[1000:5000], hz, 8000) / 10000) == pytest.approx(0, abs=0.05)
    assert np.sqrt(np.mean(halved(4400)[1000:].astype(float) ** 2)) < 10000 / np.sqrt(2) / 1000


def test_a_sample_of_the_lower_band_is_the_same_whatever_is_computed_with_it() -> None:
    """In exact numbers: processors sum in orders of their own, and replays go from one machine to another."""
    pcm = np.random.default_rng(3).integers(-32768, 32768, (50, WIDE_FRAME)).astype(np.int16)
    taps = (_WEIGHTS[: 2 * DELAY + 1, 0] * 2**24).astype(np.int64)
    assert taps.sum() == 2**24
    heard = np.concatenate([np.zeros((50, 2 * DELAY), np.int16), pcm], axis=1).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(heard, 2 * DELAY + 1, axis=1)[:, ::2]
    exact = np.clip(np.rint(windows @ taps / 2**24), -32768, 32767)
    assert np.array_equal(Halver(50).feed(np.arange(50), pcm)[0], exact)
    singly = [Halver(1).feed(np.zeros(1, np.int64), row[None])[0] for row in pcm]
    assert np.array_equal(np.concatenate(singly), exact)


# A leg


@pytest.mark.parametrize("ptime_ms", [10, 20, 40, 60])
@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_a_recogniser_gets_what_the_phone_picked_up(codec: str, ptime_ms: int) -> None:
    """What lies above 4 kHz reaches who listens at 16 kHz, packets of any length; who does not gets none of it."""
    w, phone, spoken = world(codec), WidePhone(codec, ptime_ms), wide_speech()
    w.do(Listen("call", "pcm_16k"))
    packets = [phone.packet(piece) for piece in frames(spoken, 16 * ptime_ms)]
    for tick in range(len(spoken) // WIDE_FRAME):
        due = slice(-(-20 * tick // ptime_ms), -(-20 * (tick + 1) // ptime_ms))
        w.tick(*packets[due])
    heard = np.frombuffer(b"".join(p.audio for p in w.all(HeardAudio)), "<i2")
    assert len(heard) > 3 * 16000
    assert level_at(heard[8000:24000], 5000, 16000) == pytest.approx(2000, rel=0.25)
    assert level_at(w.heard(), 3000, 8000) < 60  # 5 kHz folded into 8 kHz audio would stand at 3


@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_the_echo_is_what_was_said(codec: str) -> None:
    """Both directions of a wideband leg: a tone through phone, gateway and phone keeps its level within 1 dB."""
    w, phone, decoder = world(codec), WidePhone(codec), Ffmpeg(codec)
    w.do(SetLoopback("call", True))
    tone = np.rint(6000 * np.sin(2 * np.pi * 800 * np.arange(32000) / 16000)).astype(np.int16)
    for piece in frames(tone, WIDE_FRAME):
        w.tick(phone.packet(piece))
    sent = [p for p in w.packets() if p.payload_type == NUMBER[codec]]
    heard = np.concatenate([decoder.decode(p.payload) for p in sent])
    rate = 48000 if codec == "opus" else 16000
    assert level_at(heard[rate : rate * 3 // 2], 800, rate) == pytest.approx(6000, rel=0.12)
    steps = np.diff([p.timestamp for p in sent]) % 0x100000000
    assert set(steps.tolist()) == {FRAME * CLOCK[codec]}


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_packets_are_as_long_as_the_peer_asked(codec: str, ptime_ms: int) -> None:
    """Timestamps advance by the audio in each packet, at the codec's clock; Opus has no frames of 30 ms."""
    w = world(codec, ptime_ms=ptime_ms)
    w.do(QueueAudio("call", 1, sine(440, 2.0).tobytes(), last=True)).ticks(100)
    packets = [p for p in w.packets() if p.payload_type == NUMBER[codec]]
    length = 20 if (codec, ptime_ms) == ("opus", 30) else ptime_ms
    assert {codecs.duration_ms(codec, p.payload) for p in packets} == {length}
    assert set((np.diff([p.timestamp for p in packets]) % 0x100000000).tolist()) == {8 * length * CLOCK[codec]}
    assert len(packets) == 2000 // length


@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_a_packet_that_overtook_another_harms_neither(codec: str) -> None:
    """Decoding follows the order of playing: swapped on the way, packets sound as if they never had been."""

    def heard(swap: bool) -> np.ndarray:
        w, phone = world(codec), WidePhone(codec)
        packets = [phone.packet(piece) for piece in frames(wide_speech()[16000:48000], WIDE_FRAME)]
        for k in range(0, len(packets) - 1, 2):
            one, other = packets[k : k + 2]
            w.tick()
            w.tick(*((other, one) if swap and k >= 10 else (one, other)))
        w.ticks(10)
        return w.heard()

    assert np.array_equal(heard(swap=False), heard(swap=True))


def test_calls_that_are_heard_together_sound_as_each_alone() -> None:
    """Both codecs, four packet lengths, losses, swaps, wideband beside G.711: by row, nobody touches anybody else."""
    chosen = [("G722", 20), ("opus", 20), ("PCMU", 20), ("G722", 10), ("opus", 60), ("G722", 40)]

    def packets(k: int) -> list[list[bytes]]:
        codec, ptime_ms = chosen[k]
        phone = Phone(f"c{k}") if codec == "PCMU" else WidePhone(codec, ptime_ms, leg=f"c{k}")
        piece = 8 * ptime_ms if codec == "PCMU" else 16 * ptime_ms
        pcm = (speech() if codec == "PCMU" else wide_speech())[4000 * k :][: 150 * (FRAME if codec == "PCMU" else 320)]
        made = [phone.packet(one) for one in frames(pcm, piece)]
        rng = np.random.default_rng(k)
        ticks = [made[-(-20 * t // ptime_ms) : -(-20 * (t + 1) // ptime_ms)] for t in range(150)]
        for t in rng.choice(np.arange(20, 148), 12, replace=False).tolist():
            ticks[t], ticks[t + 1] = ([], ticks[t + 1]) if t % 2 else (ticks[t + 1], ticks[t])
        return ticks

    def heard(calls: list[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        w = WideWorld()
        for k in calls:
            codec, name = chosen[k][0], f"c{k}"
            w.open(name, port=20000 + 2 * k, record=f"{name}.wav")
            w.connect(name, codec=codec, payload_type={"PCMU": 0, **NUMBER}[codec], host=f"198.51.100.{k}")
            w.do(Listen(name, "pcm_16k"))
        queues = {k: packets(k) for k in calls}
        for t in range(150):
            w.take([Received(f"c{k}", d, (f"198.51.100.{k}", 4000), w.now) for k in calls for d in queues[k][t]])
        w.ticks(10)
        for k in calls:
            w.do(CloseLeg(f"c{k}"))
        files = dict(zip(calls, sorted(w.ticks(2).files.written), strict=True))
        told = {k: b"".join(p.audio for p in w.all(HeardAudio) if p.leg == f"c{k}") for k in calls}
        recorded = {k: bytes(w.files.written[file][44:]) for k, file in files.items()}
        return {k: (np.frombuffer(recorded[k], "<i2"), np.frombuffer(told[k], "<i2")) for k in calls}

    together = heard(list(range(6)))
    for k in range(6):
        alone = heard([k])[k]
        for one, other in zip(alone, together[k], strict=True):
            assert len(one) == len(other) > 32000
            assert np.abs(one.astype(int) - other).max() <= 1, chosen[k]  # sums of other lengths round otherwise


@pytest.mark.parametrize("cells", range(98, 104))
@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_a_clock_stepped_back_brings_nothing_of_the_past_back(codec: str, cells: int) -> None:
    """Packets of 60 ms; half a second of one pitch still waits when the clock goes back a second and the pitch is
    another: of the first one nothing is heard again, not even where its numbers return."""
    w, phone = world(codec), WidePhone(codec, 60)

    def coded(hz: float, count: int) -> list[bytes]:
        t = np.arange(960 * count) / 16000
        return [phone.packet(one) for one in frames(np.rint(6000 * np.sin(2 * np.pi * hz * t)).astype(np.int16), 960)]

    def say(packets: list[bytes]) -> None:
        for packet in packets:
            w.tick(packet)
            w.ticks(2)

    say(coded(500, 30))
    waiting = coded(500, 8)
    phone.timestamp -= 80 * cells * CLOCK[codec]
    w.tick(*waiting, *coded(1100, 6))
    say(coded(1100, 50))
    heard = w.heard()[8000 * 2 + 4800 : -1600]
    assert max(level_at(piece, 500, 8000) for piece in frames(heard, 160)) < 600


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("cells", range(80, 94))
@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_a_smaller_step_back_brings_nothing_of_the_past_back(codec: str, cells: int, lossy: bool) -> None:
    """The same where the new clock soon reaches the numbers of what waited, and where packets are lost of those that
    would take its place. 40 ms after the step no more is heard of the first pitch."""
    w, phone = world(codec), WidePhone(codec, 60)

    def coded(hz: float, count: int) -> list[bytes]:
        return [phone.packet(one) for one in frames(tone_at_16_khz(hz, 0.06 * count), 960)]

    def say(packets: list[bytes], *, lossy: bool) -> None:
        for k, packet in enumerate(packets):
            w.tick(*([] if lossy and k % 4 == 3 else [packet]))
            w.ticks(2)

    say(coded(500, 30), lossy=False)
    waiting = coded(500, 8)
    phone.timestamp -= 80 * cells * CLOCK[codec]
    w.tick(*waiting, *coded(1100, 6))
    say(coded(1100, 30), lossy=lossy)
    heard = w.heard()[92 * 160 : -1600]
    assert max(level_at(piece, 500, 8000) for piece in frames(heard, 160)) < 600


@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_what_is_on_its_way_in_the_former_codec_is_heard(codec: str) -> None:
    """RFC 3264 8.3: whoever offers another codec sends by the former one until our answer is there, and a packet may
    take longer than that. A newcomer has nothing on its way."""
    w, phone = world(codec), WidePhone(codec)
    packets = [phone.packet(piece) for piece in frames(tone_at_16_khz(500, 1.0), WIDE_FRAME)]
    for packet in packets[:40]:
        w.tick(packet)
    w.connect(codec="PCMU")
    for packet in packets[40:]:
        w.tick(packet)
    w.connect(codec="PCMU", host="192.0.2.9", newcomer=True)
    w.tick(phone.packet(tone_at_16_khz(500, 0.02)), source=("192.0.2.9", PHONE[1]))
    heard = w.heard()
    stats = w.all(LegClosed)[0].stats
    assert (stats.packets_received, stats.packets_lost, stats.packets_malformed) == (50, 0, 1)
    assert min(np.abs(piece).max() for piece in frames(heard[1600:7800], 80)) > 3000


@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_a_delay_given_up_in_holes_is_no_click(codec: str) -> None:
    """Every second packet is lost, and the 200 ms of a stall are given up in the holes: the tone is there all the
    while, and its slope never far steeper than its own."""
    tone = np.rint(6000 * np.sin(2 * np.pi * 200 * np.arange(16000 * 14) / 16000)).astype(np.int16)
    w, phone = world(codec), WidePhone(codec)
    packets = [phone.packet(piece) for piece in frames(tone, WIDE_FRAME)]
    came = [[packet] if number % 2 == 0 else [] for number, packet in enumerate(packets)]
    for packets in [*came[:20], *[[]] * 10, [one for tick in came[20:31] for one in tick], *came[31:]]:
        w.tick(*packets)
    assert w.plane._jitter.delay_ms(w.plane.table.row_of["call"]) <= 60
    heard = w.heard()[8000:-1600].astype(float)
    assert min(np.abs(piece).max() for piece in frames(heard, 80)) > 2000
    assert np.abs(np.diff(heard)).max() < 2.5 * 6000 * 2 * np.pi * 200 / 8000


@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_a_lost_packet_is_concealed_and_what_follows_is_whole(codec: str) -> None:
    """No hole, no crack: the level of a tone never falls below half, nor does its slope exceed the tone's own."""
    w, phone = world(codec), WidePhone(codec)
    tone = np.rint(6000 * np.sin(2 * np.pi * 200 * np.arange(32000) / 16000)).astype(np.int16)
    for k, piece in enumerate(frames(tone, WIDE_FRAME)):
        packet = phone.packet(piece)
        w.tick(*([] if k in (40, 60) else [packet]))
    heard = w.heard()[4000:-800].astype(float)
    levels = [np.abs(f).max() for f in frames(heard, 40 * 2)]
    assert min(levels) > 3000
    assert np.abs(np.diff(heard)).max() < 2.5 * 6000 * 2 * np.pi * 200 / 8000


def test_a_broken_packet_is_a_lost_one() -> None:
    """An Opus packet that cannot be decoded is concealed and ends nothing."""
    w, phone = world("opus"), WidePhone("opus")
    for k, piece in enumerate(frames(wide_speech()[:48000], WIDE_FRAME)):
        packet = phone.packet(piece)
        w.tick(packet[:13] + b"\xff\xff\xff" if k % 10 == 9 else packet)
    assert w.heard().any()


def test_a_peer_may_send_another_codec_than_it_gets() -> None:
    """We send G.722, it sends A-law, then Opus, then G.722: all are heard, since all were agreed on."""
    w = world("G722", receives={107: "opus", 9: "G722", 8: "PCMA"})
    tone16 = np.rint(6000 * np.sin(2 * np.pi * 500 * np.arange(16000) / 16000)).astype(np.int16)
    narrow, opus, g722 = Phone(law=1), WidePhone("opus", sequence=200), WidePhone("G722", sequence=400)
    w.talk(narrow, sine(500, 1.0, 6000))
    for piece in frames(tone16, WIDE_FRAME):
        w.tick(opus.packet(piece))
    for piece in frames(tone16, WIDE_FRAME):
        w.tick(g722.packet(piece))
    assert {p.payload_type for p in w.packets()} == {9}
    heard = w.heard()
    for second in (0, 1, 2):
        middle = heard[8000 * second + 3000 : 8000 * second + 7000]
        assert level_at(middle, 500, 8000) == pytest.approx(6000, rel=0.15)


@pytest.mark.parametrize("clock_hz", [8000, 48000])
def test_keys_count_time_by_the_clock_of_their_codec(clock_hz: int) -> None:
    """RFC 4733 2.1: both ways, 100 ms beside Opus are 4800, not 800."""
    sender = world("opus", clock_hz=clock_hz)
    sender.do(SendDigits("call", "5", 100)).ticks(20)
    events = [p for p in sender.packets() if p.payload_type == 101]
    assert int.from_bytes(events[-1].payload[2:4], "big") == clock_hz // 10
    assert len({p.timestamp for p in events}) == 1
    w, phone = world("opus", clock_hz=clock_hz), Phone()
    for packet in events:
        w.tick(phone.build(101, packet.payload, timestamp=packet.timestamp))
    assert [(d.digit, d.duration_ms) for d in w.all(DigitPressed)] == [("5", 100)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 8, 9, 13, 101, 107, 96]),
            st.one_of(st.binary(max_size=200), st.just(bytes(160)), st.just(b"\x4c" + bytes(20))),
            st.integers(0, 2**32 - 1) | st.integers(0, 4000),
            st.integers(0, 3),
        ),
        max_size=60,
    )
)
@settings(deadline=None, max_examples=100)
def test_no_packet_breaks_a_wideband_leg(packets: list[tuple[int, bytes, int, int]]) -> None:
    """Any payload under any number at any time, in floods or alone: ticks go on, what waits stays bounded, and a call
    beside is heard as ever."""
    w = world("opus", receives={9: "G722", 107: "opus"})
    w.open("other", port=20002).connect("other", host="198.51.100.9").do(SetLoopback("other", True))
    phone, other = Phone(), Phone("other", ssrc=5)
    for kind, payload, timestamp, copies in packets:
        flood = [phone.build(kind, payload, timestamp=timestamp) for _ in range(copies * 4)]
        received = [Received("call", data, phone.source, w.now) for data in flood]
        frame = np.full(FRAME, 1000, np.int16)
        w.take([*received, Received("other", other.packet(frame), ("198.51.100.9", 4000), w.now)])
    assert all(len(stream.coded) <= 128 for stream in w.plane._wide._streams.values())
    assert w.plane.table.legs["other"].malformed == 0
    assert len(w.packets("other")) == len(packets)


@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_wideband_is_protected_as_narrowband_is(codec: str) -> None:
    """SRTP both ways: two planes talk, and what passes between them is no codec's payload."""
    left, right = (
        world(codec, srtp=Srtp(SUITE, bytes(range(30)), bytes(range(60, 90)))),
        world(codec, srtp=Srtp(SUITE, bytes(range(60, 90)), bytes(range(30)))),
    )
    left.do(QueueAudio("call", 1, sine(800, 2.0).tobytes(), last=True))
    for _ in range(100):
        right.tick(*[d.data for d in left.tick()])
    heard = right.heard()
    assert level_at(heard[6000:14000], 800, 8000) == pytest.approx(8000, rel=0.12)


def test_a_leg_that_changes_hands_keeps_no_sound() -> None:
    """The next call in the same slot hears nothing of the last one's."""
    w, phone = world("G722"), WidePhone("G722")
    for piece in frames(wide_speech(), WIDE_FRAME):
        w.tick(phone.packet(piece))
    w.do(CloseLeg("call")).ticks(2)
    assert w.all(LegClosed)[0].stats.codec == "G722"
    w.open("next", port=20002, record="next.wav").connect("next").do(Listen("next", "pcm_16k")).ticks(50)
    assert w.packets("next")[-1].payload_type == 0
    assert not any(any(p.audio) for p in w.all(HeardAudio) if p.leg == "next")
    assert not w.heard("next").any()


@CODECS
def test_a_number_that_is_none_of_the_stream_s_moves_nothing_in_wideband(codec: str) -> None:
    """As with G.711: the packet is let fall, and nothing lies between it and the others."""
    w, phone = world(codec), WidePhone(codec)
    for piece in frames(tone_at_16_khz(1000, 1.5), WIDE_FRAME):
        wild = WidePhone(codec, sequence=phone.sequence + 20_000, timestamp=77)
        w.tick(phone.packet(piece), *([wild.packet(piece)] if phone.sequence == 130 else []))
    w.do(CloseLeg("call")).ticks(2)
    (closed,) = w.all(LegClosed)
    assert (closed.stats.packets_received, closed.stats.packets_lost, closed.stats.packets_malformed) == (75, 0, 1)
