"""What every detector promises (`BatchVad`), held against every file in `providers/vad`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from provider_cases import cases, said

from gateway.media.ports import BatchVad, Float32s
from gateway.providers.load import build_vad

pytestmark = pytest.mark.parametrize(("kind", "options"), cases("vad"))

SLOTS = 4


def windows(vad: BatchVad, pcm: bytes) -> Float32s:
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    return samples[: len(samples) // vad.window * vad.window].reshape(-1, vad.window)


def heard(vad: BatchVad, row: int, pcm: bytes) -> Float32s:
    rows = np.array([row])
    return np.concatenate([vad.probabilities(rows, window[None]) for window in windows(vad, pcm)])


def test_speech_is_told_from_a_quiet_line(kind: str, options: dict[str, Any]) -> None:
    """Probabilities are in 0..1, low in a second of line noise, high in the middle of words."""
    vad = build_vad(kind, options, slots=SLOTS)
    noise = np.random.default_rng(1).normal(0, 20, 8000).astype("<i2").tobytes()
    quiet, loud = heard(vad, 0, noise), heard(vad, 0, said("I would like to book a haircut"))
    assert float(quiet.min()) >= 0.0
    assert float(loud.max()) <= 1.0
    assert float(np.median(quiet[8:])) < 0.35
    assert float(np.quantile(loud, 0.7)) > 0.5


def test_rows_do_not_influence_one_another(kind: str, options: dict[str, Any]) -> None:
    """A call is judged the same alone and among others."""
    alone, among = (build_vad(kind, options, slots=SLOTS) for _ in range(2))
    speech = windows(alone, said("hello there"))
    for window in speech:
        beside = np.stack([window[::-1], window, np.zeros_like(window)])
        one = alone.probabilities(np.array([1]), window[None])
        many = among.probabilities(np.array([0, 1, 3]), beside)
        assert many.shape == (3,)
        assert many.dtype == np.float32
        assert many[1] == pytest.approx(one[0], abs=1e-5)


def test_reset_forgets_the_call_before(kind: str, options: dict[str, Any]) -> None:
    """A slot that changed hands judges as a new one does."""
    fresh, used = (build_vad(kind, options, slots=SLOTS) for _ in range(2))
    heard(used, 2, said("somebody else was here"))
    used.reset(np.array([2]))
    assert heard(used, 2, said("hello")).tolist() == heard(fresh, 2, said("hello")).tolist()


def test_digital_silence_and_full_scale_are_numbers_too(kind: str, options: dict[str, Any]) -> None:
    """No input gives anything but a probability."""
    vad = build_vad(kind, options, slots=SLOTS)
    for value in (0.0, 1.0, -1.0):
        probability = vad.probabilities(np.array([0]), np.full((1, vad.window), value, np.float32))
        assert np.isfinite(probability).all()
        assert 0.0 <= float(probability[0]) <= 1.0
