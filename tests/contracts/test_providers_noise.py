"""What every noise suppressor promises (`NoiseSuppressor`), held against every file in `providers/noise`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from provider_cases import cases, said

from gateway.media.ports import Float32s, NoiseSuppressor
from gateway.providers.load import build_noise

pytestmark = pytest.mark.parametrize(("kind", "options"), cases("noise"))

SLOTS, FRAME = 4, 160
MOST_DELAY_MS = 40


def voice() -> Float32s:
    """Two seconds of a quiet room, then words."""
    samples = np.frombuffer(said("I would like to book a haircut on Tuesday morning"), "<i2").astype(np.float32) / 32768
    return np.concatenate([np.zeros(16000, np.float32), samples])


def hiss(length: int, dbfs: float, seed: int = 1) -> Float32s:
    return np.random.default_rng(seed).normal(0, 10 ** (dbfs / 20), length).astype(np.float32)


def cleaned(suppressor: NoiseSuppressor, audio: Float32s, row: int = 0) -> Float32s:
    frames = audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME)
    return np.concatenate([suppressor.clean(np.array([row]), frame[None])[0] for frame in frames])


def level_db(audio: Float32s) -> float:
    return float(10 * np.log10(np.square(audio, dtype=np.float64).mean() + 1e-12))


def test_steady_noise_goes_and_the_voice_stays(kind: str, options: dict[str, Any]) -> None:
    """At least 8 dB less noise between words, and the words at their level and in their place."""
    clear = voice()
    noise = hiss(len(clear), -45)
    clean = cleaned(build_noise(kind, options, slots=SLOTS), clear + noise)
    assert level_db(noise[8000:15000]) - level_db(clean[8000:15000]) > 8
    speaking = slice(16000 + 3000, len(clean) - 3000)
    assert abs(level_db(clean[speaking]) - level_db(clear[speaking])) < 1.5
    delays = [float(np.dot(clear[speaking], clean[speaking.start + lag :][: speaking.stop - speaking.start]))
              for lag in range(MOST_DELAY_MS * 8) if speaking.stop + lag <= len(clean)]  # fmt: skip
    best = max(delays) / np.linalg.norm(clear[speaking]) / np.linalg.norm(clean[speaking])
    assert best > 0.9


def test_a_clear_line_is_left_alone(kind: str, options: dict[str, Any]) -> None:
    """Recognition is not to suffer where there was nothing to do."""
    clear = voice() + hiss(len(voice()), -80)
    clean = cleaned(build_noise(kind, options, slots=SLOTS), clear)
    assert abs(level_db(clean[16000:]) - level_db(clear[16000:])) < 0.5


def test_noise_that_grows_is_learnt(kind: str, options: dict[str, Any]) -> None:
    """The caller walks into the street: some seconds later it is turned down again."""
    audio = np.concatenate([hiss(16000, -70), hiss(8000 * 12, -40, seed=2)])
    clean = cleaned(build_noise(kind, options, slots=SLOTS), audio)
    assert level_db(audio[-16000:]) - level_db(clean[-16000:]) > 6


def test_rows_do_not_influence_one_another(kind: str, options: dict[str, Any]) -> None:
    """A call sounds the same alone and among others; a slot that changed hands like a new one."""
    alone, among = (build_noise(kind, options, slots=SLOTS) for _ in range(2))
    audio = (voice() + hiss(len(voice()), -45))[12000:28000].reshape(-1, FRAME)
    cleaned(among, hiss(8000, -20, seed=3), row=2)
    among.reset(np.array([2]))
    for frame in audio:
        many = among.clean(np.array([0, 2, 3]), np.stack([frame[::-1], frame, np.zeros_like(frame)]))
        assert many.shape == (3, FRAME)
        assert many.dtype == np.float32
        np.testing.assert_allclose(many[1], alone.clean(np.array([2]), frame[None])[0], atol=1e-6)


def test_digital_silence_and_full_scale_are_audio_too(kind: str, options: dict[str, Any]) -> None:
    """Finite and bounded, also right after each other."""
    suppressor = build_noise(kind, options, slots=SLOTS)
    square = np.where(np.arange(8000) // 20 % 2, 1.0, -1.0).astype(np.float32)
    clean = cleaned(suppressor, np.concatenate([np.zeros(8000, np.float32), square, np.zeros(8000, np.float32)]))
    assert np.isfinite(clean).all()
    assert float(np.abs(clean).max()) < 2.0
    assert level_db(clean[-4000:]) < -60
