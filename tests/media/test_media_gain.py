"""Quiet callers are raised for recognisers, slowly, and nowhere else."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from media_world import Phone, World, speech

from gateway.core.events import SpeechBegan, SpeechEnded
from gateway.media.commands import CloseLeg, HeardAudio, Listen
from gateway.media.gain import GainControl, _loudest
from gateway.media.options import PlaneOptions
from gateway.media.vad import SileroVad

PIECE = 800
ROW = np.array([0])


def tone(rms: float, pieces: int) -> list[np.ndarray]:
    return [np.full((1, PIECE), rms, np.int16) for _ in range(pieces)]


def level_db(pcm: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.square(pcm.astype(float)).mean()) / 32768 + 1e-9))


def raised(gain: GainControl, pieces: list[np.ndarray], speech: bool = True) -> list[float]:
    """A stretch, and its levels piece by piece."""
    gain.begin(0, pieces[0][0])
    return [level_db(gain.apply(ROW, piece, np.array([speech]))) for piece in pieces]


FAINT = 32768 * 10 ** (-44 / 20)


def test_a_faint_caller_is_raised_from_the_first_sound_on_and_evenly() -> None:
    """One gain for the whole of what they say: 6 dB of doubt about how loud it gets, then the usual level."""
    gain = GainControl(1)
    first = raised(gain, tone(FAINT, 25))
    assert first == pytest.approx([-20] * 25, abs=0.2)
    assert raised(gain, tone(FAINT, 4)) == pytest.approx([-14] * 4, abs=0.2)


def test_the_gain_is_limited_and_never_lowers() -> None:
    """30 dB for the faintest; a loud caller is left as they are."""
    assert raised(GainControl(1), tone(32, 10))[-1] == pytest.approx(-60.2 + 30, abs=0.2)
    loud, gain = tone(20000, 3), GainControl(1)
    gain.begin(0, loud[0][0])
    assert all(np.array_equal(gain.apply(ROW, piece, np.array([True])), piece) for piece in loud)


def test_every_machine_hears_a_caller_as_loud() -> None:
    """In whole numbers: the last digit of a gain is one unit of some samples, and replays are compared to the byte."""
    pcm = np.random.default_rng(4).integers(-32768, 32768, (200, PIECE)).astype(np.int16)
    whole = [
        max(sum(sample**2 for sample in row[k : k + 160]) / 160 for k in range(0, 800, 160)) for row in pcm.tolist()
    ]
    assert _loudest(pcm).tolist() == whole


def test_noise_between_words_does_not_raise_the_gain() -> None:
    """A second's pause within a stretch changes nothing in it, and 3 dB in the next one."""
    gain = GainControl(1)
    raised(gain, tone(2000, 25))
    levels = raised(gain, [*tone(2000, 5), *tone(40, 10)])
    assert levels[-1] - level_db(tone(40, 1)[0]) == pytest.approx(levels[0] - level_db(tone(2000, 1)[0]), abs=0.2)
    assert raised(gain, tone(2000, 1))[0] - levels[0] == pytest.approx(3, abs=0.2)


def test_from_one_stretch_to_the_next_it_grows_slowly() -> None:
    """The caller puts the phone down on the table: 6 dB a sentence, however faint it has become."""
    gain = GainControl(1)
    raised(gain, tone(6000, 2))
    levels = [raised(gain, tone(100, 100))[-1] for _ in range(4)]
    assert np.diff(levels) == pytest.approx([6, 6, 6], abs=0.3)


def test_a_sudden_shout_is_not_clipped() -> None:
    """What was given is taken back before it hurts."""
    gain = GainControl(1)
    raised(gain, tone(300, 10))
    assert np.abs(gain.apply(ROW, tone(20000, 1)[0], np.array([True]))).max() <= 30000


def test_only_the_recogniser_hears_it(tmp_path: Path) -> None:
    """30 dB fainter speech: recording, detection and echo test are the same with and without it."""
    faint = np.rint(speech() * 10 ** (-30 / 20)).astype(np.int16)
    heard, others, recordings = {}, {}, {}
    for on in (False, True):
        options = PlaneOptions(slots=2, gain_control=on)
        world = World(vad=SileroVad(2), options=options).open(record=str(tmp_path / f"{on}.wav")).connect()
        world.do(Listen("call", "pcm_8k")).talk(Phone(), faint).ticks(30).do(CloseLeg("call")).ticks(2)
        pieces = [np.frombuffer(one.audio, "<i2") for one in world.all(HeardAudio)]
        heard[on] = np.concatenate(pieces)
        others[on] = [*world.all(SpeechBegan), *world.all(SpeechEnded)]
        with wave.open(str(tmp_path / f"{on}.wav")) as file:
            recordings[on] = file.readframes(file.getnframes())
    assert others[True] == others[False] != []
    assert recordings[True] == recordings[False]
    assert len(heard[True]) == len(heard[False])
    assert level_db(heard[True]) - level_db(heard[False]) > 15
