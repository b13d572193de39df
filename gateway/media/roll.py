"""All legs of a pool by name, each with what would open it again."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.media.commands import AnyCommand, OpenLeg
from gateway.media.ports import Said
from gateway.media.standing import NOTED, Standing


def leg_of(said: Said) -> str:
    """The leg a report or log event is about."""
    return getattr(said, "leg", None) or said.call  # type: ignore[union-attr]


class Roll:
    def __init__(self) -> None:
        self._legs: dict[str, Standing] = {}
        self._broken: set[str] = set()
        """Legs whose plane is gone, until the next one speaks of them."""

    def __contains__(self, leg: str) -> bool:
        return leg in self._legs

    def told(self, command: AnyCommand, now: float) -> list[Said] | None:
        """Note a command. None where its plane is to be told; what it would have answered where there is none."""
        standing = self._legs.get(command.leg)
        if standing is None:
            if isinstance(command, OpenLeg):
                self._legs[command.leg] = Standing(command)
            return None
        answers = standing.told(command, now)
        if standing.over:
            self.strike(command.leg)
        return answers

    def is_lost(self, leg: str) -> bool:
        standing = self._legs.get(leg)
        return standing is not None and standing.lost

    def heard(self, leg: str, said: Said) -> Iterable[Said]:
        """What of a plane's words on this leg is news to whoever listens. A leg that ends is struck off."""
        if not (self._broken or type(said) in NOTED):
            return (said,)  # Most of what is said, by far: a thousand calls' audio comes this way.
        standing = self._legs.get(leg)
        if standing is None:
            return (said,)
        news = standing.heard(said)
        if not standing.awaited:
            self._broken.discard(leg)
        if standing.over:
            self.strike(leg)
        return news

    def give_up(self, leg: str, now: float) -> list[Said]:
        """No plane takes it over; what there is to say of it. Struck off."""
        said = self._legs[leg].die(now) if leg in self._legs else []
        self.strike(leg)
        return said

    def strike(self, leg: str) -> None:
        self._legs.pop(leg, None)
        self._broken.discard(leg)

    def lose(self, legs: Iterable[str], at: float, now: float, goes_on_at_s: float | None = None) -> list[Said]:
        """Their plane is gone since `at`. What has ended with it; legs that were about to close are struck off."""
        lost = [self._legs[leg] for leg in legs if leg in self._legs]
        said = [said for standing in lost for said in standing.lose(at, now, goes_on_at_s)]
        self._broken.update(standing.leg for standing in lost)
        for standing in lost:
            if standing.over:
                self.strike(standing.leg)
        return said

    def again(self, legs: Iterable[str]) -> list[AnyCommand]:
        """What opens them on another plane, and joins those again that were bridged."""
        lost = [self._legs[leg] for leg in legs if leg in self._legs]
        commands = [command for standing in lost for command in standing.again()]
        bridges = [standing.bridge for standing in lost]
        return [*commands, *(bridge for bridge in bridges if bridge is not None and bridge.to in self._legs)]
