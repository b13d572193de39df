"""All legs of a pool by name, each with what would open it again."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.media.commands import AnyCommand, CloseLeg, LegClosed, LegFailed, MediaDied, OpenLeg
from gateway.media.ports import Said
from gateway.media.standing import Standing

_ENDS = LegClosed | LegFailed | MediaDied


def leg_of(said: Said) -> str:
    """The leg a report or log event is about."""
    return getattr(said, "leg", None) or said.call  # type: ignore[union-attr]


class Roll:
    def __init__(self) -> None:
        self._legs: dict[str, Standing] = {}

    def __contains__(self, leg: str) -> bool:
        return leg in self._legs

    def told(self, command: AnyCommand, now: float) -> list[Said]:
        """Note a command; gives what its plane would have answered where there is none to tell it (`is_lost`)."""
        standing = self._legs.get(command.leg)
        if standing is None:
            if isinstance(command, OpenLeg):
                self._legs[command.leg] = Standing(command)
            return []
        said = standing.told(command, now)
        if standing.lost and isinstance(command, CloseLeg):
            self.strike(command.leg)
        return said

    def is_lost(self, leg: str) -> bool:
        standing = self._legs.get(leg)
        return standing is not None and standing.lost

    def heard(self, said: Said) -> Iterable[Said]:
        """What of a plane's words is news to whoever listens. A leg that ends is struck off."""
        leg = leg_of(said)
        standing = self._legs.get(leg)
        if standing is None:
            return (said,)
        news = standing.heard(said)
        for one in news:
            # Another leg of its name that was refused is no end of this one.
            if isinstance(one, _ENDS) and not (isinstance(one, LegFailed) and standing.is_open):
                self.strike(leg)
        return news

    def strike(self, leg: str) -> None:
        self._legs.pop(leg, None)

    def lose(self, legs: Iterable[str], at: float, now: float, goes_on_at_s: float | None = None) -> list[Said]:
        """Their plane is gone since `at`. What has ended with it; legs that were about to close are struck off."""
        said = [said for leg in legs if leg in self._legs for said in self._legs[leg].lose(at, now, goes_on_at_s)]
        for one in said:
            if isinstance(one, LegClosed):
                self.strike(one.leg)
        return said

    def again(self, legs: Iterable[str]) -> list[AnyCommand]:
        """What opens them on another plane, and joins those again that were bridged."""
        lost = [self._legs[leg] for leg in legs if leg in self._legs]
        commands = [command for standing in lost for command in standing.again()]
        bridges = [standing.bridge for standing in lost]
        return [*commands, *(bridge for bridge in bridges if bridge is not None and bridge.to in self._legs)]
