"""Speak a text."""

from __future__ import annotations

from gateway.dialplan.control import BargeIn, CallControl
from gateway.dialplan.kinds import File, Text
from gateway.dialplan.model import Struct
from gateway.dialplan.speaking import prompt

SHORTHAND = "text"


class Options(Struct, frozen=True):
    """Speak a text, or play `file` in its stead: `say: Hello, {caller}.`"""

    text: Text
    file: File | None = None
    barge_in: BargeIn = "on"
    """What lets the caller cut it short: `off` nothing, `digits` a key, `on` also speech."""


async def run(call: CallControl, options: Options) -> None:
    await call.say(prompt(call, options.text, options.file), barge_in=options.barge_in)
