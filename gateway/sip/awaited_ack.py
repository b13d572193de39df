"""A 2xx to an INVITE, repeated by the user agent itself until its ACK comes (RFC 3261 13.3.1.4)."""

from __future__ import annotations

from typing import Protocol

from gateway.sip.core import Core
from gateway.sip.timers import Timer
from gateway.sip.transaction import ServerTransaction, TimerOwner


class Waiting(Protocol):
    def ack_missing(self, awaited: AwaitedAck) -> None: ...


class AwaitedAck:
    """`offered` says that the 2xx carried our offer, so that the ACK must carry the answer."""

    __slots__ = ("_core", "_give_up", "_interval", "_repeat", "_transaction", "_waiting", "cseq", "offered")

    def __init__(self, core: Core, waiting: Waiting, transaction: ServerTransaction, *, offered: bool) -> None:
        self._core = core
        self._waiting = waiting
        self._transaction = transaction
        self.cseq = transaction.request.cseq.number
        self.offered = offered
        timing = core.options.timing
        self._interval = timing.t1
        self._repeat: Timer[TimerOwner] = core.timers.start(core.now + timing.t1, self, "repeat")
        self._give_up = core.timers.start(core.now + timing.patience, self, "give up")

    def on_timer(self, name: str, now: float) -> None:
        if name == "give up":
            self.stop()
            self._waiting.ack_missing(self)
            return
        # On a stream too: a hop behind the next one may be a datagram's.
        self._core.transmit(self._transaction.way, self._transaction.last)
        self._interval = min(self._interval * 2, self._core.options.timing.t2)
        self._repeat = self._core.timers.start(now + self._interval, self, "repeat")

    def stop(self) -> None:
        self._core.timers.stop(self._repeat)
        self._core.timers.stop(self._give_up)
