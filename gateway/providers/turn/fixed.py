"""`kind: fixed`: always the same silence, whatever was said. The smallest turn detector, to copy."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.core.speech import Expectation


class Options(msgspec.Struct, frozen=True):
    silence_ms: Annotated[int, Meta(ge=100, le=5000)] = 700


class FixedSilence:
    """Implements `TurnDetector`."""

    def __init__(self, silence_ms: int) -> None:
        self._silence_ms = silence_ms

    def silence_ms(self, text: str, expectation: Expectation) -> int:
        """A question that names its own silence still wins."""
        return self._silence_ms if expectation.silence_ms is None else expectation.silence_ms


def build(options: Options) -> FixedSilence:
    return FixedSilence(options.silence_ms)
