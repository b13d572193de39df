"""Comfort noise (RFC 3389): a peer that rests sounds like a quiet line, and so may we."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from media_world import FRAME, Phone, World, frames, sine
from wide_world import MemoryFiles

from gateway.core.events import LineFellSilent
from gateway.media import rtp
from gateway.media.commands import CloseLeg, QueueAudio, SendDigits

LOUD = 6000


def world(**options: object) -> tuple[World, MemoryFiles]:
    files = MemoryFiles()
    return World(files=files).open(record="call.wav").connect(**options), files


def heard(w: World, files: MemoryFiles) -> np.ndarray:
    w.do(CloseLeg("call")).ticks(2)
    return np.frombuffer(bytes(files.written[1][44:]), "<i2")[::2].astype(float)


def level_db(pcm: np.ndarray) -> float:
    """Against the overload point of 16 bits."""
    return float(20 * np.log10(np.sqrt(np.mean(pcm**2)) / 32768))


@pytest.mark.parametrize("level", [40, 55, 65])
def test_a_resting_peer_sounds_as_loud_as_it_says(level: int) -> None:
    """Within 1 dB, from its first gap until it speaks again; and it is no silent line."""
    w, files = world()
    phone = Phone()
    w.talk(phone, sine(300, 0.5, LOUD))
    for k in range(150):
        w.tick(*([phone.build(rtp.COMFORT_NOISE, bytes([level]))] if k % 50 == 0 else []))
        phone.timestamp += FRAME
    w.talk(phone, sine(300, 0.5, LOUD))
    audio = heard(w, files)
    assert level_db(audio[5000:26000]) == pytest.approx(-level, abs=1.0)
    assert np.abs(audio[-2000:-400]).max() > 0.9 * LOUD
    assert not w.all(LineFellSilent)


def test_noise_announced_in_mid_speech_does_not_replace_concealment() -> None:
    """Some peers announce their noise before they need it: a packet lost a second later is concealed as ever."""
    w, files = world()
    phone = Phone()
    for k, frame in enumerate(frames(sine(200, 2.0, LOUD))):
        packet = phone.packet(frame)
        extra = [phone.build(rtp.COMFORT_NOISE, b"\x50")] if k == 10 else []
        w.tick(*extra, *([] if k == 70 else [packet]))
    audio = heard(w, files)
    assert min(np.abs(f).max() for f in frames(audio[4000:-800], 80)) > LOUD / 2


def test_an_empty_announcement_is_malformed() -> None:
    """It has no level; nothing comes of it."""
    w, _ = world()
    phone = Phone()
    w.talk(phone, sine(300, 0.1)).tick(phone.build(rtp.COMFORT_NOISE, b""))
    assert w.plane.table.legs["call"].malformed == 1


@pytest.mark.parametrize("ptime_ms", [20, 30])
def test_we_rest_while_nothing_is_said(ptime_ms: int) -> None:
    """Every half second a packet that says so; speech starts with a marker, whole, and where its timestamp says."""
    w, _ = world(silence=True, ptime_ms=ptime_ms)
    w.ticks(100).do(QueueAudio("call", 1, sine(440, 1.0).tobytes(), last=True)).ticks(150)
    packets = w.packets()
    noise = [k for k, p in enumerate(packets) if p.payload_type == rtp.COMFORT_NOISE]
    audio = [p for p in packets if p.payload_type == 0]
    assert len(noise) == pytest.approx(8, abs=1)
    assert all(len(p.payload) == 1 and p.payload[0] <= 127 for p in packets if p.payload_type == rtp.COMFORT_NOISE)
    assert [p.marker for p in audio] == [True] + [False] * (len(audio) - 1)
    assert 8000 <= sum(len(p.payload) for p in audio) < 8000 + 6 * 80
    assert audio[0].timestamp - packets[0].timestamp == 100 * FRAME
    assert {b.sequence - a.sequence for a, b in pairwise(packets)} == {1}


def test_keys_wake_nobody_up() -> None:
    """Telephone events go out as ever; the silence around them is still comfort noise."""
    w, _ = world(silence=True)
    w.ticks(10).do(SendDigits("call", "1", 100)).ticks(60)
    kinds = {p.payload_type for p in w.packets()}
    assert kinds == {rtp.COMFORT_NOISE, 101}


def test_nobody_rests_who_was_not_asked_to() -> None:
    """Peers without comfort noise would take the line for dead."""
    w, _ = world()
    assert {p.payload_type for p in w.ticks(50).packets()} == {0}
