"""Set variables."""

from __future__ import annotations

from gateway.dialplan.control import CallControl
from gateway.dialplan.kinds import Sets, Template
from gateway.dialplan.model import Struct
from gateway.dialplan.speaking import prompt

EARLY = True
SHORTHAND = "variables"


class Options(Struct, frozen=True):
    """Set variables of the call, kept across a dropped line: `set: {language: English, line: "{called}"}`"""

    variables: dict[Sets, Template]


async def run(call: CallControl, options: Options) -> None:
    for name, text in options.variables.items():
        call.set(name, prompt(call, text).text)
