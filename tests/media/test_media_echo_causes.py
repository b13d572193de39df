"""What once made the bot's own echo sound like a caller, each by itself: one line, one cause, no detector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from gateway.media import echo_path
from gateway.media.echo import EchoGuard
from gateway.media.history import FRAME, AudioHistory

Floats = npt.NDArray[np.float64]
SECOND = 8000


def babble(seed: int, seconds: float, low_hz: float, high_hz: float, rms: float = 3000.0) -> Floats:
    """Noise of that band in syllables of an eighth of a second."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(int(SECOND * seconds)))
    hz = np.fft.rfftfreq(int(SECOND * seconds), 1 / SECOND)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    sound = np.fft.irfft(spectrum, int(SECOND * seconds))
    syllables = np.repeat(rng.uniform(0.2, 1.0, int(8 * seconds) + 1), SECOND // 8)[: len(sound)]
    sound *= syllables
    scaled: Floats = sound * rms / np.sqrt(np.square(sound).mean())
    return scaled


def late(sound: Floats, samples: int) -> Floats:
    return np.concatenate([np.zeros(samples), sound])[: len(sound)]


def noise(seconds: float, rms: float = 30.0) -> Floats:
    return np.random.default_rng(77).standard_normal(int(SECOND * seconds)) * rms


def callers(bot: Floats, line: Floats, made_up: tuple[int, ...] = (), since: float = 0.3) -> list[float]:
    """Where the guard, asked with every window from `since` on, would let a caller be heard. In s."""
    history = AudioHistory(1)
    guard, row, found = EchoGuard(1, history), np.zeros(1, np.int64), []
    for frame in range(len(bot) // FRAME):
        here = slice(frame * FRAME, frame * FRAME + FRAME)
        guard.keep(row, frame * FRAME, np.rint(bot[None, here]).astype(np.int16))
        guard.patch(row, frame * FRAME, np.full((1, 2), frame not in made_up))
        history.write(row, frame * FRAME, np.rint(line[None, here]).astype(np.int16))
        end = (frame + 1) * FRAME // 256 * 256
        if end > frame * FRAME and end > since * SECOND:
            verdict = guard.judge(row, np.array([end]))
            if not (verdict.echo[0] or verdict.unsure[0]):
                found.append(end / SECOND)
    return found


@pytest.mark.parametrize("delay", [401, 802, 1603])
def test_hissing_sounds_of_the_bot_are_its_own(delay: int) -> None:
    """Most of their power lies above what is compared, and must not fold into it: folded it has no delay any more."""
    bot = babble(1, 2, 250, 800, 300) + babble(2, 2, 1300, 1900)
    assert callers(bot, late(bot, delay) / 4 + noise(2)) == []


@pytest.mark.parametrize("delay_ms", [40, 355, 390])
def test_echo_of_the_longest_lines_is_explained(delay_ms: int) -> None:
    """250 ms in the network and both ends' jitter buffers come to more than 350 ms where the network jitters."""
    bot = babble(3, 2, 250, 900)
    assert callers(bot, late(bot, 8 * delay_ms) / 4 + noise(2), since=delay_ms / 1000 + 0.1) == []


@pytest.mark.parametrize("later", [-240, -80, 160, 320])
def test_a_lag_that_moved_is_found_at_once(later: int) -> None:
    """What is remembered of a line must not outweigh what it does now: a jitter buffer moves by whole packets."""
    bot = babble(4, 3, 250, 900)
    before, after = late(bot, 1000) / 3, late(bot, 1000 + later) / 3
    half = len(bot) // 2
    line = np.concatenate([before[:half], after[half:]]) + noise(3)
    assert callers(bot, line, made_up=(half // FRAME,)) == []


@pytest.mark.parametrize("moved", range(17, 25))
@pytest.mark.parametrize("later", [160, 320, 480])
def test_a_lag_that_moves_as_the_call_begins_is_found_too(moved: int, later: int) -> None:
    """Jitter buffers settle in the first second, by audio that is made up, before the line is known to echo well."""
    bot = babble(15, 2, 300, 480)
    before, after = late(bot, 500) / 3, late(bot, 500 + later) / 3
    line = np.concatenate([before[: moved * FRAME], after[moved * FRAME :]]) + noise(2)
    assert callers(bot, line, made_up=tuple(range(moved - later // FRAME, moved)), since=0.32) == []


def test_what_was_made_up_for_lost_packets_is_neither_fitted_nor_judged() -> None:
    """It is louder than the echo here, and as foreign as can be."""
    bot, other = babble(5, 3, 250, 900), babble(6, 3, 250, 900)
    line = late(bot, 1000) / 3 + noise(3)
    lost = (60, 90, 91, 110)
    for frame in lost:
        line[frame * FRAME : frame * FRAME + FRAME] = other[frame * FRAME : frame * FRAME + FRAME]
    assert callers(bot, line, made_up=lost) == []
    assert callers(bot, line) != []


def test_a_caller_is_heard_between_lost_packets() -> None:
    """Losing one packet in six does not make a line deaf."""
    bot, caller = babble(7, 3, 250, 900), babble(8, 3, 250, 900, 2000)
    caller[: SECOND * 2] = 0
    lost = tuple(range(0, 150, 6))
    line = late(bot, 1000) / 3 + caller + noise(3)
    found = callers(bot, line, made_up=lost)
    assert found
    assert 2.0 < found[0] < 2.2


def test_lost_packets_do_not_make_the_line_seem_quiet() -> None:
    """The line's noise is what a caller has to stand out of; where nothing came there is none to learn."""
    bot = babble(9, 3, 250, 900)
    line = late(bot, 1000) / 60 + noise(3, 130)
    assert callers(bot, line, made_up=tuple(range(40, 150, 11))) == []


def test_a_line_that_has_just_begun_is_not_a_caller() -> None:
    """Before its noise is known nothing can stand out of it: the first packets' is no speech."""
    bot = babble(10, 2, 250, 900)
    line = late(bot, 2100) / 4 + noise(2, 110)
    line[:320] = 0
    assert callers(bot, line, made_up=(0, 1), since=0.05) == []


def test_a_caller_who_breaks_digital_silence_is_heard_at_once() -> None:
    """Silence that did come over the line is known to be its noise."""
    bot, caller = babble(13, 2, 250, 900), babble(14, 2, 250, 900, 2000)
    caller[:SECOND] = 0
    assert 1.0 < callers(bot, caller, since=0.95)[0] < 1.06


def test_decimation_is_exact_in_any_company() -> None:
    """Sums of whole numbers below 2^24: the same to the bit, whoever is computed beside, and however."""
    rng = np.random.default_rng(11)
    pcm = rng.integers(-32768, 32768, (7, echo_path.SPILL + 320)).astype(np.int16)
    pcm[0] = np.where(np.arange(pcm.shape[1]) % 2, 32767, -32768)
    together = echo_path.low(pcm)
    windows = np.lib.stride_tricks.sliding_window_view(pcm.astype(np.int64), len(echo_path.LOW), axis=1)[:, ::4]
    assert (together == windows @ echo_path.LOW[::-1].astype(np.int64)).all()
    assert np.abs(echo_path.LOW).sum() <= 512


def test_decimation_lets_little_fold_over() -> None:
    """28 dB in all, and hum is gone."""
    power = np.square(np.abs(np.fft.rfft(echo_path.LOW, 8000)))
    assert 10 * np.log10(power[1001:].sum() / power.sum()) < -27
    assert 10 * np.log10(power[50] / power.max()) < -14


def test_a_second_lag_is_another_one() -> None:
    """Pitch and formants put a good likeness beside the best; its neighbours are no alternative."""
    alike = np.zeros((1, echo_path.LAGS + 1), np.float32)
    alike[0, [100, 102, 110, 300]] = 0.9, 0.8, 0.7, 0.3
    assert echo_path.second(alike, np.array([100])) == [110]


def test_a_filter_is_found_again() -> None:
    """What went through it is explained to a thousandth, with and without stretches that are not compared."""
    rng = np.random.default_rng(12)
    sent = rng.standard_normal((3, 339)).astype(np.float32) * 1000
    taps = rng.standard_normal((3, echo_path.TAPS)).astype(np.float32)
    line = echo_path.through(sent, taps)
    there = np.ones_like(line)
    there[:, 100:180] = 0
    assert echo_path.fit(line, sent, None) == pytest.approx(taps, abs=2e-2)
    spoilt = line * there
    assert echo_path.fit(spoilt, sent, there) == pytest.approx(taps, abs=2e-2)
