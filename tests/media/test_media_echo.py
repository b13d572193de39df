"""The bot's own voice returned by the line is nobody's speech, and a caller over it is."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks._echoing_lines import (
    Int16s,
    Line,
    Lines,
    at_level,
    echoes,
    flite,
    interruptions,
    monologue,
    onset,
    recorded,
)
from gateway.core.errors import ProviderError
from gateway.core.events import SpeechEnded
from gateway.media.commands import HeardAudio, Listen
from gateway.media.echo import EchoGuard
from gateway.media.history import FRAME, AudioHistory
from gateway.media.options import PlaneOptions

HUMAN = Path("/usr/share/asterisk/sounds/en_US_f_Allison")


@cache
def voice(name: str) -> list[Int16s]:
    try:
        return flite(name)
    except ProviderError:
        pytest.skip("flite is not installed")


def lines_of(lines: list[Line], *, guard: bool = True) -> Lines:
    return Lines(lines, PlaneOptions(slots=len(lines), echo_guard=guard))


def silence(seconds: float) -> Int16s:
    return np.zeros(int(8000 * seconds), np.int16)


def quantiles_ms(lines: list[Line], onsets: list[float], *shares: float) -> list[float]:
    return [float(ms) for ms in np.quantile(lines_of(lines).run(8).delays(onsets), shares) * 1000]


def test_the_bots_own_voice_is_not_speech() -> None:
    """Delays to 250 ms, 6 to 30 dB of loss, noise 20 and 30 dB below, hybrids, drift, jitter and lost packets: what
    would be taken for a caller several times on nearly every line is not taken once."""
    lines = echoes([voice("slt"), voice("rms")], 6, every=3)
    assert lines_of(lines).run(6.6).began == [[]] * len(lines)
    unguarded = lines_of(lines, guard=False).run(6.6).began
    assert sum(map(bool, unguarded)) > 0.7 * len(lines)


@pytest.mark.parametrize(("relative_db", "median_ms", "late_ms"), [(6, 130, 250), (0, 150, 300), (-6, 180, 500)])
def test_a_caller_who_speaks_over_the_echo_is_heard(relative_db: float, median_ms: float, late_ms: float) -> None:
    """Of four voices, louder and fainter than the echo; a fainter one takes longer, as it does on lines without."""
    pairs = [("slt", "rms"), ("rms", "slt"), ("slt", "awb"), ("rms", "kal")]
    lines, onsets = interruptions([(voice(bot), voice(caller)) for bot, caller in pairs], relative_db)
    median, late, latest = quantiles_ms(lines, onsets, 0.5, 0.95, 1.0)
    assert median <= median_ms
    assert late <= late_ms
    assert latest < 2000


def test_a_caller_on_a_line_without_echo_is_heard_as_soon_as_ever() -> None:
    """The guard costs those little who do not need it: a window at most for half of them, and seldom more than two."""
    pairs = [(voice("slt"), voice("rms")), (voice("rms"), voice("slt"))]
    lines, onsets = interruptions(pairs, 6, each=2, echo=False)
    later = lines_of(lines).run(7).delays(onsets) - lines_of(lines, guard=False).run(7).delays(onsets)
    assert np.median(later) <= 0.032
    assert np.mean(later > 0.1) <= 0.1


def test_human_voices_behave_as_synthetic_ones_do() -> None:
    """Recorded people, as bots and as callers."""
    if not HUMAN.is_dir():
        pytest.skip("asterisk-core-sounds-en-wav is not installed")
    human = recorded(HUMAN)
    alone = echoes([human], 6, every=4)
    assert sum(map(len, lines_of(alone).run(6.6).began)) == 0
    lines, onsets = interruptions([(human, voice("rms")), (voice("slt"), human)], 0, each=2)
    median, late = quantiles_ms(lines, onsets, 0.5, 0.9)
    assert median <= 150
    assert late <= 350


def test_a_callers_speech_ends_though_the_echo_goes_on() -> None:
    """The caller falls silent while the bot talks (barge-in may be off): what is left is not the caller's."""
    rng = np.random.default_rng(3)
    said = at_level(voice("rms")[3], -20)
    line = Line(monologue(rng, voice("slt"), 9, -20), erl_db=10, caller=np.concatenate([silence(2), said]))
    lines = lines_of([line]).run(9)
    ended = [one.ended_at for one in lines.said if isinstance(one, SpeechEnded)]
    assert ended[-1] == pytest.approx(2 + len(said) / 8000, abs=0.5)
    assert len(lines.began[0]) == len(ended)


def test_the_first_syllable_over_an_echo_reaches_the_recogniser() -> None:
    """What is heard begins before the caller does, however much echo came before and how long the doubt lasted."""
    rng = np.random.default_rng(4)
    said = at_level(voice("awb")[3], -26)
    line = Line(monologue(rng, voice("slt"), 6, -20), delay_ms=120, caller=np.concatenate([silence(2.5), said]))
    lines = lines_of([line])
    lines.plane.command(Listen(lines.names[0], "pcm_8k"), 0.0)
    lines.run(6)
    heard = [one for one in lines.said if isinstance(one, HeardAudio)]
    spoken_at = 2.5 + onset(said)
    assert heard[0].began_at <= spoken_at - 0.15
    length = len(heard[0].audio) / 16000
    assert all(b.began_at == pytest.approx(a.began_at + length) for a, b in pairwise(heard[:6]))


def test_speech_right_after_the_bot_needs_no_second_look() -> None:
    """Once nothing of the bot can be on the line any more, the guard is out of the way."""
    said = at_level(voice("rms")[1], -20)
    line = Line(monologue(np.random.default_rng(1), voice("slt"), 2, -20), caller=np.concatenate([silence(3), said]))
    began = lines_of([line]).run(6).began[0]
    assert began == [at for at in lines_of([line], guard=False).run(6).began[0] if at > 3]
    assert began[0] == pytest.approx(3.0 + onset(said), abs=0.15)


def test_lines_do_not_influence_one_another() -> None:
    """A call judged among others is judged as it is alone, bit by bit: its replay runs alone."""
    rows, frames = np.arange(6), 60
    rng = np.random.default_rng(9)
    bots = np.stack([monologue(rng, voice("slt"), 1.2, -20) for _ in rows])
    callers = np.stack([monologue(rng, voice("rms"), 1.2, -60 + 8 * row) for row in rows])

    def judged(chosen: np.ndarray) -> list[tuple[bool, bool]]:
        history = AudioHistory(6)
        guard, verdicts = EchoGuard(6, history), []
        for k in range(frames):
            here = slice(k * FRAME, k * FRAME + FRAME)
            guard.keep(chosen, k * FRAME, bots[chosen, here])
            returned = bots[chosen, max(0, k - 5) * FRAME :][:, :FRAME] // 4
            history.write(chosen, k * FRAME, (returned + callers[chosen, here]).astype(np.int16))
            if k > 10 and k % 3 == 0:
                verdicts.append(guard.judge(chosen, np.full(len(chosen), (k + 1) * FRAME)))
        return [(bool(v.echo[-1]), bool(v.unsure[-1])) for v in verdicts] + guard._taps[5].tolist()

    assert judged(rows) == judged(rows[5:])
