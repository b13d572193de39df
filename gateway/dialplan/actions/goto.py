"""Go on with another route."""

from __future__ import annotations

from gateway.dialplan.control import CallControl, Goto
from gateway.dialplan.kinds import RouteName
from gateway.dialplan.model import Struct

EARLY = True
SHORTHAND = "route"


class Options(Struct, frozen=True):
    """Leave this route and go on with the first step of another: `goto: desk`"""

    route: RouteName


async def run(call: CallControl, options: Options) -> Goto:
    return Goto(options.route)
