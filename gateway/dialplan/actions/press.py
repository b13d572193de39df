"""Send digits."""

from __future__ import annotations

from gateway.dialplan.control import CallControl
from gateway.dialplan.kinds import Digits
from gateway.dialplan.model import Struct

SHORTHAND = "digits"


class Options(Struct, frozen=True):
    """Send DTMF digits to the caller's side: `press: 12#`"""

    digits: Digits


async def run(call: CallControl, options: Options) -> None:
    await call.press(options.digits)
