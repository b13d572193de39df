"""The bot's voice on wideband legs: said at 16 kHz, from the same places as the 8 kHz that is recorded and counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, Phone, World, frames, sine
from wide_world import (
    CODECS,
    NUMBER,
    RATE,
    Ffmpeg,
    WidePhone,
    WideWorld,
    level_at,
    middle,
    sounded,
    tone_at_16_khz,
    voice,
    world,
)

from gateway.media import playout, tones
from gateway.media.commands import (
    Bridge,
    ClipFinished,
    FlushPlayout,
    PausePlayout,
    PlayMusic,
    QueueAudio,
    ResumePlayout,
    SendDigits,
    SetGain,
    SetLoopback,
    SetTone,
)
from gateway.media.playout import Playouts
from gateway.media.resample import TAPS, double_rate
from gateway.media.voice import RING, WideFrames

# On the plane


@CODECS
@pytest.mark.parametrize("ptime_ms", [20, 60])
def test_the_bot_is_heard_in_wideband(codec: str, ptime_ms: int) -> None:
    """What a voice has above 4 kHz reaches the phone, at its level; the recording has the rest, and nothing folded."""
    w, rate = world(codec, ptime_ms=ptime_ms), RATE[codec]
    w.do(voice(2.0)).ticks(110)
    heard = sounded(w, codec)
    assert level_at(middle(heard, rate), 1000, rate) == pytest.approx(6000, rel=0.1)
    assert level_at(middle(heard, rate), 6000, rate) == pytest.approx(3000, rel=0.2)
    assert [(f.played_s, f.complete) for f in w.all(ClipFinished)] == [(2.0, True)]
    w.heard()
    recorded = np.frombuffer(bytes(w.files.written[max(w.files.written)][44:]), "<i2")[1::2]
    assert np.array_equal(recorded[: 2 * 8000], tone_at_16_khz(1000, 2.0)[::2])


@CODECS
def test_a_narrowband_voice_brings_no_image_of_itself(codec: str) -> None:
    """Where a clip comes at 8 kHz alone it is sent at twice the rate, whatever its pieces: 60 dB to its mirror."""
    w, rate = world(codec), RATE[codec]
    tone = sine(3000, 2.0, 6000)
    for piece in np.split(tone, [333, 1000, 1001, 9000]):
        w.do(QueueAudio("call", 1, piece.tobytes()))
    w.ticks(100)
    heard = sounded(w, codec)
    assert level_at(middle(heard, rate), 3000, rate) == pytest.approx(6000, rel=0.15)
    assert level_at(middle(heard, rate), 5000, rate) < 6000 / 200  # what the code itself adds hides what is below


def test_a_long_voice_at_8_khz_is_brought_to_16_as_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds at a time, and to the same samples as all of it at once, which would keep every call waiting."""
    lengths: list[int] = []

    def counted(audio: np.ndarray) -> np.ndarray:
        lengths.append(audio.shape[1])
        return double_rate(audio)

    monkeypatch.setattr(playout, "double_rate", counted)
    pcm = np.random.default_rng(1).integers(-9000, 9000, 60 * 8000).astype(np.int16)
    w = WideWorld().browser()
    w.do(QueueAudio("call", 1, pcm.tobytes(), last=True)).ticks(60 * 50 + 1)
    assert w.speaks_wide()
    said = w.said_by().pcm
    assert len(said) == (60 * 50 + 1) * 2 * FRAME
    at_once = double_rate(np.concatenate([np.zeros(TAPS - 1, np.int16), pcm])[None])[0]
    assert np.array_equal(said[: len(at_once)], at_once)
    assert max(lengths) <= RING + TAPS


def test_a_g711_leg_leaves_the_wideband_alone() -> None:
    """Not an octet of what it sends depends on it."""
    plain, given_both = World().open().connect(), World().open().connect()
    both = voice(1.0)
    plain.do(QueueAudio("call", 1, both.pcm, last=True)).ticks(60)
    given_both.do(both).ticks(60)
    assert [d.data for d in plain.sent] == [d.data for d in given_both.sent]


@pytest.mark.parametrize("wide", [b"", b"\0" * 31])
def test_wideband_of_another_length_is_not_taken(wide: bytes) -> None:
    """It would not lie beside what is counted; the 8 kHz are sent instead."""
    w = world("G722").do(QueueAudio("call", 1, sine(800, 1.0, 6000).tobytes(), True, wide)).ticks(60)
    assert level_at(middle(sounded(w, "G722"), 16000), 800, 16000) == pytest.approx(6000, rel=0.1)


@CODECS
def test_a_pause_holds_both_at_one_place(codec: str) -> None:
    """What is heard is the tone without the hold, its phase unbroken but for the fades."""
    w, rate = world(codec), RATE[codec]
    w.do(voice(2.0, low=500)).ticks(50).do(PausePlayout("call")).ticks(25).do(ResumePlayout("call")).ticks(80)
    heard = sounded(w, codec)
    assert np.abs(heard[int(1.1 * rate) : int(1.45 * rate)]).max() < 150
    after = heard[int(1.55 * rate) : int(2.45 * rate)]
    assert level_at(after, 6000, rate) == pytest.approx(3000, rel=0.2)
    assert [f.played_s for f in w.all(ClipFinished)] == [2.0]
    w.do(voice(2.0)).ticks(20).do(FlushPlayout("call")).ticks(20)
    assert np.abs(sounded(w, codec)[-rate // 4 :]).max() < 150
    assert w.all(ClipFinished)[-1].played_s == 0.4


@pytest.mark.parametrize(("before", "after"), [("PCMU", "G722"), ("G722", "PCMU"), ("opus", "G722")])
def test_a_new_codec_in_mid_clip_goes_on_with_it(before: str, after: str) -> None:
    """A re-INVITE brings what is queued along: none of it is lost or said again."""
    types = {"PCMU": 0, **NUMBER}
    w = WideWorld().open().connect(codec=before, payload_type=types[before])
    # Longer than the ring, so that some of it still waits behind.
    w.do(QueueAudio("call", 1, tone_at_16_khz(1000, 4.0)[::2].tobytes(), last=True)).ticks(50)
    w.connect(codec=after, payload_type=types[after]).ticks(160)
    new = w.packets()[50:]
    assert {p.payload_type for p in new} == {types[after]}
    decoder = Ffmpeg("G722")
    heard, rate = (
        (w.spoken(), 8000) if after == "PCMU" else (np.concatenate([decoder.decode(p.payload) for p in new]), 16000)
    )
    for second in (0.2, 1.0, 2.2):
        assert level_at(middle(heard, rate, second), 1000, rate) == pytest.approx(6000, rel=0.1)
    assert [(f.played_s, f.complete) for f in w.all(ClipFinished)] == [(4.0, True)]


def test_music_and_gain_are_as_loud_at_both_rates() -> None:
    """Music of 3 kHz has no image at 5; the voice over it is softer by its gain, above 4 kHz as well."""
    w = world("G722")
    w.do(PlayMusic("call", sine(3000, 1.0, 8000).tobytes(), under_db=-20.0)).do(SetGain("call", -6.0)).ticks(100)
    alone = sounded(w, "G722")
    assert level_at(middle(alone, 16000, 1.0), 3000, 16000) == pytest.approx(8000, rel=0.1)
    assert level_at(middle(alone, 16000, 1.0), 5000, 16000) < 40
    w.do(voice(2.0)).ticks(100)
    both = sounded(w, "G722")[32000:]
    assert level_at(middle(both, 16000), 3000, 16000) == pytest.approx(800, rel=0.25)
    assert level_at(middle(both, 16000), 6000, 16000) == pytest.approx(1500, rel=0.25)


@CODECS
def test_music_is_heard_in_wideband_where_it_is_given_so(codec: str) -> None:
    """What it has above 4 kHz goes round with what is below, stands back with it while something is said, and ends
    with it."""
    w, rate = world(codec), RATE[codec]
    low, high = tone_at_16_khz(400, 0.5, 4000), tone_at_16_khz(6000, 0.5, 4000)
    w.do(PlayMusic("call", low[::2].tobytes(), under_db=-20.0, wide=(low + high).tobytes())).ticks(150)
    alone = sounded(w, codec)
    for hz in (400, 6000):
        assert level_at(middle(alone, rate, 2.0), hz, rate) == pytest.approx(4000, rel=0.2)
    w.do(QueueAudio("call", 1, sine(1000, 2.0, 6000).tobytes(), last=True)).ticks(100)
    under = sounded(w, codec)[3 * rate :]
    assert level_at(middle(under, rate), 6000, rate) == pytest.approx(400, rel=0.4)
    w.do(PlayMusic("call", None)).ticks(50)
    assert np.abs(sounded(w, codec)[-rate // 2 :]).max() < 150


def test_music_of_another_length_at_16_khz_is_not_taken() -> None:
    """It would go round at another pace; the 8 kHz are sent instead."""
    w = world("G722").do(PlayMusic("call", sine(800, 0.5, 6000).tobytes(), wide=b"\0" * 31)).ticks(100)
    assert level_at(middle(sounded(w, "G722"), 16000, 1.0), 800, 16000) == pytest.approx(6000, rel=0.1)


def test_a_g711_leg_leaves_wideband_music_alone() -> None:
    """Not an octet of what it sends depends on it."""
    plain, given_both = World().open().connect(), World().open().connect()
    low = tone_at_16_khz(400, 0.5, 4000)
    plain.do(PlayMusic("call", low[::2].tobytes())).ticks(60)
    given_both.do(PlayMusic("call", low[::2].tobytes(), wide=low.tobytes())).ticks(60)
    assert [d.data for d in plain.sent] == [d.data for d in given_both.sent]


def test_tones_and_keys_are_made_at_the_codecs_rate() -> None:
    """A test tone at its level, and a key's two tones, without images of them."""
    w = world("G722", dtmf_payload_type=None)
    w.do(SetTone("call", 1004.0, -10.0)).ticks(60).do(SetTone("call", None)).ticks(1)
    heard = middle(sounded(w, "G722"), 16000)
    assert level_at(heard, 1004, 16000) == pytest.approx(tones.amplitude(-10.0, 0), rel=0.1)
    w.do(SendDigits("call", "5", 500)).ticks(25)
    key = sounded(w, "G722")[-16000 // 3 :]
    for hz in tones.KEY_HZ["5"]:
        assert level_at(key, hz, 16000) == pytest.approx(tones.amplitude(-6.0, 0), rel=0.15)
        assert level_at(key, 8000 - hz, 16000) < 60


@CODECS
def test_the_echo_and_a_bridge_are_wideband_between_wideband_phones(codec: str) -> None:
    """5.5 kHz come back to who says them, and reach a partner of either codec; a G.711 partner hears what it can."""
    w, phone = world(codec), WidePhone(codec)
    w.open("call.2", port=20002).connect("call.2", codec="G722", payload_type=9, host="192.0.2.9")
    w.do(SetLoopback("call", True))
    spoken = tone_at_16_khz(5500, 3.0) + tone_at_16_khz(700, 3.0, 3000)
    for k, piece in enumerate(frames(spoken, 2 * FRAME)):
        if k == 75:
            w.do(SetLoopback("call", False)).do(Bridge("call", "call.2"))
        w.tick(phone.packet(piece))
    back, partner = sounded(w, codec), sounded(w, "G722", "call.2")
    assert level_at(middle(back, RATE[codec]), 5500, RATE[codec]) == pytest.approx(6000, rel=0.25)
    assert level_at(middle(partner, 16000, 2.0), 5500, 16000) == pytest.approx(6000, rel=0.25)
    assert level_at(middle(partner, 16000, 2.0), 700, 16000) == pytest.approx(3000, rel=0.2)


def test_a_g711_partner_is_heard_without_images() -> None:
    """A bridge from G.711 to G.722: twice the rate, nothing above 4 kHz."""
    w, phone = world("G722"), Phone("call.2", ssrc=4)
    w.open("call.2", port=20002).connect("call.2", host="192.0.2.9").do(Bridge("call", "call.2"))
    for piece in frames(sine(3000, 2.0, 6000)):
        w.tick(phone.packet(piece), leg="call.2", source=("192.0.2.9", 4000))
    heard = middle(sounded(w, "G722"), 16000)
    assert level_at(heard, 3000, 16000) == pytest.approx(6000, rel=0.15)
    assert level_at(heard, 5000, 16000) < 40


# Sample by sample


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("queue"), st.integers(0, 700), st.booleans()),
        st.tuples(st.just("queue"), st.integers(15000, 20000), st.booleans()),
        st.tuples(st.just("take"), st.integers(1, 60), st.just(0)),
        st.tuples(st.sampled_from(["pause", "resume", "flush"]), st.just(0), st.just(0)),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(OPERATIONS)
def test_both_rates_say_the_same_at_every_sample(operations: list[tuple[str, int, bool]]) -> None:
    """A voice whose 16 kHz are its 8 kHz, each sample twice, through any order of queueing, holding and dropping:
    16 kHz is 8 kHz at every place, and where they fade it lies on the same line. Marks are those of a G.711 leg."""
    rng = np.random.default_rng(3)
    playouts, alone, rows = Playouts(3), Playouts(1), np.array([0, 2])
    playouts.speak_wide(2, True)
    clip = 1
    for what, amount, last in operations:
        if what == "queue":
            pcm = rng.integers(-30000, 30000, amount).astype(np.int16)
            playouts.queue(0, clip, pcm, last)
            playouts.queue(2, clip, pcm, last, np.repeat(pcm, 2))
            alone.queue(0, clip, pcm, last)
            clip += last
        elif what == "take":
            for _ in range(amount):
                narrow, wide, only = (
                    np.zeros((2, FRAME), np.int16),
                    WideFrames(rows[1:]),
                    np.zeros((1, FRAME), np.int16),
                )
                passed, expected = playouts.take(rows, narrow, wide), alone.take(rows[:1], only)
                assert np.array_equal(narrow[0], only[0])
                assert np.array_equal(narrow[1], only[0])
                first, second = wide.pcm[0, ::2].astype(int), wide.pcm[0, 1::2].astype(int)
                assert np.all((first == narrow[1]) | (second == narrow[1]))
                assert np.abs(first - second).max() <= np.ceil(32768 / 40)
                assert [p for p in passed if p.row == 0] == expected
                assert [(p.clip, p.offset, p.played) for p in passed if p.row == 2] == [
                    (p.clip, p.offset, p.played) for p in expected
                ]
        else:
            for one, row in ((playouts, 0), (playouts, 2), (alone, 0)):
                getattr(one, what)(row)
