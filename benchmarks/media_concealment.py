"""How lost packets sound: PESQ of concealment and of plain silence, on human speech, at several rates of loss.

    pip install pesq && apt-get install asterisk-core-sounds-en-wav
    python -m benchmarks.media_concealment [--sounds DIR]

The speech is cut from telephone prompts (8 kHz WAV), joined with pauses as in a conversation; the reference is the
same speech coded once. Says what is missing, and nothing else, where either of the two is not installed.
"""

from __future__ import annotations

import argparse
import wave
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media import g711
from gateway.media.history import FRAME, AudioHistory
from gateway.media.plc import Concealer

Int16s: TypeAlias = npt.NDArray[np.int16]
Bools: TypeAlias = npt.NDArray[np.bool_]
Score: TypeAlias = Callable[[int, Int16s, Int16s, str], float]

CONVERSATIONS, SECONDS = 24, 8
BURSTS = "8.8 % in bursts"


def conversations(sounds: Path) -> Int16s:
    """(CONVERSATIONS, samples): prompts in random order with pauses of 0.6 to 1.3 s."""
    rng = np.random.default_rng(0)
    prompts = iter(rng.permutation(sorted(str(path) for path in sounds.rglob("*.wav"))))
    made = []
    for _ in range(CONVERSATIONS):
        speech = np.zeros(0, np.int16)
        while len(speech) < 8000 * SECONDS:
            pause = np.zeros(int(8000 * rng.uniform(0.6, 1.3)), np.int16)
            speech = np.concatenate([speech, _read(next(prompts)), pause])
        made.append(speech[: 8000 * SECONDS])
    return g711.decode(g711.encode(np.stack(made)))


def _read(path: str) -> Int16s:
    with wave.open(path) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def losses(frames: int) -> dict[str, Bools]:
    """(CONVERSATIONS, frames) for each pattern; the first packets always arrive."""
    rng = np.random.default_rng(7)
    patterns = {f"{rate:.1%} at random": rng.random((CONVERSATIONS, frames)) < rate for rate in (0.014, 0.059, 0.112)}
    bursts, bad = np.zeros((CONVERSATIONS, frames), np.bool_), np.zeros(CONVERSATIONS, np.bool_)
    for frame in range(frames):
        bad = rng.random(CONVERSATIONS) < np.where(bad, 0.5, 0.048)
        bursts[:, frame] = bad
    patterns[BURSTS] = bursts
    for pattern in patterns.values():
        pattern[:, :5] = False
    return patterns


def concealed(speech: Int16s, lost: Bools) -> Int16s:
    rows = np.arange(len(speech))
    history, heard = AudioHistory(len(rows)), speech.copy()
    concealer = Concealer(len(rows), history)
    for frame in range(lost.shape[1]):
        there = slice(frame * FRAME, frame * FRAME + FRAME)
        pcm = heard[:, there].copy()
        concealer.conceal(rows, frame * FRAME, pcm, np.repeat(~lost[:, frame, None], 2, axis=1))
        history.write(rows, frame * FRAME, pcm)
        heard[:, there] = pcm
    return heard


def silenced(speech: Int16s, lost: Bools) -> Int16s:
    return speech * ~np.repeat(lost, FRAME, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sounds", type=Path, default=Path("/usr/share/asterisk/sounds"))
    sounds = parser.parse_args().sounds
    try:
        pesq: Score = import_module("pesq").pesq
    except ImportError:
        print("skipped: pip install pesq")
        return
    if not sounds.is_dir():
        print(f"skipped: no {sounds}; apt-get install asterisk-core-sounds-en-wav")
        return
    speech = conversations(sounds)
    for name, lost in losses(speech.shape[1] // FRAME).items():
        scores = [
            np.mean([pesq(8000, *pair, "nb") for pair in zip(speech, fill(speech, lost), strict=True)])
            for fill in (concealed, silenced)
        ]
        print(f"{name:20} measured {lost.mean():5.1%}   concealed {scores[0]:.2f}   silence {scores[1]:.2f}")


if __name__ == "__main__":
    main()
