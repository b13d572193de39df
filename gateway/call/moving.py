"""A call that moves on to another peer: the caller's side referred us there (RFC 3515), or somebody came in its place
(RFC 3891). The conversation stays as it is; only who is at the other end changes."""

from __future__ import annotations

from typing import Literal

from gateway.call import commands as c
from gateway.core import events as e

_STATUS: dict[e.EndReason, int] = {"busy": 486, "no_answer": 480, "rejected": 603, "unreachable": 503}
_OUTCOME: dict[e.EndReason, Literal["busy", "no_answer", "rejected", "unreachable"]] = {
    "busy": "busy",
    "no_answer": "no_answer",
    "rejected": "rejected",
}


class Moving:
    """One move at a time, and none while the dialplan transfers its caller.

    `left` is how the old line ended, where it did not wait for the new one.
    """

    def __init__(self, call_id: str) -> None:
        self._id = call_id
        self.under_way = False
        self.left: c.LineEnded | None = None

    def outlives(self, ended: c.LineEnded) -> bool:
        """Whether the call goes on although its line has ended: many say goodbye before their transfer has come off."""
        return self.under_way and self.left is None and ended.by == "caller"

    def handle(self, received: c.AnyInput, now: float, *, may: bool) -> list[c.AnyCommand]:
        """`may`: the call is up, and its caller is not just sent elsewhere."""
        match received:
            case c.TransferAsked() if self.under_way or not may:
                return [c.AnswerTransfer(491 if self.under_way else 603)]
            case c.TransferAsked(to=to, replaces=replaces, referred_by=referred_by):
                self.under_way = True
                started = c.Record(e.TransferStarted(now, self._id, "move", to, "caller"))
                return [started, c.AnswerTransfer(202), c.CallSuccessor(to, replaces, referred_by)]
            case c.SuccessorRang(status=status) if self.under_way:
                return [c.Record(progress(received, now, self._id)), c.ReportTransfer(status)]
            case c.SuccessorEnded(reason=reason) if self.under_way:
                self.under_way = False
                ended = e.TransferEnded(now, self._id, _OUTCOME.get(reason, "unreachable"))
                tell = c.ReportTransfer(_STATUS.get(reason, 503))
                return [c.Record(progress(received, now, self._id)), c.Record(ended), tell]
            case c.LineMoved(by=by, codec=codec, caller=caller):
                out: list[c.AnyCommand] = [c.Record(e.CallMoved(now, self._id, by, codec, caller))]
                if self.under_way:
                    out.append(c.Record(e.TransferEnded(now, self._id, "moved")))
                self.under_way, self.left = False, None
                return out
            case c.LineEnded():
                self.left = received
                return []
            case _:
                return []

    def close(self, now: float) -> list[c.AnyCommand]:
        """The call is over, whatever was under way."""
        if not self.under_way:
            return []
        self.under_way = False
        return [c.Record(e.TransferEnded(now, self._id, "left"))]


def progress(received: c.AnyInput, now: float, call: str) -> e.TransferProgressed:
    """A step of a transfer, for the log."""
    match received:
        case c.TransferTold(status=status, refused=refused):
            return e.TransferProgressed(now, call, "referred", status, refused=refused)
        case c.TargetRang(status=status):
            return e.TransferProgressed(now, call, "target", status)
        case c.TargetAnswered():
            return e.TransferProgressed(now, call, "target", 200)
        case c.TargetEnded(reason=reason):
            return e.TransferProgressed(now, call, "target", 0, reason)
        case c.SuccessorRang(status=status):
            return e.TransferProgressed(now, call, "successor", status)
        case c.SuccessorEnded(reason=reason):
            return e.TransferProgressed(now, call, "successor", 0, reason)
        case _:
            raise TypeError(f"{type(received).__name__} is no step of a transfer")
