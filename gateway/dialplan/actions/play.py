"""Play a recording."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gateway.dialplan.control import BargeIn, CallControl, Prompt
from gateway.dialplan.kinds import File
from gateway.dialplan.model import Struct

SHORTHAND = "file"


class Options(Struct, frozen=True):
    """Play a WAV file (8 or 16 kHz, mono, 16 bit), named relative to the dialplan: `play: welcome.wav`"""

    file: File
    times: Annotated[int, Meta(ge=1, le=1000)] = 1
    barge_in: BargeIn = "on"
    """What lets the caller cut it short: `off` nothing, `digits` a key, `on` also speech."""


async def run(call: CallControl, options: Options) -> None:
    for _ in range(options.times):
        if not await call.say(Prompt("", options.file), barge_in=options.barge_in):
            return
