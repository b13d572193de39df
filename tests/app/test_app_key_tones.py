"""Keys by their sound, from the dialplan's text to what comes of the digit, under a virtual clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gateway.core import events as e
from gateway.media import tones
from gateway.providers.wav import write_wav
from gateway.replay.run import Replayed, ReplayOptions, replay_bundle, replay_wav
from gateway.replay.stage import Live

PLAN = """
routes:
  desk:
    match: {}
    steps:
      - answer
      - gather: {say: "Your number?", digits: 3, timeout: 3s, into: pin}
      - say: "{pin}"
"""
HEARS = "    hear_tones: true\n"


def pressing(keys: str) -> np.ndarray:
    """Half a second of silence, then each key for 100 ms with as much pause."""
    t = np.arange(800) / 8000
    sounds = [np.sin(2 * np.pi * np.outer(tones.KEY_HZ[key], t)).sum(axis=0) * 5000 for key in keys]
    pause = np.zeros(800)
    return np.concatenate([np.zeros(4000), *(part for sound in sounds for part in (sound, pause)), np.zeros(16000)])


def call(folder: Path, plan: str, out: Path | None = None) -> Replayed:
    """A caller without telephone events, who presses 4, 7, #."""
    (folder / "plan.yaml").write_text(plan)
    write_wav(folder / "caller.wav", pressing("47#").astype("<i2").tobytes(), 8000)
    live = Live(stt=("scripted", {}), tts=("scripted", {}))
    return replay_wav(folder / "caller.wav", ReplayOptions(dialplan=folder / "plan.yaml", out=out, live=live))


def pressed(replayed: Replayed) -> list[tuple[str, str]]:
    return [(event.digit, event.method) for event in replayed.events if isinstance(event, e.DigitPressed)]


def answered(replayed: Replayed) -> list[str]:
    return [event.digits for event in replayed.events if isinstance(event, e.UserTurnEnded)]


def test_a_route_that_says_so_hears_keys_by_their_sound(tmp_path: Path) -> None:
    """They are the answer to its question, as telephone events would be."""
    heard = call(tmp_path, PLAN.replace("    steps", HEARS + "    steps"))
    assert pressed(heard) == [("4", "inband"), ("7", "inband"), ("#", "inband")]
    assert answered(heard) == ["47"]


def test_a_route_that_does_not_hears_none(tmp_path: Path) -> None:
    """A caller's music or modem is not to press keys where nobody asked for it."""
    assert pressed(call(tmp_path, PLAN)) == []


@pytest.mark.parametrize("packets", [True, False])
def test_a_call_whose_trunk_heard_tones_is_replayed_with_them(tmp_path: Path, packets: bool) -> None:
    """A bundle does not hold the trunk, whose `dtmf = "inband"` it was: the keys in its events tell."""
    bundle = tmp_path / "bundle"
    heard = call(tmp_path, PLAN.replace("    steps", HEARS + "    steps"), bundle)
    for copy in (bundle / "dialplan").rglob("*.yaml"):
        copy.write_text(PLAN)
    if not packets:
        (bundle / "packets.trace").unlink()
    replayed = replay_bundle(bundle)
    assert pressed(replayed) == pressed(heard) != []
    assert answered(replayed) == answered(heard)
