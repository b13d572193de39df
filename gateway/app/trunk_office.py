"""The trunks as the HTTP office shows them, and calls out through them."""

from __future__ import annotations

from gateway.app.outbound import Outbound
from gateway.app.trunk_state import TargetState, TrunkState
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
            targets=tuple(_target(target) for target in state.targets),
            calls=self._trunks.book.live(state.trunk.name),
            max_calls=state.trunk.max_calls,
            fault=state.fault,
        )


def _target(target: TargetState) -> TargetInfo:
    seconds = target.round_trip_s
    return TargetInfo(str(target.address), target.reachable, round(seconds * 1000, 1) if seconds is not None else None)
