"""Human speech for tests: the prompts of Debian's `asterisk-core-sounds-en-wav`, where it is installed."""

from __future__ import annotations

import wave
from functools import cache
from pathlib import Path

import numpy as np
import pytest

_FOLDER = Path("/usr/share/asterisk/sounds/en_US_f_Allison")

needs_sounds = pytest.mark.skipif(
    not _FOLDER.is_dir(), reason="apt install asterisk-core-sounds-en-wav brings the human speech this is about"
)


@cache
def prompts() -> dict[str, np.ndarray]:
    """16-bit samples at 8 kHz by name, prompts only: not the beeps, tones and silences, and nothing below a second."""
    found = {}
    for path in sorted(_FOLDER.glob("*.wav")):
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        if len(pcm) >= 8000 and not any(word in path.stem for word in ("tone", "beep", "silence")):
            found[path.stem] = pcm
    return found
