"""How a call is transferred: blind, attended, or by a bridge through us, step by step as the dialplan waits for it.

Coroutines that yield `Request`s, like every step of a dialplan. When the caller hangs up they are closed where they
stand, and the call's release ends whatever they had begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, TypeVar, cast

from gateway.call import commands as c
from gateway.call.request import Request
from gateway.core import events as e
from gateway.dialplan.control import TransferFailure, TransferStep

REFER_WITHIN_S = 15.0
"""How long the caller's telephone may take to join the target; they hear each other meanwhile."""
LAST_WORD_WITHIN_S = 4.0
"""How long its last word may come after the target has left us for it."""

Outcome: TypeAlias = Literal["connected", "finished"] | TransferFailure
Ended = TypeVar("Ended", bound=Outcome)
Note: TypeAlias = Callable[[float, str], e.AnyEvent]
"""An event but for its moment and its call."""


class Desk(Protocol):
    """What a transfer needs of the call's control."""

    now: float

    def note(self, note: Note) -> None: ...


async def transfer(desk: Desk, step: TransferStep) -> Outcome:
    """The other party has the caller (`connected`), had them (`finished`), or why not."""
    desk.note(lambda at, call: e.TransferStarted(at, call, step.mode, step.to, "bot"))
    outcome: Outcome | Literal["left"] = "left"
    try:
        outcome = result = await _WAYS[step.mode](desk, step)
        return result
    finally:
        ended = outcome
        desk.note(lambda at, call: e.TransferEnded(at, call, ended))


async def _blind(desk: Desk, step: TransferStep) -> Outcome:
    told = await _referred(desk, c.ReferCaller(step.to), within_s=step.ring_s)
    if told is None:
        return "no_answer"
    if told.refused:
        return await _bridge(desk, step) if step.bridge_if_refused else "refused"
    return "connected" if told.status < 300 else failure_of(told.status)


async def _referred(desk: Desk, refer: c.ReferCaller, *, within_s: float) -> c.TransferTold | None:
    """The last word on it; None when it did not come in time."""
    return await _last_word(desk, (refer,), desk.now + within_s)


async def _last_word(desk: Desk, commands: tuple[c.AnyCommand, ...], due: float) -> c.TransferTold | None:
    while True:
        told = await Request(commands, until=c.TransferTold, seconds=max(0.0, due - desk.now))
        if told is None or told.refused or told.status >= 200:
            return cast("c.TransferTold | None", told)
        commands = ()


async def _bridge(desk: Desk, step: TransferStep) -> Outcome:
    failed = await _reach(desk, step)
    if failed is not None:
        return failed
    await Request((c.Quieten(), c.JoinTarget()), until=c.TargetEnded)
    return await _finish("finished")


async def _attended(desk: Desk, step: TransferStep) -> Outcome:
    """The target's telephone is off the hook: caller and target talk through us until they do without us."""
    failed = await _reach(desk, step)
    if failed is not None:
        return failed
    due = desk.now + REFER_WITHIN_S
    commands: tuple[c.AnyCommand, ...] = (c.Quieten(), c.JoinTarget(), c.ReferCaller(attended=True))
    while True:
        news = await Request(commands, until=(c.TransferTold, c.TargetEnded), seconds=max(0.0, due - desk.now))
        commands = ()
        match news:
            case c.TargetEnded():
                # With or without our caller; the peer's last word says which.
                last = await _last_word(desk, (), desk.now + LAST_WORD_WITHIN_S)
                return "connected" if last is not None and last.succeeded else await _finish("finished")
            case c.TransferTold() if news.succeeded:
                return "connected"
            case c.TransferTold(status=status, refused=refused) if not refused and status < 200:
                continue
            case _ if step.bridge_if_refused:
                await Request((), until=c.TargetEnded)
                return await _finish("finished")
            case _:
                return await _finish("refused")


async def _reach(desk: Desk, step: TransferStep) -> TransferFailure | None:
    """Call the target while the caller is entertained; None when it has answered."""
    due = desk.now + step.ring_s
    commands: tuple[c.AnyCommand, ...] = (c.Entertain(step.music), c.CallTarget(step))
    while True:
        until = (c.TargetRang, c.TargetAnswered, c.TargetEnded)
        news = await Request(commands, until=until, seconds=max(0.0, due - desk.now))
        commands = ()
        match news:
            case c.TargetRang():
                continue
            case c.TargetAnswered():
                return None
            case c.TargetEnded(reason=reason):
                return await _finish(_failure(reason))
            case _:
                return await _finish("no_answer")


async def _finish(outcome: Ended) -> Ended:
    """The caller is ours again."""
    await Request((c.Quieten(), c.DropTarget()), seconds=0.0)
    return outcome


_WAYS = {"blind": _blind, "attended": _attended, "bridge": _bridge}
_FAILURES: dict[e.EndReason, TransferFailure] = {
    "busy": "busy",
    "no_answer": "no_answer",
    "rejected": "rejected",
    "hangup": "rejected",
}


def _failure(reason: e.EndReason) -> TransferFailure:
    return _FAILURES.get(reason, "unreachable")


def failure_of(status: int) -> TransferFailure:
    """What a target's refusal means, whoever heard it."""
    match status:
        case 486 | 600:
            return "busy"
        case 408 | 480 | 487:
            return "no_answer"
        case 404 | 410 | 484 | 502 | 503 | 504 | 604:
            return "unreachable"
        case _:
            return "rejected"
