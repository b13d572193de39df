"""Recordings and traces: complete, aligned, and never at the cost of the call."""

from __future__ import annotations

import resource
import wave
from pathlib import Path

import numpy as np
import pytest
from media_world import FRAME, PHONE, Phone, World, frames, sine, speech, through_code

from gateway.core.events import RecordingFailed, RecordingStarted, SpeechBegan
from gateway.media import trace
from gateway.media.commands import ClipStarted, CloseLeg, LegClosed, QueueAudio, SetLoopback
from gateway.media.files import QueuedFiles
from gateway.media.plane import Received
from gateway.media.vad import SileroVad


def stereo(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The caller's and the bot's channel of an 8 kHz 16-bit recording."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0], both[:, 1]


def test_left_is_what_was_heard_and_right_what_was_sent(tmp_path: Path) -> None:
    """Both sides to the sample, from the connection on, in a directory made for them."""
    path = tmp_path / "calls" / "call.wav"
    world = World().open(record=str(path)).ticks(10).connect()
    world.do(QueueAudio("call", 1, sine(300, 0.6).tobytes(), last=True))
    world.talk(Phone(), sine(440, 1.0)).do(CloseLeg("call")).ticks(1)
    left, right = stereo(path)
    assert len(left) == 8000
    assert np.array_equal(left[FRAME:], through_code(sine(440, 1.0))[:-FRAME])
    assert np.array_equal(right[:4800], sine(300, 0.6))
    assert not right[4800:].any()
    assert [type(s) for s in world.said if isinstance(s, RecordingStarted | LegClosed)] == [RecordingStarted, LegClosed]


def test_events_lie_in_the_recording_where_their_times_say(tmp_path: Path) -> None:
    """Sample = (time - start of the recording) x 8000, for speech on the left and clips on the right."""
    path = tmp_path / "call.wav"
    world = World(vad=SileroVad(8)).open(record=str(path)).connect()
    world.talk(Phone(), speech()[: 8000 * 2])
    world.do(QueueAudio("call", 1, sine(300, 0.2).tobytes(), last=True)).ticks(30).do(CloseLeg("call")).ticks(1)
    left, right = stereo(path)
    began = round(8000 * (world.all(SpeechBegan)[0].began_at - world.start))
    assert np.abs(left[: began - 800]).max() < 200 < np.abs(left[began : began + 800]).max()
    started = round(8000 * (world.all(ClipStarted)[0].at - world.start))
    assert not right[:started].any()
    assert np.array_equal(right[started : started + 1600], sine(300, 0.2))


def test_a_gap_of_the_process_is_silence_in_the_recording(tmp_path: Path) -> None:
    """The recording's clock is the call's: half a second without ticks is half a second of silence."""
    path = tmp_path / "call.wav"
    world = World().open(record=str(path)).connect().ticks(50)
    world.now += 0.5
    world.ticks(50).do(CloseLeg("call")).ticks(1)
    assert len(stereo(path)[0]) == pytest.approx(2.5 * 8000, abs=FRAME)


def test_a_full_disk_costs_the_recording_and_says_so() -> None:
    """Every write fails as on a full disk: one event, and the call goes on to its end."""
    world = World().open(record="/dev/full").connect().do(SetLoopback("call", True))
    world.talk(Phone(), sine(440, 3.0)).do(CloseLeg("call")).ticks(1)
    (failed,) = world.all(RecordingFailed)
    assert failed.message == "No space left on device"
    assert len(world.packets()) == 150
    assert len(world.all(LegClosed)) == 1


def test_a_path_that_cannot_be_written_costs_the_recording_only(tmp_path: Path) -> None:
    """A recording directory that is a file: told at once, and nothing else happens."""
    (tmp_path / "blocked").write_text("")
    world = World().open(record=str(tmp_path / "blocked" / "call.wav")).connect().ticks(5)
    assert len(world.all(RecordingFailed)) == 1
    world.do(CloseLeg("call")).ticks(1)
    assert len(world.all(LegClosed)) == 1


def test_a_packet_trace_lost_to_a_full_disk_is_told_too() -> None:
    """Without it the call cannot be replayed: one event says so, the recording and the call go on."""
    world, phone = World().open(trace="/dev/full").connect().do(SetLoopback("call", True)), Phone()
    world.talk(phone, sine(440, 5.0))
    (failed,) = world.all(RecordingFailed)
    assert (failed.what, failed.message) == ("trace", "No space left on device")
    assert len(world.packets()) == 250
    world.do(CloseLeg("call")).ticks(1)
    assert len(world.all(RecordingFailed)) == len(world.all(LegClosed)) == 1


def test_a_trace_that_fails_with_its_last_octets_is_told_before_the_leg_has_ended() -> None:
    """A short call's packets are written when it closes."""
    world = World().open(trace="/dev/full").connect().talk(Phone(), sine(440, 0.2)).do(CloseLeg("call")).ticks(2)
    assert [type(one) for one in world.said][-2:] == [RecordingFailed, LegClosed]
    assert world.all(RecordingFailed)[0].what == "trace"


@pytest.mark.parametrize("wide", [False, True], ids=["8 kHz", "16 kHz"])
def test_a_recording_can_be_read_while_the_call_lives(wide: bool, tmp_path: Path) -> None:
    """By anybody's WAV reader, all but the latest second of it: so nothing more is lost where the gateway is killed."""
    path = tmp_path / "call.wav"
    codec = {"codec": "G722", "payload_type": 9} if wide else {"codec": "PCMU"}
    world = World().open(record=str(path)).connect(**codec).ticks(10)  # type: ignore[arg-type]
    for seconds in (1, 2, 3):
        world.ticks(50)
        with wave.open(str(path)) as file:
            assert file.getnframes() == seconds * file.getframerate() == seconds * (16000 if wide else 8000)
            assert len(file.readframes(file.getnframes())) == 4 * file.getnframes()


def test_what_was_recorded_before_the_disk_was_full_can_be_read(tmp_path: Path) -> None:
    """Two seconds fit; the third is lost with all that follows, and the call goes on."""
    path = tmp_path / "call.wav"
    world = World().open(record=str(path)).connect().do(SetLoopback("call", True))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, before[1]))
    try:
        world.talk(Phone(), sine(440, 5.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(world.all(RecordingFailed)) == 1
    assert len(world.packets()) == 250
    left, _ = stereo(path)
    assert len(left) == 2 * 8000
    assert np.array_equal(left[FRAME:], through_code(sine(440, 2.0))[:-FRAME])


def test_many_calls_record_without_mixing(tmp_path: Path) -> None:
    """Eight at once, joining and leaving at different times, each to its own file."""
    world = World()
    phones = [Phone(f"call{k}", ssrc=k) for k in range(8)]
    for k, phone in enumerate(phones):
        world.open(phone.leg, record=str(tmp_path / f"{k}.wav")).connect(phone.leg, host=f"198.51.100.{k}")
        phone.source = (f"198.51.100.{k}", 4000)
    for n in range(120):
        live = [(k, p) for k, p in enumerate(phones) if n < 60 + 5 * k]
        packets = [(p, p.packet(np.full(FRAME, 1000 * (k + 1), np.int16))) for k, p in live]
        world.take([Received(p.leg, data, p.source, world.now) for p, data in packets])
        for k, phone in enumerate(phones):
            if n == 60 + 5 * k:
                world.do(CloseLeg(phone.leg))
    world.ticks(1)
    for k in range(8):
        left, _ = stereo(tmp_path / f"{k}.wav")
        assert len(left) == (61 + 5 * k) * FRAME
        level = through_code(np.array([1000 * (k + 1)], np.int16))[0]
        assert set(left[FRAME : -2 * FRAME].tolist()) == {int(level)}


def test_a_trace_fed_again_gives_the_same_call(tmp_path: Path) -> None:
    """The same datagrams at the same ticks, strangers and losses included: the same words at the same times."""
    path = tmp_path / "call.trace"
    world, phone, rng = (
        World(vad=SileroVad(8)).open(trace=str(path)).ticks(7).connect(),
        Phone(),
        np.random.default_rng(1),
    )
    for frame in frames(speech()):
        packet = phone.packet(frame)
        arrivals = [Received("call", packet, PHONE, world.now - round(rng.uniform(0, 0.02), 6))] * int(
            rng.choice([0, 1, 1, 1, 2])
        )
        arrivals += [Received("call", rng.bytes(60), ("203.0.113.1", 99), world.now - 0.001)]
        world.take(arrivals)
    world.do(CloseLeg("call")).ticks(1)

    again = World(vad=SileroVad(8)).open()
    records = list(trace.read(path.read_bytes()))
    for tick in range(7 + len(frames(speech()))):
        if tick == 7:
            again.connect()
        again.take([Received("call", r.data, r.source, again.start + r.at_s) for r in records if r.tick == tick])
    again.do(CloseLeg("call")).ticks(1)
    assert again.said == world.said
    assert [d.data for d in again.sent] == [d.data for d in world.sent]


def test_a_disk_that_cannot_keep_up_costs_the_recording(tmp_path: Path) -> None:
    """What waits for the disk is bounded; beyond that the recording is given up, and the call goes on."""
    path, files = tmp_path / "call.wav", QueuedFiles(most_waiting=40_000)
    world = World(files=files).open(record=str(path)).connect().do(SetLoopback("call", True))
    world.talk(Phone(), sine(440, 5.0))
    assert [failed.message for failed in world.all(RecordingFailed)] == ["the disk is too slow"]
    assert len(world.packets()) == 250
    for _ in range(5):  # opened, a head and two seconds written, closed
        files.work()
    world.do(CloseLeg("call")).ticks(1)
    assert len(world.all(LegClosed)) == 1


def test_a_leg_has_ended_when_its_files_are_complete(tmp_path: Path) -> None:
    """`LegClosed` waits for the disk, so that whoever hears it can read the recording; not for ever, though."""
    path, files = tmp_path / "call.wav", QueuedFiles()
    world = World(files=files).open(record=str(path)).connect().ticks(10).do(CloseLeg("call")).ticks(5)
    assert world.all(LegClosed) == []
    for _ in range(4):  # open, head, audio, close
        files.work()
    assert len(stereo(path)[0]) == 10 * FRAME
    world.ticks(1)
    assert len(world.all(LegClosed)) == 1
    stuck = World(files=QueuedFiles()).open(record=str(path)).connect().do(CloseLeg("call")).ticks(300)
    assert len(stuck.all(LegClosed)) == 1
