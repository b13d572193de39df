"""Legs without a socket at 16 kHz, of browsers' calls played again from their recording: heard, spoken to, bridged and
recorded as wideband telephones are."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, Phone, World, frames, sine, speech
from wide_world import (
    WIDE_FRAME,
    WidePhone,
    WideWorld,
    level_at,
    middle,
    sounded,
    tone_at_16_khz,
    voice,
    wide_speech,
)

from gateway.core.events import SpeechBegan, SpeechEnded
from gateway.media import rtcp
from gateway.media.commands import (
    Bridge,
    ClipFinished,
    CloseLeg,
    HeardAudio,
    LegLatched,
    Listen,
    PlayMusic,
    PushPcm,
    QueueAudio,
    SendDigits,
    SetLoopback,
)
from gateway.media.decimate import DELAY
from gateway.media.vad import SileroVad


def pushed(world: World, pcm: np.ndarray, size: int = WIDE_FRAME, leg: str = "call") -> World:
    """A browser says this, 20 ms a tick."""
    for piece in frames(pcm, size):
        world.do(PushPcm(leg, piece.tobytes())).tick()
    return world


def heard(world: World) -> np.ndarray:
    return np.frombuffer(b"".join(one.audio for one in world.all(HeardAudio)), "<i2")


def test_a_recogniser_gets_a_browsers_whole_band() -> None:
    """5 kHz arrive as they were pushed; the narrowband that the house hears has nothing of them, folded or not."""
    world = WideWorld().browser().do(Listen("call", "pcm_16k"))
    pushed(world, wide_speech())
    wide = heard(world)
    assert level_at(wide[32000:48000], 5000, 16000) == pytest.approx(2000, rel=0.05)
    world = WideWorld().browser().do(Listen("call", "pcm_8k"))
    narrow = heard(pushed(world, tone_at_16_khz(700, 3.0) + tone_at_16_khz(5000, 3.0)))
    assert level_at(narrow[8000:16000], 700, 8000) == pytest.approx(6000, rel=0.02)
    assert level_at(narrow[8000:16000], 3000, 8000) < 10


def test_a_browser_hears_the_bots_whole_voice() -> None:
    """What is said is the clip's 16 kHz, to the sample, while clips are counted as ever."""
    bot, world = voice(1.0), WideWorld().browser()
    world.do(bot).ticks(60)
    assert world.speaks_wide()
    rate, said = world.said_by()
    assert (rate, len(said)) == (16000, 60 * WIDE_FRAME)
    assert np.array_equal(said[:16000], np.frombuffer(bot.wide, "<i2"))
    assert not said[16000:].any()
    assert [(one.played_s, one.complete) for one in world.all(ClipFinished)] == [(1.0, True)]


def test_what_there_is_at_8_khz_alone_has_no_image() -> None:
    """A clip and music without their upper half, and keys, at 16 kHz."""
    clip, music = QueueAudio("call", 1, sine(3000, 2.0, 6000).tobytes(), last=True), sine(3000, 1.0, 6000).tobytes()
    for sound in (clip, PlayMusic("call", music)):
        said = said_at_16_khz(sound, 100)
        assert level_at(middle(said, 16000), 3000, 16000) == pytest.approx(6000, rel=0.05)
        assert level_at(middle(said, 16000), 5000, 16000) < 6
    assert level_at(said_at_16_khz(SendDigits("call", "5", 500), 25)[:4800], 770, 16000) > 3000


def said_at_16_khz(command: object, ticks: int) -> np.ndarray:
    """By a leg that is told this."""
    world = WideWorld().browser()
    world.do(command)
    for _ in range(ticks):
        world.tick()
        assert world.speaks_wide()
    return world.said_by().pcm


def test_a_narrow_leg_says_8_khz_whatever_it_is_given() -> None:
    """PCMU browsers: 160 samples a tick, the same with a clip's 16 kHz beside it and without; a wide push is heard."""
    both = voice(1.0)
    plain, given_both = (WideWorld().browser(wide=False) for _ in range(2))
    for world, clip in ((plain, QueueAudio("call", 1, both.pcm, last=True)), (given_both, both)):
        world.do(Listen("call", "pcm_16k")).do(clip).ticks(60)
        assert not world.speaks_wide()
    pushed(plain, wide_speech())
    assert level_at(heard(plain)[32000:48000], 5000, 16000) == pytest.approx(2000, rel=0.05)
    (rate, said), (_, said_with_both) = plain.said_by(), given_both.said_by()
    assert (rate, len(said_with_both)) == (8000, 60 * FRAME)
    assert np.array_equal(said[: 60 * FRAME], said_with_both)
    assert np.array_equal(said[:8000], np.frombuffer(both.pcm, "<i2"))


def test_both_rates_may_be_pushed_in_turn() -> None:
    """A tone that is pushed at 16 kHz, at 8 and at 16 again keeps its level, and none of it is lost."""
    world = WideWorld().browser().do(Listen("call", "pcm_16k"))
    tone = tone_at_16_khz(440, 3.0)
    pushed(world, tone[:16000])
    pushed(world, tone[16000:32000:2], FRAME)
    pushed(world, tone[32000:])
    got = heard(world)
    for second in (0.25, 1.25, 2.25):
        assert level_at(got[int(16000 * second) :][:8000], 440, 16000) == pytest.approx(6000, rel=0.03)
    assert len(got) >= 44800


@pytest.mark.parametrize("size", [0, 1, 319, 321, 638, 642, 1280])
def test_pieces_of_another_length_are_not_taken(size: int) -> None:
    """Neither heard nor the end of anything."""
    world = WideWorld().browser().do(Listen("call", "pcm_16k"))
    for _ in range(50):
        world.do(PushPcm("call", b"\x40" * size)).tick()
    assert not heard(world).any()


def test_speech_is_found_where_a_narrowband_leg_finds_it() -> None:
    """The detector hears 8 kHz either way: the same stretches, within a window and the filter's 2 ms."""
    pcm = np.concatenate([speech(), np.zeros(8000, np.int16)])
    wide = np.clip(np.repeat(pcm, 2).astype(float), -32768, 32767)
    smooth = np.rint(np.convolve(wide, [0.25, 0.5, 0.25], "same")).astype(np.int16)
    narrow_leg = pushed(World(vad=SileroVad(8)).open(kind="pcm"), pcm, FRAME)
    wide_leg = pushed(World(vad=SileroVad(8)).open(kind="pcm", wide=True), smooth)
    for kind, moment in ((SpeechBegan, "began_at"), (SpeechEnded, "ended_at")):
        one, other = ([getattr(said, moment) for said in leg.all(kind)] for leg in (narrow_leg, wide_leg))
        assert len(one) == len(other) > 0
        assert np.abs(np.array(one) - other).max() <= 0.035


def test_a_browser_and_a_telephone_hear_each_other_in_wideband() -> None:
    """A bridge between a browser and a phone of G.722 carries 5.5 kHz both ways; an echo gives them back."""
    world, phone = WideWorld().browser(), WidePhone("G722", leg="call.2")
    world.open("call.2", port=20002)
    world.connect("call.2", codec="G722", payload_type=9, host="192.0.2.9").do(Bridge("call", "call.2"))
    spoken = tone_at_16_khz(5500, 2.0)
    for piece in frames(spoken, WIDE_FRAME):
        world.do(PushPcm("call", piece.tobytes()))
        world.tick(phone.packet(piece), leg="call.2", source=("192.0.2.9", 4000))
    assert world.speaks_wide("call")
    for got in (world.said_by("call").pcm, sounded(world, "G722", "call.2")):
        assert level_at(middle(got, 16000, 1.0), 5500, 16000) == pytest.approx(6000, rel=0.25)
    world = WideWorld().browser()
    pushed(world.do(SetLoopback("call", True)), spoken)
    assert level_at(middle(world.said_by().pcm, 16000, 1.0), 5500, 16000) == pytest.approx(6000, rel=0.02)


def test_a_browsers_call_is_recorded_at_16_khz(tmp_path: Path) -> None:
    """Both sides; what it pushed stands there to the sample, a tick and the filter's 2 ms later."""
    world = World().open(kind="pcm", wide=True, record=str(tmp_path / "call.wav"))
    bot, said = voice(1.0), wide_speech()[: 16000 * 3]
    pushed(world.do(bot), said).ticks(5).do(CloseLeg("call")).ticks(1)
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert file.getframerate() == 16000
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert np.array_equal(both[:16000, 1], np.frombuffer(bot.wide, "<i2"))
    assert not both[: WIDE_FRAME + DELAY, 0].any()
    assert np.array_equal(both[WIDE_FRAME + DELAY :, 0][: len(said) - DELAY], said[:-DELAY])


def test_the_next_leg_in_the_row_is_its_own() -> None:
    """Wide, narrow, a telephone: nothing of who was there before, neither sound nor rate."""
    world = WideWorld().browser("a")
    world.do(QueueAudio("a", 1, b"\1\0" * 8000, False, b"\1\0" * 16000))
    pushed(world, wide_speech()[:16000], leg="a").do(CloseLeg("a")).ticks(1)
    world.browser("b", wide=False).do(SetLoopback("b", True)).ticks(10)
    assert not world.speaks_wide("b")
    rate, said = world.said_by("b")
    assert (rate, len(said)) == (8000, 10 * FRAME)
    assert not said.any()
    world.open("c").connect("c").ticks(10)
    assert not world.spoken("c").any()
    assert len(world.packets("c")) == 10


def test_what_was_pushed_before_the_end_is_not_heard_by_who_comes_next() -> None:
    """A leg that closes before its last pieces were taken in, and another in its row in the same tick."""
    world = WideWorld().browser("a")
    world.ticks(5)
    world.do(PushPcm("a", b"\x40\x40" * WIDE_FRAME)).do(PushPcm("a", b"\x40\x40" * FRAME)).do(CloseLeg("a"))
    world.browser("b").do(SetLoopback("b", True)).ticks(10)
    said = world.said_by("b").pcm
    assert len(said) == 10 * WIDE_FRAME
    assert not said.any()


def test_browsers_of_both_rates_push_side_by_side() -> None:
    """Eight in one tick, some with two pieces at once: each hears itself, and nobody else."""
    world = WideWorld()
    for k in range(8):
        world.browser(f"b{k}", wide=k % 2 == 0).do(SetLoopback(f"b{k}", True))
    pieces = {k: frames(tone_at_16_khz(300 + 100 * k, 2.0)[:: 1 + k % 2], WIDE_FRAME // (1 + k % 2)) for k in range(8)}
    for n in range(100):
        for k in range(8):
            for piece in pieces[k][n : n + 1] if k < 4 else pieces[k][n : n + 2] if n % 2 == 0 else []:
                world.do(PushPcm(f"b{k}", piece.tobytes()))
        world.tick()
    for k in range(8):
        assert world.speaks_wide(f"b{k}") == (k % 2 == 0)
        rate, said = world.said_by(f"b{k}")
        assert rate == 8000 * (2 - k % 2)
        heard_back = middle(said, rate, 1.0)
        levels = [level_at(heard_back, 300 + 100 * other, rate) for other in range(8)]
        assert levels[k] == pytest.approx(6000, rel=0.02)
        assert sum(levels) - levels[k] < 60


ROUND = tone_at_16_khz(440, 0.1) + tone_at_16_khz(6000, 0.1, 3000)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.sampled_from([2 * FRAME, 4 * FRAME])),
            st.tuples(st.just("miss"), st.integers(1, 12)),
            st.tuples(st.just("burst"), st.integers(2, 9)),
        ),
        max_size=60,
    )
)
def test_no_order_of_pushes_breaks_a_leg(steps: list[tuple[str, int]]) -> None:
    """At either rate, late, in bursts, or not at all: every tick says its 20 ms, and what is recorded is as long."""
    world = WideWorld().browser()
    world.do(Listen("call", "pcm_16k")).do(PlayMusic("call", ROUND[::2].tobytes(), wide=ROUND.tobytes()))
    ticks = 0
    for what, amount in steps:
        count = amount if what == "burst" else 1
        for _ in range(0 if what == "miss" else count):
            world.do(PushPcm("call", b"\x10\x10" * ((amount if what == "push" else 4 * FRAME) // 2)))
        passing = amount if what == "miss" else 1
        for _ in range(passing):
            world.tick()
            assert world.speaks_wide()
        ticks += passing
    _, said = world.said_by()
    assert np.array_equal(said[WIDE_FRAME:], np.tile(ROUND, -(-ticks // 5))[WIDE_FRAME : ticks * WIDE_FRAME])
    assert len(said) == ticks * WIDE_FRAME


@pytest.mark.parametrize("codec", ["PCMU", "G722", "opus"])
@pytest.mark.parametrize("wide", [True, False])
def test_a_leg_without_a_socket_has_no_peer(wide: bool, codec: str) -> None:
    """Told where a peer would be, and sent packets as if one were there, it speaks at its own rate as before; nobody
    else is harmed. Neither happens in a call; either would have cost all calls of the worker."""
    world = WideWorld().browser(wide=wide)
    world.open("other", port=20002).connect("other")
    world.connect(codec=codec, payload_type=107).do(QueueAudio("call", 1, sine(440, 0.2).tobytes(), last=True))
    phone = Phone("call")
    report = rtcp.build(rtcp.Report(phone.ssrc, None, ()), "x")
    world.tick(phone.build(101, bytes(4)), phone.build(13, b"\x40"), phone.packet(sine(440, 0.02)), report)
    for _ in range(20):
        assert world.speaks_wide() == wide
        world.tick()
    assert world.speaks_wide() == wide
    assert [one.complete for one in world.all(ClipFinished)] == [True]
    assert not world.all(LegLatched)
    assert not world.packets("call")
    assert len(world.packets("other")) == 21
    rate, said = world.said_by()
    assert (rate, len(said)) == ((16000, 21 * WIDE_FRAME) if wide else (8000, 21 * FRAME))
    assert level_at(said[: rate // 5], 440, rate) == pytest.approx(8000, rel=0.05)
