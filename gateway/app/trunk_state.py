"""What is known of each trunk: registered or not, which targets answer, and what an operator should be told of it.

Sans-IO. Something is told when it changes, not each time it is found to be so still.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from gateway.app.trunk_config import Address, Trunk
from gateway.sip.flow import Flow

Registration: TypeAlias = Literal["off", "trying", "registered", "failed"]
Level: TypeAlias = Literal["info", "warning", "error"]

USELESS = (408, 503)
"""Answers to a probe that are none: silence, and a peer (or a transport) that can do nothing for us."""


class Note(msgspec.Struct, frozen=True):
    """A line for the log."""

    level: Level
    event: str
    facts: dict[str, Any]


class TargetState:
    """One address that a trunk can be reached by. `reachable` None: not known yet."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.flow: Flow | None = None
        self.reachable: bool | None = None
        self.round_trip_s: float | None = None


class TrunkState:
    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk
        self.targets = [TargetState(address) for address in trunk.targets]
        self.registration: Registration = "trying" if trunk.register else "off"
        self.fault = ""
        """Why it is not registered, with the remedy."""
        self._told: int | None = None

    @property
    def up(self) -> bool:
        """Calls can be expected to work: nothing is known to be wrong."""
        return self.registration in ("off", "registered") and any(one.reachable is not False for one in self.targets)

    def usable(self) -> list[TargetState]:
        """Where to send a call, best first; those that do not answer come last, as they may be back."""
        reached = [one for one in self.targets if one.flow is not None]
        return sorted(reached, key=lambda one: one.reachable is False)

    def registered(self, expires_s: int) -> Note | None:
        new = self.registration != "registered"
        self.registration, self.fault, self._told = "registered", "", None
        return self._note("info", "trunk.registered", expires_s=expires_s) if new else None

    def not_registered(self, status: int, reason: str, retry_in_s: float) -> Note | None:
        event, remedy = self._explain(status)
        self.registration, self.fault = "failed", f"{status} {reason}: {remedy}"
        told, self._told = self._told, status
        if told == status:
            return None
        facts = {"status": status, "reason": reason, "remedy": remedy, "retry_in_s": round(retry_in_s, 1)}
        return self._note("error", event, **facts)

    def _explain(self, status: int) -> tuple[str, str]:
        trunk = self.trunk
        secret = trunk.password_env or trunk.password_file
        if status in (401, 407) and secret is None:
            return "trunk.credentials_missing", "the registrar asks for a password: set password_env or password_file"
        if status in (401, 403, 407):
            return "trunk.credentials_refused", f"check username, auth_username, and the password in {secret}"
        if status in (404, 410):
            return "trunk.unknown_account", f"the registrar knows no {trunk.username!r}: check username and domain"
        if status in USELESS:
            return "trunk.registrar_unreachable", self._check_the_way(self.targets[0])
        return "trunk.registration_refused", "ask the provider; its reason stands beside this"

    def _check_the_way(self, target: TargetState) -> str:
        tls = ", and its certificate" if self.trunk.transport == "tls" else ""
        return f"check host, port, transport ({self.trunk.transport} to {target.address}){tls}, and the firewall"

    def probed(self, target: TargetState, status: int, round_trip_s: float) -> Note | None:
        alive = status not in USELESS
        target.round_trip_s = round_trip_s if alive else None
        return self._seen(target, alive, self._check_the_way(target))

    def unresolved(self, target: TargetState, reason: str) -> Note | None:
        """Its name leads nowhere."""
        target.flow = None
        return self._seen(target, False, f"{target.address.host} cannot be looked up ({reason}): check host and DNS")

    def _seen(self, target: TargetState, alive: bool, remedy: str) -> Note | None:
        before, target.reachable = target.reachable, alive
        if alive == before:
            return None
        address = str(target.address)
        if alive:
            return self._note("info", "trunk.reachable", target=address)
        return self._note("warning", "trunk.unreachable", target=address, remedy=remedy)

    def _note(self, level: Level, event: str, **facts: Any) -> Note:
        return Note(level, event, {"trunk": self.trunk.name, **facts})
