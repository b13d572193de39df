"""A far clock that runs fast or slow, for minutes: what has to be taken out or put in is not heard as a click.

A click is a sudden bend. Its measure here: the second difference of the sound, against the largest one that the same
sound has when nothing drifts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from asterisk_sounds import needs_sounds, prompts
from media_world import FRAME

from gateway.media.history import AudioHistory
from gateway.media.jitter import JitterBuffer
from gateway.media.plc import Concealer

MINUTES = 4
Sound = Callable[[int], np.ndarray]


class Heard(NamedTuple):
    pcm: np.ndarray
    taken_out: int
    """Cells of 10 ms."""

    made_up: int


def heard(sound: Sound, ppm: float, jitter_s: float) -> Heard:
    """What comes out of buffer and concealment of packets sent by a clock that runs `ppm` fast."""
    rows, history = np.array([0]), AudioHistory(1)
    buffer, concealer = JitterBuffer(1), Concealer(1, history)
    ticks = MINUTES * 60 * 50
    count = int(ticks * (1 + ppm / 1e6)) + 1
    arrivals = 0.02 * np.arange(count) / (1 + ppm / 1e6)
    arrivals += np.random.default_rng(5).exponential(jitter_s, count).clip(0, 0.03) if jitter_s else 0
    waiting = np.argsort(arrivals, kind="stable").tolist()[::-1]
    out, cut, made_up = [], 0, 0
    for tick in range(ticks):
        while waiting and arrivals[waiting[-1]] <= 0.02 * tick + 0.005:
            k = waiting.pop()
            buffer.insert(rows, np.array([FRAME * k & 0xFFFFFFFF]), sound(k)[None])
        pcm, have = buffer.pop(rows)
        cut += int(buffer.next_cells(rows)[0]) - int(buffer.popped[0]) == 3
        made_up += int(tick > 10) * int((~have).sum())
        concealer.conceal(rows, tick * FRAME, pcm, have)
        history.write(rows, tick * FRAME, pcm)
        out.append(pcm[0].copy())
    return Heard(np.concatenate(out), cut, made_up)


def bend(pcm: np.ndarray) -> float:
    return float(np.abs(np.diff(pcm.astype(float), 2)).max())


def vowel(k: int) -> np.ndarray:
    """A steady voice at 130 Hz, with eleven harmonics."""
    t = (FRAME * k + np.arange(FRAME)) / 8000
    wave = sum(np.cos(2 * np.pi * 130.0 * h * t + h * h) / h for h in range(1, 12))
    return np.rint(3000 * np.asarray(wave)).astype(np.int16)


def whistle(k: int) -> np.ndarray:
    t = (FRAME * k + np.arange(FRAME)) / 8000
    return np.rint(8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)


@pytest.mark.parametrize("jitter_s", [0.0, 0.004])
@pytest.mark.parametrize("ppm", [200.0, -200.0])
@pytest.mark.parametrize("sound", [vowel, whistle])
def test_drift_is_absorbed_without_clicks(sound: Sound, ppm: float, jitter_s: float) -> None:
    """Four minutes at 200 ppm are 48 ms too much or too little: no bend is a fifth sharper than the sound's own, and
    the level of a steady sound nowhere falls by more than 3 dB."""
    found = heard(sound, ppm, jitter_s)
    usual = np.concatenate([sound(k) for k in range(200)])
    settled = found.pcm[8000:]
    assert bend(settled) < 1.2 * bend(usual)
    levels = np.abs(settled[: len(settled) // 160 * 160].astype(int)).reshape(-1, 160).max(axis=1)
    assert levels.min() > 0.7 * np.abs(usual.astype(int)).max()
    assert found.taken_out + found.made_up / 2 <= 12


@needs_sounds
@pytest.mark.parametrize("ppm", [200.0, -200.0])
def test_drifting_speech_has_no_bends_it_had_not(ppm: float) -> None:
    """Human speech through the same: never sharper than it ever is by itself."""
    voice = np.concatenate(list(prompts().values()))[: MINUTES * 61 * 8000]
    whole = voice[: len(voice) // FRAME * FRAME].reshape(-1, FRAME)
    assert bend(heard(lambda k: whole[k % len(whole)], ppm, 0.004).pcm) <= bend(voice)
