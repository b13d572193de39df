"""`kind: default`: the conversation's own sense for the end of a turn, with another base silence."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.session.detector import DefaultTurnDetector


class Options(msgspec.Struct, frozen=True):
    silence_ms: Annotated[int, Meta(ge=100, le=5000)] = 700
    """After ordinary words; shorter after a whole answer, longer after "um", "and" or a digit."""


def build(options: Options) -> DefaultTurnDetector:
    return DefaultTurnDetector(options.silence_ms)
