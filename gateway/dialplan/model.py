"""What an operator writes, as types. Reading refuses unknown keys; `check` says where and what would be right."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from gateway.dialplan.flow import FlowSpec
from gateway.dialplan.kinds import Dates, FactName, File, Pattern, RouteName, Share, Text, Window


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of everything in a dialplan file."""


class Step(Struct, frozen=True):
    """One action to run. `position` is `route/index:action`, deeper for steps inside an action's branch."""

    position: str
    action: str
    options: Any


Branch: TypeAlias = RouteName | tuple[Step, ...]
"""Where to go on: a route by its name, or steps written in place, after which the next step follows."""


class Match(Struct, frozen=True):
    """Conditions on an offered call; all given ones must hold. One that is a list holds when any entry does.

    With no condition at all (`match: {}`) every call matches.
    """

    called: Pattern | tuple[Pattern, ...] = ()
    """The number or name that was dialled."""
    caller: Pattern | tuple[Pattern, ...] = ()
    """Who calls; `anonymous` for a withheld number."""
    trunk: Pattern | tuple[Pattern, ...] = ()
    """The trunk the call came by, as configured; empty for none."""
    door: Literal["sip", "browser", "replay"] | None = None
    headers: dict[str, Pattern] = {}
    """SIP headers by name, in any case; a missing header matches nothing."""
    facts: dict[FactName, Pattern] = {}
    """What the gateway knows of the call, as `diverted-from`; a missing one matches nothing."""
    time: Window | tuple[Window, ...] = ()
    """Hours of the week, in the dialplan's `timezone`."""
    date: Dates | tuple[Dates, ...] = ()
    share: Share | None = None
    """This part of the callers, the same ones every time; of anonymous calls, this part of them."""


class Route(Struct, frozen=True):
    """Steps for a kind of call. Without `match` it is reached only by `goto`, a branch, or as the default."""

    steps: tuple[Step, ...]
    match: Match | None = None
    about: str = ""
    """A line for people."""
    noise: str = ""
    """What cleans callers' audio before detection and recognition: `spectral`, `webrtc` or another kind of noise
    suppressor, `off`; left out, what the configuration says. Of the route that a call begins with."""
    hear_tones: bool = False
    """Hear callers' keys by their sound, too, whatever the call's trunk says. Of the route that a call begins with."""


class Document(Struct, frozen=True):
    """The whole of a dialplan; several files of a folder add up to one."""

    routes: dict[str, Route]
    """Tried from top to bottom; the first that matches wins."""
    default: RouteName | None = None
    """The route for calls that no other matches; without one they are rejected with 404."""
    timezone: str | None = None
    """As in Europe/Berlin; the machine's own when left out."""
    flows: dict[str, FlowSpec] = {}
    prompts: dict[File, Text] = {}
    """Recordings: whenever exactly this text is to be spoken, the file is played instead."""


class Fault(msgspec.Struct, frozen=True, order=True):
    """Something wrong at a place (lines and columns count from 1). A warning keeps no dialplan from loading."""

    path: str
    line: int
    column: int
    message: str
    remedy: str = ""
    severity: Literal["error", "warning"] = "error"

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")
