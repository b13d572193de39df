"""The echo test."""

from __future__ import annotations

from gateway.dialplan.control import CallControl
from gateway.dialplan.kinds import Seconds
from gateway.dialplan.model import Struct

SHORTHAND = "seconds"


class Options(Struct, frozen=True):
    """Send the caller's voice back, until the caller hangs up or for `seconds`: `echo: 30s`."""

    seconds: Seconds | None = None


async def run(call: CallControl, options: Options) -> None:
    await call.loop_back(options.seconds)
