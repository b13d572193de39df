"""What lines meet in the hallway, taking notes: a clock that stands still until it is moved, and a leg."""

from __future__ import annotations

from collections.abc import Callable

from gateway.media import commands as media
from gateway.media.ports import Said


class StillClock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1_800_000_000.0

    async def sleep_until(self, t: float) -> None:
        raise AssertionError("a line never sleeps")


class NotingLeg:
    """For every leg there is."""

    def __init__(self) -> None:
        self.sent: list[media.AnyCommand] = []

    def send(self, command: media.AnyCommand) -> None:
        self.sent.append(command)

    def subscribe(self, leg: str, listener: Callable[[Said], None]) -> None: ...

    def unsubscribe(self, leg: str) -> None: ...
