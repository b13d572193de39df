"""What is known of each trunk: registered or not, which targets answer, and what an operator should be told of it.

Sans-IO. Something is told when it changes, not each time it is found to be so still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from gateway.app.trunk_config import Address, Trunk
from gateway.core.ids import Ids
from gateway.sip.flow import Flow
from gateway.sip.locate import Server, Way, arranged
from gateway.sip.uri import bracketed

Registration: TypeAlias = Literal["off", "trying", "registered", "failed"]
Level: TypeAlias = Literal["info", "warning", "error"]

SILENCE = 408
USELESS = (SILENCE, 503)
"""Answers to a probe that are none: silence, and a peer (or a transport) that can do nothing for us."""


class Note(msgspec.Struct, frozen=True):
    """A line for the log."""

    level: Level
    event: str
    facts: dict[str, Any]


class WayState:
    """One way to a target. `reachable` None: not known yet."""

    def __init__(self, flow: Flow, rank: tuple[int, ...]) -> None:
        self.flow, self.rank = flow, rank
        self.reachable: bool | None = None
        self.round_trip_s: float | None = None
        self.fault = ""
        """Why it is not reachable."""

    def __str__(self) -> str:
        host, port = self.flow.remote
        return f"{bracketed(host)}:{port}"


class TargetState:
    """One address as the operator wrote it, and the ways that its name leads to."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.fault = ""
        """Why its name leads nowhere, or could not be looked up."""
        self.ways: dict[Way, WayState] = {}
        self._servers: tuple[Server, ...] = ()

    def lead_to(self, servers: Sequence[Server], flow_of: Callable[[Way], Flow]) -> None:
        """What its name leads to now. What is known of ways that stay is kept."""
        self.fault = ""
        before, self.ways = self.ways, {}
        for server in servers:
            for way in server.ways:
                self.ways[way] = before.get(way) or WayState(flow_of(way), server.rank)
                self.ways[way].rank = server.rank
        self._servers = tuple(servers)

    def lead_nowhere(self) -> None:
        self._servers, self.ways = (), {}

    @property
    def reachable(self) -> bool | None:
        """Whether any way leads there; None while nothing is known."""
        known = {way.reachable for way in self.ways.values()}
        if True in known:
            return True
        return None if None in known or not (known or self.fault) else False

    def drawn(self, ids: Ids) -> list[WayState]:
        """Its ways in the order to try them: by priority and lot."""
        return [self.ways[way] for way in dict.fromkeys(arranged(self._servers, ids))]


class TrunkState:
    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk
        self.targets = [TargetState(address) for address in trunk.targets]
        self.registration: Registration = "trying" if trunk.register else "off"
        self.registered_by: Flow | None = None
        """The way by which it is registered."""
        self.route: tuple[str, ...] = ()
        """What calls are to be routed by, as the registrar says (RFC 3608)."""
        self.entry: list[WayState] = []
        """Where that route begins, when it is not with the trunk's own targets."""
        self.fault = ""
        """Why it is not registered, with the remedy."""
        self._told: tuple[int, str] | None = None

    @property
    def up(self) -> bool:
        """Calls can be expected to work: nothing is known to be wrong."""
        return self.registration in ("off", "registered") and any(one.reachable is not False for one in self.targets)

    def usable(self, ids: Ids) -> list[Flow]:
        """Where to send a call, best first; the ways that do not answer come last, as they may be back."""
        drawn = [*self.entry, *(way for target in self.targets for way in target.drawn(ids))]
        return list(dict.fromkeys(way.flow for way in sorted(drawn, key=lambda way: way.reachable is False)))

    def registrars(self, ids: Ids) -> list[Flow]:
        """Where to register, best first; but no move to what is only as good as where we are."""
        drawn = [
            (way.reachable is False, place, way.rank, way.flow)
            for place, target in enumerate(self.targets)
            for way in target.drawn(ids)
        ]
        # The sort keeps the lot's order among those that are otherwise alike.
        drawn.sort(key=lambda entry: (*entry[:3], entry[3] != self.registered_by))
        return list(dict.fromkeys(entry[3] for entry in drawn))

    def registered(self, expires_s: int, flow: Flow | None, route: tuple[str, ...]) -> Note | None:
        new = self.registration != "registered" or flow != self.registered_by
        self.registration, self.fault, self._told = "registered", "", None
        self.registered_by = flow
        if route != self.route:
            self.route, self.entry = route, []
        if not new:
            return None
        by = {"target": str(WayState(flow, ()))} if flow is not None else {}
        return self._note("info", "trunk.registered", expires_s=expires_s, **by)

    def not_registered(self, status: int, reason: str, retry_in_s: float) -> Note | None:
        event, remedy = self._explain(status, reason)
        self.registration, self.fault = "failed", f"{status} {reason}: {remedy}"
        self.registered_by = None
        told, self._told = self._told, (status, reason)
        if told == self._told:
            return None
        facts = {"status": status, "reason": reason, "remedy": remedy, "retry_in_s": round(retry_in_s, 1)}
        return self._note("error", event, **facts)

    def _explain(self, status: int, reason: str) -> tuple[str, str]:
        trunk = self.trunk
        secret = trunk.password_env or trunk.password_file
        if status in (401, 407) and secret is None:
            return "trunk.credentials_missing", "the registrar asks for a password: set password_env or password_file"
        if status in (401, 403, 407):
            return "trunk.credentials_refused", f"check username, auth_username, and the password in {secret}"
        if status in (404, 410):
            return "trunk.unknown_account", f"the registrar knows no {trunk.username!r}: check username and domain"
        if status in USELESS:
            return "trunk.registrar_unreachable", self._check_the_ways()
        return "trunk.registration_refused", "ask the provider; its reason stands beside this"

    def _check_the_ways(self) -> str:
        tried = ", ".join(str(way) for target in self.targets for way in target.ways.values())
        return f"check host, port, transport ({self.trunk.transport} to {tried}), and the firewall"

    def probed(self, way: WayState, status: int, round_trip_s: float, reason: str) -> Note | None:
        alive = status not in USELESS
        way.round_trip_s = round_trip_s if alive else None
        way.fault = "" if alive else "silent" if status == SILENCE else reason
        before, way.reachable = way.reachable, alive
        if alive == before:
            return None
        if alive:
            return self._note("info", "trunk.reachable", target=str(way))
        remedy = f"check host, port, transport ({way.flow.transport} to {way}), and the firewall"
        return self._note("warning", "trunk.unreachable", target=str(way), reason=reason, remedy=remedy)

    def unresolved(self, target: TargetState, reason: str, *, gone: bool) -> Note | None:
        """Its name leads nowhere (`gone`), or nobody could tell; then what it led to last may serve on (RFC 8767)."""
        if gone:
            target.lead_nowhere()
        before, target.fault = target.fault, f"{target.address} cannot be looked up ({reason}): check host and DNS"
        if before:
            return None
        return self._note("warning", "trunk.unresolved", target=str(target.address), remedy=target.fault)

    def resolved(self, target: TargetState, servers: Sequence[Server], flow_of: Callable[[Way], Flow]) -> Note | None:
        before = target.fault
        target.lead_to(servers, flow_of)
        if not before:
            return None
        found = [str(way) for way in target.ways.values()]
        return self._note("info", "trunk.resolved", target=str(target.address), found=found)

    def faults(self) -> Iterator[str]:
        """All that is wrong now, with its remedy."""
        if self.fault:
            yield self.fault
        yield from (target.fault for target in self.targets if target.fault)

    def _note(self, level: Level, event: str, **facts: Any) -> Note:
        return Note(level, event, {"trunk": self.trunk.name, **facts})
