"""Refuse the call."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gateway.dialplan.control import CallControl
from gateway.dialplan.model import Struct

EARLY = True
SHORTHAND = "status"


class Options(Struct, frozen=True):
    """Refuse a call that is not answered, with a SIP status: `reject: 486`. An answered one is hung up."""

    status: Annotated[int, Meta(ge=400, le=699)] = 603
    reason: str | None = None
    """The words after the status, as the caller's telephone may show them."""


async def run(call: CallControl, options: Options) -> None:
    await call.reject(options.status, options.reason)
