"""The trunks as the HTTP office shows them, and calls out through them."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.app.outbound import Outbound
from gateway.app.trunk_state import TargetState, TrunkState, WayState
from gateway.app.trunks import Trunks
from gateway.ops.ports import TargetInfo, TrunkInfo


class TrunkOffice:
    def __init__(self, trunks: Trunks, outbound: Outbound) -> None:
        self._trunks = trunks
        self.place_call = outbound.place

    def list(self) -> list[TrunkInfo]:
        return [self._info(state) for state in self._trunks.states.values()]

    def _info(self, state: TrunkState) -> TrunkInfo:
        return TrunkInfo(
            name=state.trunk.name,
            up=state.up,
            registration=state.registration,
            transport=state.trunk.transport,
            targets=tuple(info for target in state.targets for info in _targets(target)),
            calls=self._trunks.book.live(state.trunk.name),
            max_calls=state.trunk.max_calls,
            fault="; ".join(state.faults()),
            registered_at=str(WayState(state.registered_by, ())) if state.registered_by else "",
        )


def _targets(target: TargetState) -> Iterator[TargetInfo]:
    """Each address that a name leads to; the name itself when it leads nowhere."""
    name = "" if target.address.is_literal else str(target.address)
    if not target.ways:
        yield TargetInfo(name or str(target.address), target.reachable, fault="no address" if target.fault else "")
    for way in target.ways.values():
        seconds = way.round_trip_s
        round_trip_ms = round(seconds * 1000, 1) if seconds is not None else None
        yield TargetInfo(str(way), way.reachable, round_trip_ms, name, way.fault)
