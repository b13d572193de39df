"""How a browser's call sounds, by the ear of ITU-T P.862.2: through the plane, the rates and the codecs, both ways.

Needs the pesq package, which has no wheels; `.ci/install` brings it where it can.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.browser_sound import heard_by_browser, heard_by_recogniser

pesq = pytest.importorskip("pesq", reason="pip install pesq judges sound; it needs a C compiler").pesq

GREETING = Path(__file__).parents[2] / "dialplans" / "prompts" / "hello-this-is-the-appointment-desk-d60eb5.wav"


@pytest.mark.parametrize("hear", [heard_by_browser, heard_by_recogniser])
def test_a_voice_keeps_its_upper_half_both_ways(hear: Callable[..., npt.NDArray[np.int16]]) -> None:
    """Hardly to be told from what was said, and better than the 8 kHz of a PCMU browser by far."""
    with wave.open(str(GREETING)) as file:
        assert file.getframerate() == 16000
        said = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    said = said[: len(said) // 320 * 320]
    wide, narrow = (pesq(16000, said, hear(said, codec), "wb") for codec in ("opus", "PCMU"))
    assert wide > 4.2
    assert wide > narrow + 0.5
