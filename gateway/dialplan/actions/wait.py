"""Wait."""

from __future__ import annotations

from gateway.dialplan.control import CallControl
from gateway.dialplan.kinds import Seconds
from gateway.dialplan.model import Struct

EARLY = True
SHORTHAND = "seconds"


class Options(Struct, frozen=True):
    """Do nothing for a while: `wait: 500ms`"""

    seconds: Seconds


async def run(call: CallControl, options: Options) -> None:
    await call.wait(options.seconds)
