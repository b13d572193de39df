"""Concealment: a loss is heard as little as can be, and nothing but the loss is changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_world import FRAME, frames, sine, speech, through_code

from gateway.media.history import AudioHistory
from gateway.media.plc import _COMPARED, _LONGEST, _PAST, _SHORTEST, Concealer, _most_alike


def concealed(pcm: np.ndarray, lost: set[int], row: int = 1) -> np.ndarray:
    """What is heard of one row's audio when these 20 ms frames are missing."""
    history, rows = AudioHistory(3), np.array([row])
    concealer, heard = Concealer(3, history), []
    for k, frame in enumerate(frames(pcm)):
        out = np.full((1, FRAME), 31000, np.int16) if k in lost else frame[None].copy()
        concealer.conceal(rows, k * FRAME, out, np.full((1, 2), k not in lost))
        history.write(rows, k * FRAME, out)
        heard.append(out[0])
    return np.concatenate(heard)


def error_db(wanted: np.ndarray, heard: np.ndarray) -> float:
    error, signal = np.mean((wanted.astype(float) - heard) ** 2), np.mean(wanted.astype(float) ** 2)
    return float(10 * np.log10((error + 1e-3) / signal))


@pytest.mark.parametrize("hz", [100, 125, 160, 200, 400])
def test_a_steady_sound_goes_on_through_one_lost_packet(hz: int) -> None:
    """Voiced speech is nearly periodic: 20 ms of a steady tone are made up to 14 dB, most of that being the fade."""
    pcm = sine(hz, 1.0)
    heard = concealed(pcm, {20})
    assert error_db(pcm[20 * FRAME : 21 * FRAME], heard[20 * FRAME : 21 * FRAME]) < -14


def test_nothing_but_the_loss_is_changed() -> None:
    """Up to the loss, and from 10 ms after it on, every sample is as it came."""
    pcm = through_code(speech())
    heard = concealed(pcm, {50, 51, 120})
    untouched = np.ones(len(heard), np.bool_)
    for start, end in ((50, 52), (120, 121)):
        untouched[start * FRAME : end * FRAME + FRAME // 2] = False
    assert np.array_equal(heard[untouched], pcm[: len(heard)][untouched])


@pytest.mark.parametrize("hz", [100, 250, 400, 440, 697, 1000])
def test_the_same_period_of_a_tone_is_repeated_on_every_machine(hz: int) -> None:
    """By sums in whole numbers, whatever the order in which a processor's code adds: between the periods of a tone the
    last digits decide."""
    tones = np.array([sine(hz, 0.1, amplitude)[k : k + _PAST] for amplitude in (300, 9000, 32000) for k in range(40)])
    best = []
    for past in tones.astype(int).tolist():
        recent, scores = past[-_COMPARED:], {}
        for lag in range(_LONGEST, _SHORTEST - 1, -1):
            window = past[_PAST - _COMPARED - lag :][:_COMPARED]
            likeness = sum(a * b for a, b in zip(window, recent, strict=True))
            scores[lag] = likeness / math.sqrt(max(sum(a * a for a in window), 1))
        best.append(max(scores, key=lambda lag: (scores[lag], lag)))
    assert _most_alike(tones).tolist() == best


def test_a_long_loss_falls_silent_within_80_ms() -> None:
    """A dead line does not hum: after four packets there is nothing, and speech comes back whole."""
    pcm = sine(200, 1.0)
    heard = concealed(pcm, set(range(10, 20)))
    levels = [np.abs(f.astype(int)).max() for f in frames(heard[10 * FRAME : 14 * FRAME], FRAME // 2)]
    assert levels == sorted(levels, reverse=True)
    assert not heard[14 * FRAME : 20 * FRAME].any()
    assert np.array_equal(heard[20 * FRAME :], pcm[20 * FRAME : len(heard)])


def test_there_are_no_clicks() -> None:
    """No step at a loss's edges is much larger than those of the audio itself."""
    pcm = sine(170, 1.0) + sine(340, 1.0, 3000)
    largest = np.abs(np.diff(pcm.astype(int))).max()
    for lost in ({20}, {20, 21}, {20, 21, 22}, {20, 22, 24}):
        assert np.abs(np.diff(concealed(pcm, lost).astype(int))).max() < 1.6 * largest


def test_before_the_first_packet_there_is_silence() -> None:
    """A new call has no past to repeat."""
    assert not concealed(sine(200, 0.2), set(range(5)))[: 5 * FRAME].any()


def test_half_a_packet_is_concealed_like_a_whole_one() -> None:
    """Packets of 10 ms may be lost alone, the first or the second of a tick."""
    pcm = sine(200, 0.4)
    for half in (0, 1):
        history, rows = AudioHistory(1), np.array([0])
        concealer = Concealer(1, history)
        for k, frame in enumerate(frames(pcm)):
            out, have = frame[None].copy(), np.ones((1, 2), np.bool_)
            if k == 10:
                out[0, 80 * half : 80 * half + 80] = 31000
                have[0, half] = False
            concealer.conceal(rows, k * FRAME, out, have)
            history.write(rows, k * FRAME, out)
            assert error_db(frame, out[0]) < -14


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(0, 39)), st.sets(st.integers(0, 39)))
def test_rows_are_concealed_alike_alone_and_together(mine: set[int], others: set[int]) -> None:
    """Whatever else is lost in the same tick, each call gets what it would get alone."""
    pcm, other = through_code(speech()[8000:14400]), sine(150, 0.8)
    history, rows = AudioHistory(3), np.array([2, 0])
    concealer, heard = Concealer(3, history), []
    for k, (frame, beside) in enumerate(zip(frames(pcm), frames(other), strict=True)):
        out = np.stack([frame, beside])
        have = np.array([[k not in mine] * 2, [k not in others] * 2])
        out[~have[:, 0]] = 31000
        concealer.conceal(rows, k * FRAME, out, have)
        history.write(rows, k * FRAME, out)
        heard.append(out[0].copy())
    assert np.array_equal(np.concatenate(heard), concealed(pcm, mine, row=2))
