"""Pick up."""

from __future__ import annotations

from gateway.dialplan.control import CallControl
from gateway.dialplan.model import Struct

EARLY = True


class Options(Struct, frozen=True):
    """Pick up the call. Steps that speak do so by themselves; after `ring` it is clearer written out."""


async def run(call: CallControl, options: Options) -> None:
    await call.answer()
