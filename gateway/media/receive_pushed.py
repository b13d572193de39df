"""The audio of legs without packets (of calls that are played again from their recording): pushed piece by piece, taken
in by all of a tick at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.media.coded_stream import CodedPacket
from gateway.media.history import FRAME
from gateway.media.jitter import CELL, JitterBuffer
from gateway.media.legs import Leg, LegTable
from gateway.media.ports import Int64s
from gateway.media.receive_coded import in_rounds
from gateway.media.record import Int16s
from gateway.media.wide_receive import WideReceiver


class _Pushed(NamedTuple):
    leg: Leg
    timestamp: int
    pcm: Int16s
    at: float


class PushedReceiver:
    def __init__(self, table: LegTable, jitter: JitterBuffer, wide: WideReceiver) -> None:
        self._table, self._jitter, self._wide = table, jitter, wide
        self._waiting: list[_Pushed] = []

    def push(self, leg: Leg, pcm: Int16s, now: float) -> None:
        """20 ms at 8 or 16 kHz, for the next `take`."""
        self._waiting.append(_Pushed(leg, leg.pushed & 0xFFFFFFFF, pcm, now))
        leg.pushed += FRAME
        self._table.last_media[leg.row] = now

    def take(self) -> None:
        """Into the jitter buffer with what was pushed, as if it had come in packets."""
        if not self._waiting:
            return
        pushed = [one for one in self._waiting if self._table.by_row[one.leg.row] is one.leg]  # not of legs that ended
        self._waiting.clear()
        if not pushed:
            return
        for chosen in in_rounds(np.array([one.leg.row for one in pushed])):
            part = pushed if chosen is None else [pushed[k] for k in chosen]
            self._narrow([one for one in part if len(one.pcm) == FRAME])
            self._coded([one for one in part if len(one.pcm) != FRAME])

    def _narrow(self, pushed: list[_Pushed]) -> None:
        if pushed:
            timestamps = np.array([one.timestamp for one in pushed])
            self._jitter.insert(_rows(pushed), timestamps, np.stack([one.pcm for one in pushed]))

    def _coded(self, pushed: list[_Pushed]) -> None:
        if pushed:
            packets = [CodedPacket(one.leg.row, "L16", 0, one.timestamp, one.pcm.tobytes(), one.at) for one in pushed]
            self._wide.insert(_rows(pushed), packets, FRAME // CELL)


def _rows(pushed: list[_Pushed]) -> Int64s:
    return np.array([one.leg.row for one in pushed], np.int64)
