"""What every turn detector promises (`TurnDetector`), held against every file in `providers/turn`."""

from __future__ import annotations

from typing import Any

import pytest
from provider_cases import cases

from gateway.core.speech import Expectation
from gateway.providers.load import build_turn_detector

pytestmark = pytest.mark.parametrize(("kind", "options"), cases("turn"))


@pytest.mark.parametrize("text", ["", "yes", "um", "I would like to", "one two three", "That is all.", "…", "\0"])
def test_every_text_gets_a_bearable_silence(kind: str, options: dict[str, Any], text: str) -> None:
    """Between 100 ms and 5 s, the same each time it is asked."""
    detector = build_turn_detector(kind, options)
    silence_ms = detector.silence_ms(text, Expectation())
    assert 100 <= silence_ms <= 5000
    assert detector.silence_ms(text, Expectation()) == silence_ms


def test_a_question_that_names_its_silence_wins(kind: str, options: dict[str, Any]) -> None:
    """`Expectation.silence_ms` is the bot author's word."""
    assert build_turn_detector(kind, options).silence_ms("um", Expectation(silence_ms=1234)) == 1234
