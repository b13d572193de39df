"""What a dialplan's coroutine yields to its call."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec

from gateway.call import commands as c


class Request(msgspec.Struct, frozen=True):
    """What a step asks of the call: do these commands, then resume with what `until` brings.

    With None when `seconds` are over before that. `after` are carried out before the step resumes.
    """

    commands: tuple[c.AnyCommand, ...]
    until: type[c.Input] | tuple[type[c.Input], ...] = ()
    seconds: float | None = None
    after: tuple[c.AnyCommand, ...] = ()

    def __await__(self) -> Generator[Request, Any, Any]:
        return (yield self)
