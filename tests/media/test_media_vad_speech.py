"""How well callers are heard to speak: a human voice on clean lines and on noisy ones, with silence between."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from asterisk_sounds import needs_sounds, prompts
from media_world import FRAME, through_code

from gateway.media.history import AudioHistory
from gateway.media.options import PlaneOptions
from gateway.media.speech import SpeechDetector
from gateway.media.vad import SileroVad

pytestmark = needs_sounds

LINES = 12
SILENCE = 12_000  # 1.5 s between utterances
MARGIN = 4_000  # 0.5 s after an utterance in which its end may still be told, and before it for preroll


class Score(NamedTuple):
    utterances: int
    missed: int
    """Of which no speech was detected at all."""

    late_ms: float
    """From the first audible sample to where speech is said to begin, 90th percentile."""

    false_alarms: int
    """Beginnings in the silences between."""

    silence_s: float


def lines() -> tuple[np.ndarray, list[list[tuple[int, int]]]]:
    """(lines, samples) of utterances with silence between, and where each is audible."""
    made: list[list[np.ndarray]] = [[np.zeros(SILENCE, np.int16)] for _ in range(LINES)]
    places: list[list[tuple[int, int]]] = [[] for _ in range(LINES)]
    for k, pcm in enumerate(list(prompts().values())[::4]):
        row = k % LINES
        start = sum(map(len, made[row]))
        audible = np.flatnonzero(np.abs(pcm.astype(int)) > 0.05 * np.abs(pcm.astype(int)).max())
        places[row].append((start + int(audible[0]), start + int(audible[-1])))
        made[row] += [pcm, np.zeros(SILENCE, np.int16)]
    length = max(sum(map(len, row)) for row in made) // FRAME * FRAME + FRAME
    padded = np.zeros((LINES, length), np.int16)
    for row, parts in enumerate(made):
        joined = np.concatenate(parts)
        padded[row, : len(joined)] = joined
    return padded, places


def detected(audio: np.ndarray) -> list[list[tuple[int, int]]]:
    """Stretches of speech on each line, by the detector as a call has it."""
    history, rows = AudioHistory(LINES), np.arange(LINES)
    detector = SpeechDetector(LINES, SileroVad(LINES), history, PlaneOptions())
    for row in rows.tolist():
        detector.reset(row, 0)
    began: dict[int, int] = {}
    found: list[list[tuple[int, int]]] = [[] for _ in range(LINES)]
    for position in range(0, audio.shape[1], FRAME):
        frame = audio[:, position : position + FRAME]
        history.write(rows, position, frame)
        energies = np.mean(frame.astype(np.float32) ** 2, axis=1)
        for change in detector.step(rows, position, energies):
            if change.began:
                began[change.row] = change.position
            else:
                found[change.row].append((began.pop(change.row), change.position))
    for row, start in began.items():
        found[row].append((start, audio.shape[1]))
    return found


def score(noise_db: float | None, colour: str = "white") -> Score:
    """`noise_db` is the ratio of speech to noise; speech as loud as it is while it is audible."""
    audio, places = lines()
    heard = audio.astype(float)
    if noise_db is not None:
        spoken = np.concatenate([heard[row, a:b] for row in range(LINES) for a, b in places[row]])
        noise = np.random.default_rng(10).standard_normal(heard.shape)
        if colour == "pink":
            spectrum = np.fft.rfft(noise, axis=1)
            spectrum[:, 1:] /= np.sqrt(np.arange(1, spectrum.shape[1]))
            noise = np.fft.irfft(spectrum, heard.shape[1], axis=1)
        noise *= np.sqrt(np.mean(spoken**2)) * 10 ** (-noise_db / 20) / np.sqrt(np.mean(noise**2))
        heard = heard + noise
    found = detected(through_code(np.clip(np.rint(heard), -32768, 32767).astype(np.int16)))
    late, missed, alarms = [], 0, 0
    for row in range(LINES):
        for start, end in places[row]:
            over = [one for one in found[row] if one[1] > start and one[0] < end]
            missed += not over
            late += [max(0, over[0][0] - start) / 8] if over else []
        near = [(start - MARGIN, end + MARGIN) for start, end in places[row]]
        alarms += sum(not any(a < begin < b for a, b in near) for begin, _ in found[row])
    count = sum(map(len, places))
    silence = LINES * audio.shape[1] - sum(b - a + 2 * MARGIN for row in places for a, b in row)
    return Score(count, missed, float(np.percentile(late, 90)), alarms, silence / 8000)


@pytest.mark.parametrize(
    ("noise_db", "colour", "most_missed", "most_late_ms", "most_alarms"),
    [(None, "", 0.0, 80, 0), (10.0, "white", 0.02, 100, 0), (10.0, "pink", 0.02, 150, 0)],
)
def test_human_speech_is_heard_and_silence_is_not(
    noise_db: float | None, colour: str, most_missed: float, most_late_ms: float, most_alarms: int
) -> None:
    """Of 75 utterances of one to ten seconds; the share missed, how late they are noticed, and false alarms."""
    found = score(noise_db, colour)
    assert found.utterances > 70
    assert found.missed <= most_missed * found.utterances
    assert found.late_ms <= most_late_ms
    assert found.false_alarms <= most_alarms
