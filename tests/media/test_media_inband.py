"""Keys by their sound, within and beyond the limits of ITU-T Q.24, and never in speech."""

from __future__ import annotations

import numpy as np
import pytest
from asterisk_sounds import needs_sounds, prompts
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, Phone, World, frames, speech, through_code

from gateway.core.events import DigitPressed
from gateway.media import tones
from gateway.media.commands import CloseLeg, HearTones, PushPcm, SendDigits
from gateway.media.inband import Pressed, ToneListener

KEYS = "0123456789*#ABCD"


def press(
    key: str,
    ms: float,
    *,
    dbm0: float = -10.0,
    twist_db: float = 0.0,
    off: tuple[float, float] = (0.0, 0.0),
    phase: float = 0.0,
) -> np.ndarray:
    """A key's sound; `twist_db` is how much louder the high tone is, `off` the deviations of both frequencies."""
    t = np.arange(round(8 * ms)) / 8000
    low, high = (hz * (1 + part) for hz, part in zip(tones.KEY_HZ[key], off, strict=True))
    louder = tones.amplitude(dbm0, 0)
    fainter = louder * 10 ** (-abs(twist_db) / 20)
    levels = (fainter, louder) if twist_db > 0 else (louder, fainter)
    return levels[0] * np.sin(2 * np.pi * low * t + phase) + levels[1] * np.sin(2 * np.pi * high * t + 2 * phase)


def quiet(ms: float) -> np.ndarray:
    return np.zeros(round(8 * ms))


def heard(*sounds: np.ndarray, noise_dbm0: float | None = None) -> list[Pressed]:
    """What a listener makes of it, after mu-law and with 200 ms of silence behind."""
    audio = np.concatenate([*sounds, quiet(200)])
    if noise_dbm0 is not None:
        rms = tones.amplitude(noise_dbm0, 0) / np.sqrt(2)
        audio = audio + np.random.default_rng(len(audio)).normal(0, rms, len(audio))
    audio = through_code(np.clip(np.rint(audio), -32768, 32767).astype(np.int16))
    listener = ToneListener(2)
    listener.listen(1)
    return [found for frame in frames(audio) for found in listener.hear(frame[None])]


@given(
    key=st.sampled_from(KEYS),
    ms=st.floats(40, 300),
    at_ms=st.floats(0, 40),
    dbm0=st.floats(-25, -3),
    twist_db=st.floats(-8, 4),
    off=st.tuples(st.floats(-0.015, 0.015), st.floats(-0.015, 0.015)),
    phase=st.floats(0, 6.2),
)
@settings(deadline=None, max_examples=200)
def test_every_key_within_the_limits_is_told_once(
    key: str, ms: float, at_ms: float, dbm0: float, twist_db: float, off: tuple[float, float], phase: float
) -> None:
    """Q.24: 40 ms, -25 dBm, 1.5 % off, the high tone 4 dB louder to 8 dB fainter; durations are told within 15 ms."""
    sound = press(key, ms, dbm0=dbm0, twist_db=twist_db, off=off, phase=phase)
    found = heard(quiet(60 + at_ms), sound)
    assert [one.digit for one in found] == [key]
    assert found[0].duration_ms == pytest.approx(ms, abs=15)


@pytest.mark.parametrize("twist_db", [-8.0, 4.0])
@pytest.mark.parametrize("off", [(a, b) for a in (-0.015, 0.015) for b in (-0.015, 0.015)])
@pytest.mark.parametrize("key", "17#D")
def test_no_key_is_missed_where_all_limits_meet(key: str, off: tuple[float, float], twist_db: float) -> None:
    """The shortest, faintest, most crooked and most deviant press at once, wherever its frames begin."""
    for at_ms in range(0, 20, 3):
        sound = press(key, 40, dbm0=-25.0, twist_db=twist_db, off=off, phase=at_ms)
        assert [one.digit for one in heard(quiet(60 + at_ms), sound)] == [key], at_ms


@given(
    key=st.sampled_from(KEYS),
    ms=st.floats(3, 23),
    at_ms=st.floats(0, 40),
    phase=st.floats(0, 6.2),
)
@settings(deadline=None, max_examples=200)
def test_what_is_shorter_than_23_ms_is_no_key(key: str, ms: float, at_ms: float, phase: float) -> None:
    """Q.24: bursts of speech and of line noise are that short."""
    assert heard(quiet(60 + at_ms), press(key, ms, phase=phase)) == []


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("part", [-0.035, 0.035, -0.05, 0.05])
@pytest.mark.parametrize("key", KEYS)
def test_tones_of_other_frequencies_are_no_key(key: str, part: float, which: int) -> None:
    """Q.24: 3.5 % off on either tone must be refused."""
    off = (part, 0.0) if which == 0 else (0.0, part)
    assert heard(quiet(60), press(key, 200, off=off)) == []


@pytest.mark.parametrize("twist_db", [-12.0, 8.0])
def test_a_crooked_pair_is_no_key(twist_db: float) -> None:
    """Of speech and music, one partial stands out."""
    assert heard(quiet(60), press("5", 200, twist_db=twist_db)) == []


@pytest.mark.parametrize("hz", [350, 440, 697, 941, 1209, 1633, 2100])
def test_a_single_tone_is_no_key(hz: float) -> None:
    """Dial, ringing and fax tones."""
    t = np.arange(4000) / 8000
    assert heard(quiet(60), 8000 * np.sin(2 * np.pi * hz * t)) == []


def test_too_faint_is_no_key() -> None:
    """Crosstalk of another line's keys."""
    assert heard(quiet(60), press("5", 200, dbm0=-40.0)) == []


@pytest.mark.parametrize("at_ms", range(0, 20, 3))
def test_a_pause_of_40_ms_parts_two_presses_and_a_gap_of_10_ms_does_not(at_ms: int) -> None:
    """Q.24, for the same key: the quickest dialler, and the crack of a worn contact."""
    lead = quiet(60 + at_ms)
    assert [p.digit for p in heard(lead, press("7", 50), quiet(40), press("7", 50))] == ["7", "7"]
    assert [p.digit for p in heard(lead, press("7", 50), quiet(10), press("7", 50))] == ["7"]


def test_keys_without_a_pause_are_two() -> None:
    """Some diallers leave none."""
    assert [p.digit for p in heard(quiet(60), press("1", 80), press("9", 80))] == ["1", "9"]


def test_a_noisy_line_costs_no_key() -> None:
    """At 15 dB of signal to noise, a hundred keys are a hundred."""
    dialled = "".join(KEYS[k % 16] for k in range(100))
    sounds = [piece for key in dialled for piece in (press(key, 60, dbm0=-10), quiet(60))]
    assert "".join(p.digit for p in heard(*sounds, noise_dbm0=-22.0)) == dialled


@needs_sounds
def test_human_speech_has_no_keys_in_it() -> None:
    """Talk-off: in a quarter of an hour of prompts by a human voice, not one key is heard."""
    spoken = list(prompts().values())
    assert sum(len(pcm) for pcm in spoken) > 900 * 8000
    longest = max(len(pcm) for pcm in spoken)
    lines = np.zeros((len(spoken), -(-longest // FRAME) * FRAME), np.int16)
    for line, pcm in zip(lines, spoken, strict=True):
        line[: len(pcm)] = pcm
    listener = ToneListener(len(lines))
    for row in range(len(lines)):
        listener.listen(row)
    assert [p for k in range(0, lines.shape[1], FRAME) for p in listener.hear(lines[:, k : k + FRAME])] == []


# In a call


def pressed_four() -> np.ndarray:
    return through_code(np.rint(np.concatenate([quiet(100), press("4", 100), quiet(300)])).astype(np.int16))


def call(**options: object) -> World:
    return World().open().connect(inband_digits=True, dtmf_payload_type=None, **options)


def test_a_call_tells_of_keys_it_hears() -> None:
    """From the packets to the call's log."""
    w = call().talk(
        Phone(), through_code(np.rint(np.concatenate([quiet(100), press("4", 100), quiet(300)])).astype(np.int16))
    )
    assert [(d.digit, d.method) for d in w.all(DigitPressed)] == [("4", "inband")]
    assert w.all(DigitPressed)[0].duration_ms == pytest.approx(100, abs=15)


def test_what_we_send_as_tones_is_what_we_would_hear() -> None:
    """In-band both ways, all keys."""
    sender = call().do(SendDigits("call", "0123456789*#", 80)).ticks(120)
    w, phone = call(), Phone()
    for packet in sender.packets():
        w.tick(phone.build(packet.payload_type, packet.payload, timestamp=packet.timestamp))
    assert "".join(d.digit for d in w.all(DigitPressed)) == "0123456789*#"


def test_it_is_off_unless_asked_for() -> None:
    """And a key that also came as an event counts once."""
    sound = pressed_four()
    off = World().open().connect().talk(Phone(), sound)
    assert off.all(DigitPressed) == []
    w, phone = World().open().connect(inband_digits=True), Phone()
    for k, frame in enumerate(frames(sound)):
        audio, event = phone.packet(frame), []
        if 5 <= k < 10:
            payload = bytes([4, 10 | (0x80 if k == 9 else 0)]) + (160 * (k - 4)).to_bytes(2, "big")
            event = [phone.build(101, payload, timestamp=5000 + 800)]
        w.tick(audio, *event)
    assert [d.method for d in w.all(DigitPressed)] == ["rfc4733"]


@pytest.mark.parametrize("connected", [True, False])
def test_who_asks_for_tones_has_them_whatever_the_peer_agrees_to(connected: bool) -> None:
    """A route asks before or after the line is connected; a re-INVITE of a line that sends events changes nothing."""
    w = World().open()
    if connected:
        w.connect()
    w.do(HearTones("call")).tick()
    w.connect().ticks(1).connect().talk(Phone(), pressed_four())
    assert [(d.digit, d.method) for d in w.all(DigitPressed)] == [("4", "inband")]


def test_a_slot_that_changed_hands_hears_no_tones() -> None:
    """Asking for them ends with the leg."""
    w = World().open().connect().do(HearTones("call")).do(CloseLeg("call")).ticks(2)
    assert w.open().connect().talk(Phone(), pressed_four()).all(DigitPressed) == []


def test_a_leg_without_a_socket_hears_tones_too() -> None:
    """Played again from its recording, a call has its keys again."""
    w = World().open(kind="pcm").do(HearTones("call"))
    for frame in frames(pressed_four()):
        w.do(PushPcm("call", frame.tobytes())).tick()
    assert [d.digit for d in w.all(DigitPressed)] == ["4"]


def test_speech_and_silence_in_a_call_are_no_keys() -> None:
    """The synthetic voice of the other tests, too."""
    assert call().talk(Phone(), speech()).all(DigitPressed) == []
