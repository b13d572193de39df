"""A steady tone."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gateway.dialplan.control import CallControl
from gateway.dialplan.kinds import Seconds
from gateway.dialplan.model import Struct

SHORTHAND = "hz"


class Options(Struct, frozen=True):
    """Play a sine tone, until the caller hangs up or for `seconds`: `tone: 440`."""

    hz: Annotated[float, Meta(ge=1, le=3999)]
    """The highest is what 8000 samples a second can carry."""
    level: Annotated[float, Meta(ge=-60, le=3)] = -10.0
    """In dBm0."""
    seconds: Seconds | None = None


async def run(call: CallControl, options: Options) -> None:
    await call.tone(options.hz, dbm0=options.level, seconds=options.seconds)
