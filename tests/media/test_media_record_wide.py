"""Recordings of wideband legs: 16 kHz, by the same clock as all others, and whole whatever the codecs do."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from media_world import FRAME, PHONE, Phone, World, frames, sine
from wide_world import CLOCK, CODECS, NUMBER, WIDE_FRAME, Talkative, WidePhone, level_at, tone_at_16_khz, voice

from gateway.core.errors import PeerError
from gateway.core.events import RecordingFailed, RecordingStarted, SpeechBegan
from gateway.media import commands as c
from gateway.media.plane import MediaPlane
from gateway.media.ports import Float32s, Int64s
from gateway.media.roll import Roll
from gateway.media.vad import SileroVad


def called(path: Path, codec: str, **options: object) -> World:
    world = World(vad=Talkative()).open(record=str(path))
    return world.connect(codec=codec, payload_type=NUMBER[codec], dtmf_clock_hz=8000 * CLOCK[codec], **options)


def stereo(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The caller's and the bot's channel of a 16 kHz recording."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 16000)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert path.stat().st_size == 44 + both.nbytes
    return both[:, 0], both[:, 1]


def middle(pcm: np.ndarray, second: float = 0.5) -> np.ndarray:
    return pcm[int(16000 * second) : int(16000 * second) + 8000]


@CODECS
def test_both_sides_are_recorded_as_wide_as_they_are(codec: str, tmp_path: Path) -> None:
    """5.5 kHz of the caller left, 6 kHz of the bot right, the bot's to the sample; and the log says so."""
    world, phone = called(tmp_path / "call.wav", codec), WidePhone(codec)
    bot = voice(2.0)
    world.do(bot)
    for piece in frames(tone_at_16_khz(700, 2.0) + tone_at_16_khz(5500, 2.0, 3000), WIDE_FRAME):
        world.tick(phone.packet(piece))
    world.do(c.CloseLeg("call")).ticks(1)
    left, right = stereo(tmp_path / "call.wav")
    assert len(left) == 32000
    assert level_at(middle(left), 700, 16000) == pytest.approx(6000, rel=0.15)
    assert level_at(middle(left), 5500, 16000) == pytest.approx(3000, rel=0.2)
    assert np.array_equal(right, np.frombuffer(bot.wide, "<i2"))
    assert [one.wideband for one in world.all(RecordingStarted)] == [True]


def test_events_lie_in_a_wideband_recording_where_their_times_say(tmp_path: Path) -> None:
    """Sample = (time - start of the recording) x 16000, after half a second without ticks as well."""
    path = tmp_path / "call.wav"
    world = World(vad=SileroVad(8)).open(record=str(path)).connect(codec="G722", payload_type=9).ticks(20)
    world.now += 0.5
    world.ticks(20).do(voice(0.2)).ticks(30)
    phone, quiet = WidePhone("G722"), np.zeros(8000, np.int16)
    with np.load(Path(__file__).parent / "silero_expected.npz") as fixture:
        spoken = np.repeat(fixture["pcm"][: 8000 * 2], 2)
    for piece in frames(np.concatenate([quiet, spoken]), WIDE_FRAME):
        world.tick(phone.packet(piece))
    world.do(c.CloseLeg("call")).ticks(1)
    left, right = stereo(path)
    started, began = (
        round(16000 * (at - world.start)) for at in (world.all(c.ClipStarted)[0].at, world.all(SpeechBegan)[0].began_at)
    )
    assert not right[:started].any()
    assert np.array_equal(right[started : started + 3200], np.frombuffer(voice(0.2).wide, "<i2"))
    assert np.abs(left[: began - 1600]).max() < 200 < np.abs(left[began : began + 1600]).max()
    assert len(left) == pytest.approx(16000 * (world.now - world.start), abs=2 * WIDE_FRAME)


@CODECS
def test_what_is_lost_is_concealed_in_the_recording_too(codec: str, tmp_path: Path) -> None:
    """One packet in ten, and none of the last half second: no hole where it was concealed, no sample too few."""
    world, phone = called(tmp_path / "call.wav", codec), WidePhone(codec)
    for k, piece in enumerate(frames(tone_at_16_khz(400, 2.0), WIDE_FRAME)):
        packet = phone.packet(piece)
        world.tick(*([packet] if k % 10 != 7 and k < 75 else []))
    world.do(c.CloseLeg("call")).ticks(1)
    left, _ = stereo(tmp_path / "call.wav")
    assert len(left) == 32000
    levels = [level_at(piece, 400, 16000) for piece in frames(left[3200:22400], 640)]
    assert min(levels) > 3000
    assert not left[-3200:].any()


@pytest.mark.parametrize("direction", ["recvonly", "inactive"])
def test_a_call_that_is_held_says_nothing_in_its_recording(direction: str, tmp_path: Path) -> None:
    """What was said last is not said again and again, at either rate."""
    for codec, rate in (("PCMU", 8000), ("G722", 16000)):
        path, number = tmp_path / f"{codec}.wav", {"PCMU": 0, "G722": 9}[codec]
        world = World().open(record=str(path)).connect(codec=codec, payload_type=number)
        world.do(voice(3.0)).ticks(25).connect(codec=codec, payload_type=number, direction=direction).ticks(50)
        world.connect(codec=codec, payload_type=number).ticks(25).do(c.CloseLeg("call")).ticks(1)
        right = np.frombuffer(path.read_bytes()[44:], "<i2")[1::2]
        held = slice(rate // 2 + rate // 100, 3 * rate // 2)  # a filter rings for 5 ms
        assert not right[held].any()
        assert level_at(right[: rate // 2], 1000, rate) == pytest.approx(6000, rel=0.02)
        assert level_at(right[3 * rate // 2 :], 1000, rate) == pytest.approx(6000, rel=0.05)


def test_another_codec_in_mid_call_changes_nothing_in_the_file(tmp_path: Path) -> None:
    """G.722 to G.711 and back: one file of one rate, each second as wide as it was, no image of what is narrowband."""
    world, wide = called(tmp_path / "call.wav", "G722"), WidePhone("G722")
    world.do(voice(1.0, low=3000))
    for piece in frames(tone_at_16_khz(3000, 1.0), WIDE_FRAME):
        world.tick(wide.packet(piece))
    world.do(voice(1.0, low=3000))
    narrow = Phone(sequence=wide.sequence, timestamp=wide.timestamp, ssrc=wide.ssrc)
    world.connect().talk(narrow, sine(3000, 1.0, 6000))
    wide.sequence, wide.timestamp = narrow.sequence, narrow.timestamp
    world.connect(codec="G722", payload_type=9).do(voice(1.0, low=3000))
    for piece in frames(tone_at_16_khz(3000, 1.0), WIDE_FRAME):
        world.tick(wide.packet(piece))
    world.do(c.CloseLeg("call")).ticks(1)
    left, right = stereo(tmp_path / "call.wav")
    assert len(left) == 48000
    for second, upper in ((0.25, 3000), (1.25, 0), (2.25, 3000)):
        for side in (left, right):
            assert level_at(middle(side, second), 3000, 16000) == pytest.approx(6000, rel=0.15)
            assert level_at(middle(side, second), 5000, 16000) < 40
        assert level_at(middle(right, second), 6000, 16000) == pytest.approx(upper, abs=100)


class Hush:
    """A suppressor that leaves nothing."""

    def clean(self, rows: Int64s, audio: Float32s) -> Float32s:
        return np.zeros_like(audio)

    def reset(self, rows: Int64s) -> None:
        pass


def test_what_is_cleaned_for_recognisers_is_recorded_as_it_came(tmp_path: Path) -> None:
    """Of a wideband call as of any other."""
    world, phone = World(), WidePhone("G722")
    world.plane = MediaPlane(world.options, world.plane.table._ids, None, suppressor=Hush())
    world.open(record=str(tmp_path / "call.wav")).connect(codec="G722", payload_type=9)
    for k, piece in enumerate(frames(tone_at_16_khz(700, 2.0) + tone_at_16_khz(5500, 2.0, 3000), WIDE_FRAME)):
        packet = phone.packet(piece)
        world.tick(*([packet] if k % 20 else []))
    world.do(c.CloseLeg("call")).ticks(1)
    left, _ = stereo(tmp_path / "call.wav")
    assert level_at(middle(left), 5500, 16000) == pytest.approx(3000, rel=0.2)
    assert min(level_at(piece, 700, 16000) for piece in frames(left[3200:], 1600)) > 3000


def test_a_recording_that_is_gone_on_with_keeps_its_rate(tmp_path: Path) -> None:
    """The process that carried a G.722 call dies when it has become one of G.711: the file goes on at 16 kHz, by the
    clock."""
    path, roll, world = tmp_path / "call.wav", Roll(), World()
    opening = c.OpenLeg("call", record=str(path))
    connect = c.ConnectLeg("call", *PHONE, "G722", 9)
    for command in (opening, connect, c.ConnectLeg("call", *PHONE, "PCMU", 0)):
        roll.told(command, world.now)
        world.do(command)
        for said in world.ticks(1 if command is opening else 50).said:
            roll.heard("call", said)
        world.said.clear()
    roll.lose(["call"], world.now, world.now)
    again = World(start=world.now + 0.5)
    for command in roll.again(["call"]):
        again.do(command)
    again.do(voice(1.0)).ticks(50).do(c.CloseLeg("call")).ticks(1)
    _, right = stereo(path)
    assert len(right) == pytest.approx(16000 * 3.5, abs=WIDE_FRAME)
    assert not right[: 2 * 16000 + 8000 - WIDE_FRAME].any()
    assert level_at(right[-8000:], 1000, 16000) == pytest.approx(6000, rel=0.1)


def test_calls_of_both_rates_record_side_by_side(tmp_path: Path) -> None:
    """Rows change hands between them; each file is its own."""
    world = World()
    for turn in range(3):
        for k in range(8):
            wide = (k + turn) % 2 == 0
            codec = {"codec": "G722", "payload_type": 9} if wide else {}
            world.open(f"c{turn}{k}", record=str(tmp_path / f"{turn}{k}.wav")).connect(f"c{turn}{k}", **codec)
            tone = tone_at_16_khz(300 + 100 * k, 1.0)
            world.do(c.QueueAudio(f"c{turn}{k}", 1, tone[::2].tobytes(), True, tone.tobytes()))
        world.ticks(30)
        for k in range(8):
            world.do(c.CloseLeg(f"c{turn}{k}"))
        world.ticks(1)
    for turn in range(3):
        for k in range(8):
            with wave.open(str(tmp_path / f"{turn}{k}.wav")) as file:
                rate = file.getframerate()
                right = np.frombuffer(file.readframes(1 << 20), "<i2")[1::2]
            assert rate == (16000 if (k + turn) % 2 == 0 else 8000)
            assert len(right) == 30 * FRAME * rate // 8000
            assert np.array_equal(right, tone_at_16_khz(300 + 100 * k, 1.0)[:: 16000 // rate][: len(right)])


def test_a_full_disk_costs_a_wideband_recording_only() -> None:
    """As any other: told once, and the call goes on."""
    world = World().open(record="/dev/full").connect(codec="G722", payload_type=9).do(voice(3.0)).ticks(150)
    world.do(c.CloseLeg("call")).ticks(1)
    assert len(world.all(RecordingFailed)) == len(world.all(c.LegClosed)) == 1
    assert len(world.packets()) == 150


def test_no_datagram_is_taken_for_what_only_we_push() -> None:
    """L16 is of legs without a socket: no payload type leads there, and a wrong length is refused by name."""
    from gateway.media import codecs

    assert codecs.duration_ms("L16", bytes(640)) == 20
    with pytest.raises(PeerError):
        codecs.duration_ms("L16", bytes(639))
