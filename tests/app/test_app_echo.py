"""Whole conversations on a line that returns the bot's voice, under a virtual clock."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from gateway.app.config import shipped
from gateway.core import events as e
from gateway.core.errors import ProviderError
from gateway.providers.tts.flite_library import VOICES, Voice
from gateway.providers.wav import write_wav
from gateway.replay import stage
from gateway.replay.run import Replayed, ReplayOptions, replay_wav
from gateway.replay.stage import Live
from gateway.session.resample import to_8k

DIALPLAN = shipped("dialplans/default.yaml")
PROMPTS = ("prompts", {"directory": str(shipped("dialplans/prompts")), "fallback": ""})
LISTENS_S = 7


def call(folder: Path, pcm: np.ndarray, dialplan: Path = DIALPLAN) -> Replayed:
    """What comes of a caller who sends this. The same file name gives the same call, but for that."""
    folder.mkdir()
    write_wav(folder / "caller.wav", np.clip(pcm, -32768, 32767).astype("<i2").tobytes(), 8000)
    live = Live(stt=("scripted", {"texts": ["cancel my appointment"] * 5}), tts=PROMPTS)
    options = ReplayOptions(route="desk", dialplan=dialplan, live=live, hang_up_after_s=0.2)
    return replay_wav(folder / "caller.wav", options)


def line_noise() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 40, 8000 * LISTENS_S)


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What the bot says to somebody who says nothing, at the times at which it says it."""
    heard = call(tmp_path_factory.mktemp("quiet") / "call", line_noise())
    with wave.open(io.BytesIO(heard.wav)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    said = np.zeros(8000 * LISTENS_S)
    said[: len(both)] = both[: len(said), 1]
    assert np.abs(said[8000:24000]).max() > 2000
    return said


def echo_of(bot: np.ndarray, delay_ms: int, loss_db: float) -> np.ndarray:
    late = np.concatenate([np.zeros(8 * delay_ms), bot])[: len(bot)]
    return late * 10 ** (-loss_db / 20) + line_noise()


def kinds(replayed: Replayed, *wanted: type[e.Event]) -> list[e.AnyEvent]:
    return [event for event in replayed.events if isinstance(event, wanted)]


@pytest.mark.parametrize(("delay_ms", "loss_db"), [(40, 6), (120, 12), (250, 6), (250, 20)])
def test_the_bot_does_not_hear_itself(bot: np.ndarray, tmp_path: Path, delay_ms: int, loss_db: float) -> None:
    """Not a word is taken for the caller's, and all is said to the end; a second time it is the same call."""
    echo = echo_of(bot, delay_ms, loss_db)
    replayed = call(tmp_path / "one", echo)
    assert not kinds(replayed, e.SpeechBegan, e.BargedIn, e.PlaybackPaused)
    assert [played.complete for played in kinds(replayed, e.UtterancePlayed)][:2] == [True, True]
    again = call(tmp_path / "two", echo)
    assert (again.log, again.wav) == (replayed.log, replayed.wav)


@pytest.mark.parametrize(("delay_ms", "loss_db"), [(40, 6), (250, 12)])
def test_a_caller_over_the_echo_interrupts_and_is_understood(
    bot: np.ndarray, tmp_path: Path, delay_ms: int, loss_db: float
) -> None:
    """As loud as the echo, in the middle of the greeting: within 60 ms of when he would have on a line without one."""
    try:
        voice = to_8k(Voice("rms").synthesise("Please cancel my appointment on Tuesday.")[0], VOICES["rms"])
    except ProviderError:
        pytest.skip("flite is not installed")
    said, echo = np.frombuffer(voice, "<i2").astype(float), echo_of(bot, delay_ms, loss_db)
    said *= np.std(echo[8000:24000]) / np.std(said)
    clean = line_noise()
    for line in (echo, clean):
        line[10000 : 10000 + len(said)] += said
    replayed = call(tmp_path / "one", echo)
    (barged,) = kinds(replayed, e.BargedIn)
    began = kinds(replayed, e.SpeechBegan)[0]
    without_echo = call(tmp_path / "clean", clean)
    expected = _into_the_call(without_echo, kinds(without_echo, e.SpeechBegan)[0])
    assert _into_the_call(replayed, began) == pytest.approx(expected, abs=0.06)
    assert barged.at - began.at < 1.0
    assert kinds(replayed, e.UserTurnEnded)[0].text == "cancel my appointment"


def _into_the_call(replayed: Replayed, event: e.AnyEvent) -> float:
    return event.at - kinds(replayed, e.RecordingStarted)[0].at


def test_a_route_gets_the_noise_suppressor_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the dialplan to the leg."""
    built: list[str] = []
    build = stage.build_noise
    monkeypatch.setattr(stage, "build_noise", lambda kind, **more: (built.append(kind), build(kind, **more))[1])
    plan = tmp_path / "plan.yaml"
    plan.write_text("routes:\n  desk:\n    match: {}\n    noise: spectral\n    steps: [answer, say: Goodbye.]\n")
    call(tmp_path / "one", line_noise()[:16000], plan)
    assert built == ["spectral"]
