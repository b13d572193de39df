"""Music on hold and behind the voice, and the voice's own level: no clicks, no losses, no other listeners."""

from __future__ import annotations

import numpy as np
import pytest
from media_world import FRAME, Phone, World, sine

from gateway.media.commands import (
    ClipFinished,
    ClipStarted,
    CloseLeg,
    FlushPlayout,
    PlayMusic,
    QueueAudio,
    SendDigits,
    SetGain,
)

VOICE_HZ, MUSIC_HZ = 1000, 400


def amplitude(pcm: np.ndarray, hz: float) -> float:
    turns = np.exp(-2j * np.pi * hz * np.arange(len(pcm)) / 8000)
    return float(2 * abs(np.mean(pcm * turns)))


def music(seconds: float = 0.5, level: float = 4000) -> bytes:
    """A whole number of waves: going round is seamless."""
    return sine(MUSIC_HZ, seconds, level).tobytes()


def voice(seconds: float) -> bytes:
    return sine(VOICE_HZ, seconds, 8000).tobytes()


def test_music_goes_round_until_it_is_told_to_end() -> None:
    """Longer than the file, without a seam, and then silence within a packet."""
    w = World().open().connect().do(PlayMusic("call", music())).ticks(150)
    heard = w.spoken()
    assert amplitude(heard[800:23200], MUSIC_HZ) == pytest.approx(4000, rel=0.03)
    assert np.abs(np.diff(heard.astype(int))).max() < 1.2 * 4000 * 2 * np.pi * MUSIC_HZ / 8000 + 140
    w.do(PlayMusic("call", None)).ticks(10)
    assert not w.spoken()[151 * FRAME :].any()
    assert np.abs(w.spoken()[151 * FRAME - 4 : 151 * FRAME]).max() < 300, "it fades"


@pytest.mark.parametrize(("under_db", "left"), [(-20.0, 400.0), (-96.0, 0.0)])
def test_the_voice_goes_before_the_music(under_db: float, left: float) -> None:
    """While something is said the music stands back, or is silent; a moment after, it is back. Marks are as ever."""
    w = World().open().connect().do(PlayMusic("call", music(), under_db=under_db)).ticks(50)
    w.do(QueueAudio("call", 7, voice(1.0), last=True)).ticks(100)
    heard = w.spoken()
    assert amplitude(heard[9600:15200], VOICE_HZ) == pytest.approx(8000, rel=0.03)
    assert amplitude(heard[9600:15200], MUSIC_HZ) == pytest.approx(left, abs=60)
    assert amplitude(heard[20000:23200], MUSIC_HZ) == pytest.approx(4000, rel=0.03)
    assert [one.clip for one in w.all(ClipStarted)] == [one.clip for one in w.all(ClipFinished)] == [7]
    assert w.all(ClipFinished)[0].played_s == 1.0


def test_silencing_the_voice_leaves_the_music() -> None:
    """A barge-in flushes what is said, not what plays behind it."""
    w = World().open().connect().do(PlayMusic("call", music())).do(QueueAudio("call", 1, voice(5.0))).ticks(50)
    w.do(FlushPlayout("call")).ticks(100)
    heard = w.spoken()[70 * FRAME :]
    assert amplitude(heard, VOICE_HZ) < 20
    assert amplitude(heard, MUSIC_HZ) == pytest.approx(4000, rel=0.03)


def test_loud_together_clips_and_does_not_wrap() -> None:
    """Two full-scale sounds are one full-scale sound."""
    loud = sine(MUSIC_HZ, 0.5, 30000).tobytes()
    w = World().open().connect().do(PlayMusic("call", loud, under_db=0.0)).do(QueueAudio("call", 1, loud)).ticks(20)
    heard = w.spoken()[800:3200].astype(int)
    assert heard.max() > 32000
    assert np.abs(np.diff(heard)).max() < 32000


@pytest.mark.parametrize("db", [-12.0, 6.0])
def test_the_voice_may_be_louder_or_softer(db: float) -> None:
    """To a tenth of a decibel, from the next packet on, faded over it; music has its own level."""
    w = World().open().connect().do(QueueAudio("call", 1, voice(2.0))).ticks(25).do(SetGain("call", db)).ticks(50)
    heard = w.spoken()
    assert 20 * np.log10(amplitude(heard[:4000], VOICE_HZ) / 8000) == pytest.approx(0, abs=0.1)
    assert 20 * np.log10(amplitude(heard[4800:12000], VOICE_HZ) / 8000) == pytest.approx(db, abs=0.1)


def test_keys_and_held_lines_have_no_music_in_them() -> None:
    """Telephone events go out alone; on hold nothing goes out, and the music goes on afterwards."""
    w = World().open().connect().do(PlayMusic("call", music())).do(SendDigits("call", "1", 100)).ticks(5)
    assert {p.payload_type for p in w.packets()} == {101}
    w.connect(direction="inactive").ticks(20)
    before = len(w.packets())
    w.connect().ticks(50)
    assert amplitude(w.spoken()[-4000:], MUSIC_HZ) == pytest.approx(4000, rel=0.03)
    assert len(w.packets()) == before + 50


def test_nobody_else_hears_it() -> None:
    """Not the call beside, and not the next one in the same slot."""
    w = World().open().connect().open("other", port=20002).connect("other").do(PlayMusic("call", music())).ticks(20)
    assert w.spoken("call").any()
    assert not w.spoken("other").any()
    w.do(CloseLeg("call")).ticks(2).open("next", port=20004).connect("next").talk(Phone("next"), sine(300, 0.5))
    assert not w.spoken("next").any()
