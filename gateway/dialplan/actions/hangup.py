"""End the call."""

from __future__ import annotations

from gateway.dialplan.control import CallControl
from gateway.dialplan.model import Struct

EARLY = True


class Options(Struct, frozen=True):
    """Hang up. The end of a route does so too."""


async def run(call: CallControl, options: Options) -> None:
    await call.hang_up()
