"""What the caller hears: clips in order, pauses and flushes to the sample."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, World, sine, through_code

from gateway.media import g711
from gateway.media.commands import (
    ClipFinished,
    ClipStarted,
    CloseLeg,
    ConnectLeg,
    FlushPlayout,
    PausePlayout,
    QueueAudio,
    ResumePlayout,
    SetTone,
)
from gateway.media.playout import Passed, Playouts

FADE = 40


def ramp(samples: int, start: int = 1) -> np.ndarray:
    """Samples that tell their own place."""
    return (np.arange(start, start + samples) % 30000).astype(np.int16)


def clip(number: int, pcm: np.ndarray, *, last: bool = True) -> QueueAudio:
    return QueueAudio("call", number, pcm.tobytes(), last)


def test_a_clip_is_sent_whole_and_its_ends_are_told_to_the_sample() -> None:
    """Every sample leaves once, in order; the reports carry the times of the first and the last."""
    pcm = sine(440, 0.25)[:1930]
    world = World().open().connect().ticks(3)
    world.do(clip(7, pcm))
    began = world.now
    world.ticks(20)
    spoken = world.spoken()[3 * FRAME :]
    assert np.array_equal(spoken[: len(pcm)], through_code(pcm))
    assert not spoken[len(pcm) :].any()
    assert world.all(ClipStarted) == [ClipStarted(began, "call", 7)]
    (finished,) = world.all(ClipFinished)
    assert (finished.clip, finished.played_s, finished.complete) == (7, 1930 / 8000, True)
    assert finished.at == pytest.approx(began + 1930 / 8000)


def test_clips_follow_each_other_without_a_gap() -> None:
    """Several queued utterances play in order, the next from the sample after the last one's end."""
    one, two, three = sine(300, 0.1)[:777], sine(500, 0.1), sine(700, 0.05)
    world = World().open().connect()
    world.do(clip(1, one[:500], last=False)).do(clip(1, one[500:])).do(clip(2, two)).do(clip(3, three))
    world.ticks(20)
    whole = through_code(np.concatenate([one, two, three]))
    assert np.array_equal(world.spoken()[: len(whole)], whole)
    assert [f.clip for f in world.all(ClipFinished)] == [1, 2, 3]
    assert [s.clip for s in world.all(ClipStarted)] == [1, 2, 3]
    assert world.all(ClipStarted)[1].at == pytest.approx(world.start + 777 / 8000)


def test_a_voice_slower_than_speech_leaves_gaps_and_loses_nothing() -> None:
    """Audio that comes late is played when it comes; the clip ends with the piece marked last."""
    world = World().open().connect()
    world.do(clip(1, ramp(320), last=False)).ticks(5)
    assert world.all(ClipFinished) == []
    world.do(clip(1, ramp(320, 321), last=False)).ticks(5)
    world.do(QueueAudio("call", 1, b"", last=True)).ticks(1)
    (finished,) = world.all(ClipFinished)
    assert (finished.played_s, finished.complete) == (0.08, True)
    assert np.array_equal(world.spoken()[5 * FRAME : 7 * FRAME], through_code(ramp(320, 321)))


def test_a_long_clip_waits_outside_the_ring() -> None:
    """A minute of speech queued at once comes out as it went in."""
    pcm = np.random.default_rng(5).integers(-8000, 8000, 60 * 8000).astype(np.int16)
    world = World().open().connect().do(clip(1, pcm)).ticks(3002)
    assert np.array_equal(world.spoken()[: len(pcm)], through_code(pcm))
    assert world.all(ClipFinished)[0].played_s == 60.0


def test_pause_is_heard_in_the_very_next_packet_and_resume_goes_on_at_the_same_sample() -> None:
    """A suspected barge-in silences the bot at once; a false alarm costs no word."""
    pcm = np.full(8000, 8000, np.int16)
    pcm[1600:] = ramp(6400)
    world = World().open().connect().do(clip(1, pcm)).ticks(10)
    world.do(PausePlayout("call")).ticks(4)
    paused = world.spoken()[10 * FRAME :]
    assert np.abs(paused[:FADE]).max() <= 40  # what came next was quiet; it fades all the same
    assert not paused[FADE:].any()
    world.do(ResumePlayout("call")).ticks(40)
    resumed = world.spoken()[14 * FRAME :]
    assert np.array_equal(resumed[FADE : 6400 - FADE], through_code(ramp(6400))[FADE : 6400 - FADE])
    assert world.all(ClipFinished)[0].played_s == 1.0


@pytest.mark.parametrize("command", [PausePlayout("call"), FlushPlayout("call")])
def test_nothing_of_the_bot_is_audible_20_ms_after_a_barge_in(command: object) -> None:
    """Decided right after a packet or right before the next one, that next one is the last, and only its first 5 ms."""
    world = World().open().connect().do(clip(1, np.full(8000, 8000, np.int16))).ticks(10)
    decided = len(world.packets())
    world.do(command).ticks(5)
    audible = [np.abs(g711.decode(np.frombuffer(one.payload, np.uint8))) > 8 for one in world.packets()[decided:]]
    assert len(audible) == 5
    assert not audible[0][FADE:].any()
    assert not np.concatenate(audible[1:]).any()


def test_the_fade_is_a_fade() -> None:
    """Playout does not stop on a cliff: the held sample's neighbours go down to nothing in 5 ms, and come up again."""
    world = World().open().connect().do(clip(1, np.full(8000, 8000, np.int16))).ticks(2)
    world.do(PausePlayout("call")).ticks(1)
    world.do(ResumePlayout("call")).ticks(1)
    fade = world.spoken()[2 * FRAME : 2 * FRAME + FADE].astype(int)
    assert fade[0] > 7000
    assert fade[-1] == 0
    assert (np.diff(fade) <= 0).all()
    rise = world.spoken()[3 * FRAME :].astype(int)
    assert rise[0] == 0
    assert rise[FADE + 1] > 7000


def test_a_pause_taken_back_before_the_next_packet_changes_nothing() -> None:
    """Pause and resume between two ticks leave no trace in the audio."""
    pcm = sine(440, 0.5)
    world = World().open().connect().do(clip(1, pcm)).ticks(5)
    world.do(PausePlayout("call")).do(ResumePlayout("call")).ticks(20)
    assert np.array_equal(world.spoken()[: 20 * FRAME], through_code(pcm)[: 20 * FRAME])


def test_flush_tells_of_every_clip_what_was_really_sent() -> None:
    """After a barge-in the history can be cut to the sample: the clip begun, and those that never began."""
    world = World().open().connect()
    world.do(clip(1, ramp(800))).do(clip(2, ramp(8000))).do(clip(3, ramp(800)))
    world.ticks(10)
    world.do(FlushPlayout("call"))
    before = world.now
    world.ticks(3)
    finished = world.all(ClipFinished)
    assert [(f.clip, f.played_s, f.complete) for f in finished] == [(1, 0.1, True), (2, 0.1, False), (3, 0.0, False)]
    assert finished[1].at == before
    assert not world.spoken()[10 * FRAME + FADE :].any()


def test_flush_ends_a_pause() -> None:
    """The barge-in was real: what is queued next plays at once."""
    world = World().open().connect().do(clip(1, ramp(8000))).ticks(2)
    world.do(PausePlayout("call")).ticks(2)
    world.do(FlushPlayout("call")).do(clip(2, ramp(160))).ticks(2)
    assert [f.clip for f in world.all(ClipFinished)] == [1, 2]
    assert world.all(ClipFinished)[0].played_s == 0.04


def test_nothing_plays_into_a_hold() -> None:
    """While we may not send, clips wait: what nobody could hear does not count as played."""
    world = World().open().connect().do(clip(1, ramp(1600))).ticks(2)
    sent = len(world.packets())
    world.connect(direction="recvonly").ticks(10)
    assert len(world.packets()) == sent
    assert world.all(ClipFinished) == []
    world.connect().ticks(10)
    assert world.all(ClipFinished)[0].played_s == 0.2
    resumed = world.packets()[sent:]
    assert resumed[0].marker
    assert (resumed[0].timestamp - world.packets()[sent - 1].timestamp) % 2**32 == 11 * FRAME


def test_closing_tells_of_clips_that_were_cut_off() -> None:
    """A hangup in mid-sentence leaves an exact account."""
    world = World().open().connect().do(clip(4, ramp(8000))).ticks(5).do(CloseLeg("call")).ticks(1)
    assert [(f.clip, f.played_s) for f in world.all(ClipFinished)] == [(4, 0.1)]


def test_milliwatt_is_exact() -> None:
    """1004 Hz at 0 dBm0 in both laws: the level G.711 defines, sample by sample the best code for the sine."""
    for codec, law, peak in (("PCMU", 0, 32636 / 10 ** (3.17 / 20)), ("PCMA", 1, 32768 / 10 ** (3.14 / 20))):
        world = World().open().connect(codec=codec).do(SetTone("call", 1004.0)).ticks(200)
        n = np.arange(200 * FRAME)
        wanted = np.rint(peak * np.sin(2 * np.pi * (1004 * n % 8000) / 8000)).astype(np.int16)
        assert np.array_equal(world.spoken(law=law), through_code(wanted, law))


def test_a_tone_ends_and_the_clip_goes_on() -> None:
    """A tone holds what is queued; without it, playout starts."""
    world = World().open().connect().do(SetTone("call", 500.0, -10.0)).do(clip(1, ramp(160))).ticks(5)
    assert world.all(ClipStarted) == []
    world.do(SetTone("call", None)).ticks(2)
    assert np.array_equal(world.spoken()[5 * FRAME : 6 * FRAME], through_code(ramp(160)))


@pytest.mark.parametrize("ptime_ms", [10, 30, 40, 60])
def test_packets_of_other_lengths_carry_the_same_audio(ptime_ms: int) -> None:
    """The peer's ptime is honoured: same samples, sequence by one, timestamps by the packet's length."""
    pcm = sine(440, 1.2)
    world = World().open()
    world.do(ConnectLeg("call", "198.51.100.7", 4000, "PCMU", 0, ptime_ms=ptime_ms)).do(clip(1, pcm)).ticks(60)
    packets = world.packets()
    assert {len(p.payload) for p in packets} == {8 * ptime_ms}
    assert np.array_equal(world.spoken(), through_code(pcm)[: len(world.spoken())])
    steps = {((b.sequence - a.sequence) % 2**16, (b.timestamp - a.timestamp) % 2**32) for a, b in pairwise(packets)}
    assert steps == {(1, 8 * ptime_ms)}


Step = st.one_of(
    st.tuples(st.just("queue"), st.integers(1, 900), st.booleans()),
    st.tuples(st.sampled_from(["pause", "resume", "flush"]), st.just(0), st.just(False)),
    st.tuples(st.just("tick"), st.integers(1, 6), st.just(False)),
)


@settings(deadline=None)
@given(st.lists(Step, max_size=60))
def test_no_sample_is_played_twice_or_out_of_order_whatever_is_asked(steps: list[tuple[str, int, bool]]) -> None:
    """Against a plain queue as the model: what is taken is what was queued, and every clip ends exactly once."""
    playouts, rows = Playouts(2), np.array([1])
    queued, taken, number, value = [], [], 1, 1
    ended: list[Passed] = []
    open_clips: set[int] = set()
    held = False
    for what, amount, last in steps:
        if what == "queue":
            playouts.queue(1, number, np.full(amount, value, np.int16), last)
            queued += [value] * amount
            open_clips.add(number)
            value, number = value + 1, number + last
        elif what == "flush":
            ended += playouts.flush(1)
            queued.clear()
            held = False
            number += 1
        elif what in ("pause", "resume"):
            getattr(playouts, what)(1)
            held = what == "pause"
        else:
            for _ in range(amount):
                frame = np.zeros((1, FRAME), np.int16)
                ended += [p for p in playouts.take(rows, frame) if p.played is not None]
                expected, queued = ([], queued) if held else (queued[:FRAME], queued[FRAME:])
                body = frame[0, FADE : max(len(expected), FADE)]
                assert body.tolist() == expected[FADE:]
                taken += expected
    ended += playouts.flush(1)
    assert sorted(p.clip for p in ended) == sorted(open_clips)
    assert sum(p.played or 0 for p in ended) == len(taken)
