"""Speech found in real (synthetic) speech, and the audio cut for a recogniser."""

from __future__ import annotations

import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from media_world import FRAME, Phone, World, frames, sine, speech, through_code

from gateway.core.errors import ConfigError
from gateway.core.events import SpeechBegan, SpeechEnded
from gateway.core.ids import SeededIds
from gateway.media import g711
from gateway.media.commands import CloseLeg, HeardAudio, Listen, SetNoise
from gateway.media.plane import MediaPlane, PlaneOptions
from gateway.media.ports import Float32s, Int64s
from gateway.media.resample import TAPS, double_rate
from gateway.media.vad import SileroVad

DELAY = FRAME
"""Samples by which what is played lags behind what the phone sent, on a perfect network."""


class ScriptedVad:
    """A public fake: says of every window what its loudest sample says (0..1 of full scale)."""

    window = 256

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        return np.abs(audio).max(axis=1)

    def reset(self, rows: Int64s) -> None:
        pass


def level(probability: float, seconds: float) -> np.ndarray:
    """Audio of which ScriptedVad will say `probability`."""
    return np.where(np.arange(int(8000 * seconds)) % 2, 1, -1).astype(np.int16) * np.int16(32000 * probability)


def call(vad: object, audio_format: str | None = None) -> World:
    world = World(vad=vad).open().connect()  # type: ignore[arg-type]
    return world if audio_format is None else world.do(Listen("call", audio_format))  # type: ignore[arg-type]


def test_speech_is_found_where_it_is() -> None:
    """On a spoken sentence: it begins and ends within a tenth of a second of where a person would put it."""
    world = call(SileroVad(8)).talk(Phone(), speech()).ticks(20)
    began, ended = world.all(SpeechBegan)[0], world.all(SpeechEnded)[-1]
    # The audio stands out of the silence at 0.72 s and sinks into it at 4.57 s; it is heard 20 ms later.
    assert began.began_at - world.start == pytest.approx(0.74, abs=0.1)
    assert ended.ended_at - world.start == pytest.approx(4.59, abs=0.1)
    assert began.at - began.began_at <= 0.11
    assert 0.2 <= ended.at - ended.ended_at <= 0.26


def test_short_bursts_do_not_begin_speech_and_short_pauses_do_not_end_it() -> None:
    """0.5 for 64 ms begins, below 0.35 for 200 ms ends; between the two nothing changes."""
    world = call(ScriptedVad())
    phone = Phone()
    world.talk(phone, level(0.01, 0.3))
    world.talk(phone, level(0.9, 0.02)).talk(phone, level(0.01, 0.3))
    assert world.all(SpeechBegan) == []
    world.talk(phone, level(0.9, 0.2))
    assert len(world.all(SpeechBegan)) == 1
    for _ in range(3):
        world.talk(phone, level(0.01, 0.14)).talk(phone, level(0.4, 0.3))
    assert world.all(SpeechEnded) == []
    world.talk(phone, level(0.01, 0.4))
    assert len(world.all(SpeechEnded)) == 1


def test_steady_noise_shuts_the_gate_and_speech_above_it_opens_it() -> None:
    """Silence and constant noise cost no detection; what stands out of them does."""
    counting = CountingVad()
    world, phone, rng = call(counting), Phone(), np.random.default_rng(2)
    noise = (rng.standard_normal(8000 * 4) * 300).astype(np.int16)
    world.talk(phone, noise)
    counting.windows = 0
    world.talk(phone, noise[:8000])
    assert counting.windows <= 10
    world.talk(phone, noise[:1600] * 4)
    assert counting.windows >= 5


class CountingVad(ScriptedVad):
    def __init__(self) -> None:
        self.windows = 0

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        self.windows += len(rows)
        return np.zeros(len(rows), np.float32)


@pytest.mark.parametrize("audio_format", ["ulaw_8k", "pcm_8k", "pcm_16k"])
def test_a_stretch_reaches_the_recogniser_whole(audio_format: str) -> None:
    """Preroll of 300 ms, pieces of 100 ms, no sample twice or missing, the last one marked."""
    pcm = speech()
    world = call(SileroVad(8), audio_format).talk(Phone(), pcm).ticks(20)
    pieces, began = world.all(HeardAudio), world.all(SpeechBegan)[0]
    assert world.said.index(began) < world.said.index(pieces[0])
    assert pieces[0].began_at == pytest.approx(began.began_at - 0.3)
    size = {"ulaw_8k": 800, "pcm_8k": 1600, "pcm_16k": 3200}[audio_format]
    assert {len(p.audio) for p in pieces[:-1]} == {size}
    assert [p.last for p in pieces] == [False] * (len(pieces) - 1) + [True]
    for a, b in pairwise(pieces):
        assert b.began_at - a.began_at == pytest.approx(0.1)
    start = round(8000 * (pieces[0].began_at - world.start)) - DELAY
    heard = b"".join(p.audio for p in pieces)
    whole = through_code(pcm)
    length = len(heard) * 800 // size
    if audio_format == "ulaw_8k":
        assert heard == g711.encode(whole[start : start + length]).tobytes()
    elif audio_format == "pcm_8k":
        assert heard == whole[start : start + length].tobytes()
    else:
        assert heard == double_rate(whole[None, start - TAPS + 1 : start + length])[0].tobytes()


def test_preroll_is_not_speech_and_the_rest_is() -> None:
    """Consumers can tell padding from what the detector held to be speech."""
    world = call(ScriptedVad(), "pcm_8k")
    world.talk(phone := Phone(), level(0.01, 1.0)).talk(phone, level(0.9, 0.5)).talk(phone, level(0.01, 0.5))
    *marks, last = [p.speech for p in world.all(HeardAudio)]
    assert marks == sorted(marks)
    assert marks.count(False) == 3
    assert not last  # it holds nothing but the silence by which the end was known


def test_stretches_close_together_share_no_sample() -> None:
    """The second stretch's preroll begins where the first one's audio ended."""
    world, phone = call(ScriptedVad(), "pcm_8k"), Phone()
    world.talk(phone, level(0.01, 0.6))
    for _ in range(3):
        world.talk(phone, level(0.9, 0.3)).talk(phone, level(0.01, 0.3))
    spans = [(p.began_at, p.began_at + len(p.audio) / 16000) for p in world.all(HeardAudio)]
    assert all(b[0] >= a[1] - 1e-9 for a, b in pairwise(spans))
    assert sum(p.last for p in world.all(HeardAudio)) == len(world.all(SpeechEnded)) == 3


def test_who_listens_in_mid_speech_gets_the_speech_from_its_beginning() -> None:
    """A recogniser opened when `SpeechBegan` arrives misses nothing."""
    world, phone = call(ScriptedVad()), Phone()
    world.talk(phone, level(0.01, 0.6)).talk(phone, level(0.9, 0.4))
    assert world.all(HeardAudio) == []
    world.do(Listen("call", "pcm_8k")).talk(phone, level(0.9, 0.2))
    (began,) = world.all(SpeechBegan)
    assert world.all(HeardAudio)[0].began_at == pytest.approx(began.began_at - 0.3)
    world.do(Listen("call", None)).talk(phone, level(0.9, 0.2))
    count = len(world.all(HeardAudio))
    world.talk(phone, level(0.01, 0.4))
    assert len(world.all(HeardAudio)) == count


def test_event_times_are_places_in_the_audio() -> None:
    """A tone's first sample is where `began_at` says, to the detector's window: times come from sample positions."""
    world, phone = call(ScriptedVad()), Phone()
    world.talk(phone, np.zeros(8000, np.int16)).talk(phone, sine(400, 1.0, 20000)).talk(phone, np.zeros(8000, np.int16))
    world.ticks(5)
    began, ended = world.all(SpeechBegan)[0].began_at, world.all(SpeechEnded)[0].ended_at
    assert began - world.start == pytest.approx(1.0 + DELAY / 8000, abs=0.032)
    assert ended - world.start == pytest.approx(2.0 + DELAY / 8000, abs=0.032)


def test_a_slot_that_changes_hands_keeps_no_speech() -> None:
    """A call that ends in mid-word leaves nothing to the next one in its row."""
    world, phone = World(vad=ScriptedVad()).open().connect(), Phone()  # type: ignore[arg-type]
    for frame in frames(level(0.9, 0.5)):
        world.tick(phone.packet(frame))
    world.do(CloseLeg("call")).tick()
    world.open("next").connect("next").do(Listen("next", "pcm_8k"))
    world.ticks(30)
    assert [type(s).__name__ for s in world.said if "next" in (getattr(s, "leg", ""), getattr(s, "call", ""))] == [
        "LegOpened"
    ]


class Muffler:
    """A noise suppressor that lets nothing through."""

    def clean(self, rows: Int64s, audio: Float32s) -> Float32s:
        assert audio.shape == (len(rows), FRAME)
        assert np.abs(audio).max() <= 1.0
        return np.zeros_like(audio)

    def reset(self, rows: Int64s) -> None:
        pass


def test_a_leg_may_have_its_own_suppressor_or_none() -> None:
    """By command, from then on; one that is not to be had changes nothing; the next leg gets the configured one."""
    built: list[str] = []

    def build(kind: str) -> Muffler:
        if kind == "missing":
            raise ConfigError("no such kind")
        built.append(kind)
        return Muffler()

    def heard(world: World, leg: str) -> bool:
        before = len(world.all(SpeechBegan))
        world.talk(Phone(leg), level(0.9, 0.5)).talk(Phone(leg), level(0.0, 0.5))
        return len(world.all(SpeechBegan)) > before

    world = World()
    world.plane = MediaPlane(PlaneOptions(slots=2), SeededIds(1), ScriptedVad(), build_suppressor=build)
    world.open("a").connect("a").open("b").connect("b")
    world.do(SetNoise("a", "muffler")).do(SetNoise("b", "missing"))
    assert (heard(world, "a"), heard(world, "b")) == (False, True)
    world.do(SetNoise("b", "muffler")).do(SetNoise("a", "off"))
    assert (heard(world, "a"), heard(world, "b")) == (True, False)
    assert built == ["muffler"]
    world.do(CloseLeg("b")).ticks(1).open("c").connect("c")
    assert heard(world, "c")


def test_a_noise_suppressor_cleans_what_is_detected_but_not_what_is_recorded(tmp_path: Path) -> None:
    """Detection and recognition hear the cleaned audio, the recording is the evidence."""
    world = World()
    world.plane = MediaPlane(PlaneOptions(slots=2), SeededIds(1), ScriptedVad(), suppressor=Muffler())
    world.open(record=str(tmp_path / "call.wav")).connect().do(Listen("call", "pcm_8k"))
    world.talk(Phone(), level(0.9, 1.0)).do(CloseLeg("call")).ticks(1)
    assert world.all(SpeechBegan) == []
    assert world.all(HeardAudio) == []
    with wave.open(str(tmp_path / "call.wav")) as file:
        recorded = np.frombuffer(file.readframes(8000), "<i2")
    assert np.abs(recorded).max() > 20000
