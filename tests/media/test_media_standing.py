"""Legs whose plane dies: what is told of them, and what they are told again, on a clock moved by hand."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, PHONE, Phone, World, frames, sine, speech

from gateway.core.events import (
    LineFellSilent,
    LineRecovered,
    RecordingFailed,
    RecordingStarted,
    SpeechBegan,
    SpeechEnded,
)
from gateway.core.ids import SeededIds
from gateway.media import commands as c
from gateway.media import g711, relapses
from gateway.media.plane import TICK_S, MediaPlane
from gateway.media.portrange import PortRange
from gateway.media.ports import Said
from gateway.media.relapses import Relapses
from gateway.media.roll import Roll, leg_of
from gateway.media.standing import _TOLD
from gateway.media.totals import together
from gateway.media.vad import SileroVad


class Pool:
    """Planes one after the other, and the roll that carries their legs on."""

    def __init__(self, *legs: str, **options: object) -> None:
        self.roll, self.world, self.lives = Roll(), World(vad=SileroVad(8)), 1
        self.said: list[Said] = []
        for leg in legs or ("call",):
            self.do(c.OpenLeg(leg, **options))  # type: ignore[arg-type]
            self.do(c.ConnectLeg(leg, *PHONE, "PCMU", 0, 101))

    @property
    def now(self) -> float:
        return self.world.now

    def do(self, *commands: c.AnyCommand) -> Pool:
        for command in commands:
            answers = self.roll.told(command, self.now)
            if answers is None:
                self.world.plane.command(command, self.now, port=20000)
            else:
                self.said += answers
        return self

    def tick(self, *datagrams: bytes) -> Pool:
        self.world.said.clear()
        self.world.tick(*datagrams)
        self.said += [news for said in self.world.said for news in self.roll.heard(leg_of(said), said)]
        return self

    def ticks(self, count: int) -> Pool:
        for _ in range(count):
            self.tick()
        return self

    def talk(self, phone: Phone, pcm: np.ndarray) -> Pool:
        for frame in frames(pcm):
            self.tick(phone.packet(frame))
        return self

    def ask(self) -> c.LegStats:
        """How the leg is doing, at once."""
        self.do(c.TellStats("call"))
        self.said += [news for said in self.world.plane.take_said() for news in self.roll.heard("call", said)]
        (*_, doing) = self.all(c.LegDoing)
        assert isinstance(doing, c.LegDoing)
        return doing.stats

    def lose(self, at: float | None = None) -> Pool:
        self.said += self.roll.lose(["call", "call.2"], self.now if at is None else at, self.now)
        return self

    def restore(self, after_s: float = 0.3) -> Pool:
        world, self.world = self.world, World(vad=SileroVad(8), start=self.now + after_s)
        self.lives += 1
        self.world.plane = MediaPlane(world.options, SeededIds(self.lives), SileroVad(8))
        self.world.sent = world.sent
        for command in self.roll.again(["call", "call.2"]):
            self.world.plane.command(command, self.now, port=20000)
        return self

    def all(self, kind: type) -> list[Said]:
        return [one for one in self.said if isinstance(one, kind)]

    def heard_codes(self) -> list[int]:
        """Of the 20 ms frames that left with anything in them, the value in their middle."""
        return [p.payload[80] for p in self.world.packets() if p.payload_type == 0 and p.payload[80] != 0xFF]


def numbered(first: int, count: int) -> bytes:
    """Frames that can be told apart: each of one code."""
    codes = np.repeat(np.arange(first, first + count), FRAME).astype(np.uint8)
    return g711.decode(codes).astype("<i2").tobytes()


queue = st.tuples(st.just("queue"), st.integers(1, 15), st.booleans())
wait = st.tuples(st.just("ticks"), st.integers(1, 20))
others = st.sampled_from([("pause",), ("resume",), ("flush",), ("lose",), ("restore",)])


@settings(deadline=None)
@given(st.lists(st.one_of(queue, wait, others), max_size=30))
def test_no_word_is_lost_however_often_the_plane_dies(deeds: list[tuple]) -> None:  # type: ignore[type-arg]
    """Every frame that was queued is heard, in order, some of them twice: at most 0.6 s go before each break again.
    Only a flush drops any. Each clip begins and ends once, and is said to be as long as it was."""
    pool, clip, coded, lost, lengths, flushed = Pool(), 1, 1, False, dict.fromkeys(range(1, 99), 0), False
    for deed in [*deeds, ("restore",), ("resume",), ("queue", 1, True), ("ticks", 250)]:
        match deed:
            case "queue", int(count), bool(last) if coded + count < 0x7E:
                pool.do(c.QueueAudio("call", clip, numbered(coded, count), last))
                coded += count
                lengths[clip] += count
                clip += last
            case "ticks", int(count):
                pool.ticks(count if not lost else 0)
            case ("pause",):
                pool.do(c.PausePlayout("call"))
            case ("resume",):
                pool.do(c.ResumePlayout("call"))
            case ("flush",):
                pool.do(c.FlushPlayout("call"))
                clip, flushed = clip + 1, True
            case ("lose",) if not lost:
                lost = True
                pool.lose()
            case ("restore",) if lost:
                lost = False
                pool.restore()
            case _:
                pass
    heard = pool.heard_codes()
    steps = np.diff(heard)
    assert len(steps[steps < 1]) <= len(pool.all(c.LegRestored))
    assert all(step >= -30 for step in steps if step < 1)
    started, finished = pool.all(c.ClipStarted), pool.all(c.ClipFinished)
    for reports in (started, finished):
        numbers = [one.clip for one in reports]  # type: ignore[union-attr]
        assert numbers == sorted(set(numbers))
    for one in finished:
        assert isinstance(one, c.ClipFinished)
        length = lengths[one.clip] * TICK_S
        assert one.played_s == pytest.approx(length) if one.complete else one.played_s <= length + 1e-9
    if not flushed:
        assert set(heard) == set(range(1, coded))
        assert {one.clip for one in finished if one.complete} == {n for n, length in lengths.items() if length}  # type: ignore[union-attr]


@settings(deadline=None)
@given(st.lists(st.one_of(wait, st.sampled_from([("ask",), ("lose",), ("restore",)])), max_size=20))
def test_what_a_plane_had_told_is_counted_for_ever(deeds: list[tuple]) -> None:  # type: ignore[type-arg]
    """However many planes a leg had, its packets are those of the present one, and of each before it those it was last
    asked for; asked between two planes, it answers at once."""
    pool, phone, told, asked, living, lost = Pool(), Phone(), 0, 0, 0, False
    for deed in [*deeds, ("restore",), ("ticks", 1), ("close",)]:
        match deed:
            case "ticks", int(count) if not lost:
                pool.talk(phone, np.zeros(count * FRAME, np.int16))
                living += count
            case ("ask",):
                asked = living
                assert pool.ask().packets_received == told + asked
            case ("lose",) if not lost:
                pool.lose()
                told, asked, living, lost = told + asked, 0, 0, True
            case ("restore",) if lost:
                pool.restore().tick()
                lost = False
            case ("close",):
                pool.do(c.CloseLeg("call")).tick()
            case _:
                pass
    (closed,) = pool.all(c.LegClosed)
    assert isinstance(closed, c.LegClosed)
    assert closed.stats.packets_received == told + living
    assert closed.stats.codec == "PCMU"


def test_the_statistics_of_two_planes_are_one_leg_s() -> None:
    """Packets are added up, also those the far side missed of each SSRC; the opinion of the sound is their mean; and
    what has only a present is the later one's, if it has heard anything."""
    before = c.LegStats("PCMU", 300, 310, 4, 3, 1, 2, 0, 0, 3.0, 20.0, 4.4, 5)
    after = c.LegStats("G722", 100, 90, 1, 1, 0, 0, 1, 1, 1.0, None, 3.6, None)
    assert together(before, after) == c.LegStats("G722", 400, 400, 5, 4, 1, 2, 1, 1, 1.0, 20.0, 4.2, 5)
    assert together(before, c.LegStats()) == before
    assert together(c.LegStats(), after) == after


def test_a_question_its_plane_never_answered_is_answered() -> None:
    """It died with the question; who asked waits for no worker. And nobody hears what was not asked for."""
    pool = Pool().ticks(10)
    pool.do(c.TellStats("call")).lose()
    assert [type(one) for one in pool.said[-1:]] == [c.LegDoing]
    pool.restore().ticks(5)
    pool.world.do(c.TellStats("call"))
    pool.tick()
    assert len(pool.all(c.LegDoing)) == 1


def test_the_bot_goes_on_in_its_latest_pause() -> None:
    """Not in the middle of a word: half a second before the break there was a pause, and the words after it are
    said again."""
    pool, word = Pool(), np.full(20 * FRAME, 8000, np.int16)
    said = np.concatenate([word, np.zeros(5 * FRAME, np.int16), word])
    pool.do(c.QueueAudio("call", 1, said.tobytes(), last=True)).ticks(40).lose().restore().ticks(60)
    assert len(pool.heard_codes()) == 20 + (40 - 25) + 20
    (finished,) = pool.all(c.ClipFinished)
    assert finished == c.ClipFinished(finished.at, "call", 1, len(said) / 8000, True)


@pytest.mark.parametrize("bare", [False, True])
def test_the_bot_goes_on_in_wideband(bare: bool) -> None:
    """The 16 kHz of what is left come along, from the same sample; of a clip a piece of which had none, none do."""
    pool, rng = Pool(), np.random.default_rng(1)
    pieces = [rng.integers(-9000, 9000, 20 * FRAME).astype(np.int16) for _ in range(2)]
    for k, piece in enumerate(pieces):
        wide = b"" if bare and k else np.repeat(piece, 2).tobytes()
        pool.do(c.QueueAudio("call", 1, piece.tobytes(), bool(k), wide))
    pool.ticks(15).lose()
    (again,) = (one for one in pool.roll.again(["call"]) if isinstance(one, c.QueueAudio))
    left = np.frombuffer(again.pcm, "<i2")
    assert 25 * FRAME <= len(left) < 40 * FRAME
    assert again.wide == (b"" if bare else np.repeat(left, 2).tobytes())


def test_what_was_dropped_is_not_said_again() -> None:
    """A flush whose answer died with the plane is answered all the same, with what had left by then."""
    pool = Pool().do(c.QueueAudio("call", 1, numbered(1, 50), last=True)).ticks(10)
    pool.do(c.FlushPlayout("call")).lose()
    assert pool.all(c.ClipFinished) == [c.ClipFinished(pool.now, "call", 1, pytest.approx(0.2), False)]
    assert len(pool.restore().ticks(20).heard_codes()) == 10


def test_a_leg_may_be_flushed_and_closed_between_two_planes() -> None:
    """Nobody is there to answer, and it is answered; keys that were to be sent are sent later."""
    pool = Pool().do(c.QueueAudio("call", 1, numbered(1, 50), last=True)).ticks(10).lose()
    pool.do(c.FlushPlayout("call"), c.SendDigits("call", "1"))
    assert [type(one) for one in pool.said[-1:]] == [c.ClipFinished]
    assert len(pool.restore().ticks(20).heard_codes()) == 10
    assert [p.payload[0] for p in pool.world.packets() if p.payload_type == 101][:1] == [1]
    pool.lose().do(c.CloseLeg("call"))
    assert [type(one) for one in pool.said[-1:]] == [c.LegClosed]
    assert pool.roll.again(["call"]) == []


def test_a_leg_that_was_closing_is_not_opened_again() -> None:
    """Its plane died before it could say that it is over; so it is, and with it whatever it was still saying."""
    pool = Pool("call", "call.2").do(c.QueueAudio("call", 1, numbered(1, 50), last=True)).ticks(10)
    pool.do(c.CloseLeg("call")).lose()
    assert [type(one) for one in pool.said[-2:]] == [c.ClipFinished, c.LegClosed]
    assert {command.leg for command in pool.roll.again(["call", "call.2"])} == {"call.2"}


def test_speech_that_was_going_on_has_ended() -> None:
    """So that no turn waits for the rest; going on, the caller begins again."""
    pool, phone, said = Pool().do(c.Listen("call", "pcm_8k")), Phone(), speech()
    pool.talk(phone, said[:12000]).lose()
    assert [type(one) for one in pool.said[-2:]] == [c.HeardAudio, SpeechEnded]
    piece = pool.said[-2]
    assert isinstance(piece, c.HeardAudio)
    assert (piece.last, piece.audio) == (True, b"")
    pool.restore().talk(phone, said[12000:])
    assert len(pool.all(SpeechBegan)) == len(pool.all(SpeechEnded)) >= 2
    assert [one for one in pool.all(c.HeardAudio) if one.began_at > pool.world.start]  # type: ignore[union-attr]


def test_a_hung_plane_had_played_nothing_since_its_last_word() -> None:
    """It is killed seconds later; what the caller had heard is reckoned to when it last lived."""
    pool = Pool().do(c.QueueAudio("call", 1, sine(440, 2.0).tobytes(), last=True)).ticks(50)
    stalled = pool.now
    pool.world.now += 10.0
    pool.lose(stalled).do(c.FlushPlayout("call"))
    (finished,) = pool.all(c.ClipFinished)
    assert isinstance(finished, c.ClipFinished)
    assert finished.played_s == pytest.approx(1.0)
    (restored,) = pool.restore().tick().all(c.LegRestored)
    assert isinstance(restored, c.LegRestored)
    assert restored.without_s == pytest.approx(10.3)


def test_a_silent_line_is_waited_for_anew() -> None:
    """Whoever was told that it is silent is told that it no longer is, and hears again if it stays so."""
    pool = Pool(silent_after_s=2.0).ticks(150).lose().restore().ticks(10)
    assert [type(one) for one in pool.said[-2:]] == [c.LegRestored, LineRecovered]
    assert isinstance(pool.ticks(150).said[-1], LineFellSilent)


def test_everything_that_holds_is_told_again() -> None:
    """The loopback of a leg; a bridge, once both of its legs are open; and one that was given up is not."""
    pool = Pool("call", "call.2").do(c.SetLoopback("call", True), c.SetGain("call", 3.0), c.PausePlayout("call"))
    pool.do(c.Bridge("call", "call.2"))
    commands = pool.lose().roll.again(["call", "call.2"])
    assert [command.leg for command in commands if isinstance(command, c.OpenLeg)] == ["call", "call.2"]
    assert commands[-1] == c.Bridge("call", "call.2")
    assert {type(command) for command in commands} >= {c.ConnectLeg, c.SetLoopback, c.SetGain, c.PausePlayout}
    pool.lose().do(c.CloseLeg("call.2"), c.ResumePlayout("call"))
    again = {type(command) for command in pool.roll.again(["call", "call.2"])}
    assert not again & {c.Bridge, c.PausePlayout}


def test_every_command_is_noted_or_of_the_moment() -> None:
    """A new one has to be thought of: does it still hold when the leg is opened again?"""
    of_the_moment = {c.OpenLeg, c.SendDigits, c.PushPcm, c.RelayPacket}
    assert set(_TOLD) | of_the_moment == set(get_args(c.AnyCommand))
    assert not set(_TOLD) & of_the_moment


def test_a_leg_that_cannot_be_opened_again_has_died() -> None:
    """Its port is somebody else's by now. A leg that never was open has failed, as ever."""
    roll = Roll()
    for leg in ("open", "opening"):
        roll.told(c.OpenLeg(leg), 1.0)
    roll.heard("open", c.LegOpened(1.0, "open", 20000, 7))
    roll.lose(["open", "opening"], 2.0, 2.0)
    died = [c.LegClosed(3.0, "open", c.LegStats()), c.MediaDied(3.0, "open")]
    openings = [command for command in roll.again(["open", "opening"]) if isinstance(command, c.OpenLeg)]
    assert [opening.again for opening in openings] == [c.Again(20000, 1.0, None, (7,)), None]
    assert list(roll.heard("open", c.LegFailed(3.0, "open", "no free RTP port"))) == died
    assert list(roll.heard("opening", failed := c.LegFailed(3.0, "opening", "no free RTP port"))) == [failed]
    assert "open" not in roll
    assert "opening" not in roll


def test_a_plane_that_was_given_up_is_not_heard() -> None:
    """Neither what it still says, nor the end of its legs."""
    pool = Pool().lose()
    closed = c.LegClosed(pool.now, "call", c.LegStats())
    assert list(pool.roll.heard("call", closed)) == []
    pool.roll.again(["call"])
    assert list(pool.roll.heard("call", closed)) == []
    assert "call" in pool.roll


def test_another_death_before_the_first_word_counts_from_the_first() -> None:
    """A worker that died while it started: the break is one, and the second reopening is as good as the first."""
    pool = Pool().do(c.QueueAudio("call", 1, numbered(1, 50), last=True)).ticks(10).lose().restore().lose().restore()
    (restored,) = pool.ticks(100).all(c.LegRestored)
    assert isinstance(restored, c.LegRestored)
    assert restored.without_s == pytest.approx(0.6)
    assert set(pool.heard_codes()) == set(range(1, 51))


def test_no_ssrc_comes_twice() -> None:
    """RFC 3711 9.1: under the same keys it would be the same key stream."""
    (first,) = World().open().ticks(1).all(c.LegOpened)
    (second,) = World().open(again=c.Again(20000, 900.0, ssrcs=(first.ssrc,))).ticks(1).all(c.LegOpened)
    assert second.ssrc != first.ssrc


def test_one_recording_is_told_of_once(tmp_path: Path) -> None:
    """It is one file, whoever writes it, and as long as the call was; also when the first of them never wrote any."""
    for name, remove in (("kept.wav", False), ("gone.wav", True)):
        path = tmp_path / name
        pool = Pool(record=str(path)).ticks(100).lose()
        if remove:
            path.unlink()
        pool.restore().ticks(100).do(c.CloseLeg("call")).tick()
        assert len(pool.all(RecordingStarted)) == 1
        assert not pool.all(RecordingFailed)
        with wave.open(str(path)) as file:
            assert file.getnframes() == (100 + 15 + 100) * FRAME


def test_three_deaths_in_a_minute_are_too_many() -> None:
    """Two may be bad luck; and what was long ago does not count."""
    deaths = Relapses()
    told = []
    for at in (0.0, 100.0, 159.0, 219.0, 230.0, 300.0):
        deaths.died(at)
        told.append((deaths.first, deaths.hopeless))
    assert told == [(True, False), (True, False), (False, False), (False, False), (False, False), (True, False)]
    for at in (301.0, 302.0):
        deaths.died(at)
    assert deaths.hopeless
    assert relapses.MOST == 3


def test_a_port_can_be_taken_back() -> None:
    """Whether it has rested or not; not one that is taken, or of another range."""
    ports = PortRange(20000, 20005)
    assert ports.take(0.0) == 20000
    ports.give_back(20000, 0.0)
    assert ports.take_back(20000)
    assert not ports.take_back(20000)
    assert not ports.take_back(30000)
    assert [ports.take(0.0) for _ in range(3)] == [20002, 20004, None]
