"""Let it ring."""

from __future__ import annotations

from gateway.dialplan.control import CallControl
from gateway.dialplan.kinds import Seconds
from gateway.dialplan.model import Struct

EARLY = True
SHORTHAND = "seconds"


class Options(Struct, frozen=True):
    """Let the caller hear ringing for some time before the next step: `ring: 3s`."""

    seconds: Seconds = 3.0


async def run(call: CallControl, options: Options) -> None:
    await call.ring()
    await call.wait(options.seconds)
