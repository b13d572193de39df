"""`kind: silero`: the media plane's own detector, a small neural network, good in noise."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.media.vad import SileroVad


class Options(msgspec.Struct, frozen=True):
    slots: Annotated[int, Meta(ge=1)]
    """Calls at once; set by the media plane."""


def build(options: Options) -> SileroVad:
    return SileroVad(options.slots)
