"""A transfer that an operator orders, from outside the dialplan: blind, and beside whatever the bot is doing.

The bot talks on until the caller has gone; if they do not go, nothing has happened to them.
"""

from __future__ import annotations

from gateway.call import commands as c
from gateway.call.transferring import failure_of
from gateway.core import events as e

WITHIN_S = 60.0
"""How long the peer may take for its last word."""


class Ordered:
    def __init__(self, call_id: str) -> None:
        self._id = call_id
        self.due: float | None = None
        """When the peer's last word is missing; None while nothing is ordered."""

    def begin(self, to: str, now: float) -> list[c.AnyCommand]:
        self.due = now + WITHIN_S
        return [c.Record(e.TransferStarted(now, self._id, "blind", to, "gateway")), c.ReferCaller(to)]

    def told(self, told: c.TransferTold, now: float) -> list[c.AnyCommand]:
        """`connected` is the end of the call; after any other end it goes on."""
        if not told.refused and told.status < 200:
            return []
        if told.refused:
            return self.end("refused", now)
        return self.end("connected" if told.status < 300 else failure_of(told.status), now)

    def end(self, outcome: e.TransferOutcome, now: float) -> list[c.AnyCommand]:
        if self.due is None:
            return []
        self.due = None
        return [c.Record(e.TransferEnded(now, self._id, outcome))]
