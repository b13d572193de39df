"""The milliwatt test tone."""

from __future__ import annotations

from gateway.dialplan.control import CallControl
from gateway.dialplan.kinds import Seconds
from gateway.dialplan.model import Struct

SHORTHAND = "seconds"
HZ = 1004.0
"""Not 1000: a divisor of the sampling rate would exercise a few codes only (ITU-T O.6 asks for 1004 to 1020 Hz)."""


class Options(Struct, frozen=True):
    """The line technicians' tone: 1004 Hz at 0 dBm0, for `seconds` or until the caller hangs up."""

    seconds: Seconds | None = None


async def run(call: CallControl, options: Options) -> None:
    await call.tone(HZ, dbm0=0.0, seconds=options.seconds)
