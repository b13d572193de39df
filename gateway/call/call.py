"""One call: a line, a dialplan that runs on it, and the rules that hold whatever the dialplan does.

`Call` is sans-IO. The dialplan is a coroutine that yields `Request`s; the call carries their commands out through
its shell and resumes the coroutine when the awaited input or moment has come.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeAlias

import msgspec

from gateway.call import commands as c
from gateway.call.control import Control
from gateway.call.moving import Moving, progress
from gateway.call.ordered import Ordered
from gateway.call.request import Request
from gateway.core import events as e
from gateway.core.errors import GatewayError, MisuseError

Program: TypeAlias = Callable[[Control, Callable[[str], None]], Coroutine[Any, Any, None]]
"""The dialplan bound to its plan and start: takes the control and `on_step`, gives the coroutine to drive."""

LineState: TypeAlias = Literal["offered", "answering", "up", "ended"]


class CallOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits that no dialplan can lift."""

    max_s: float = 3600.0
    """The longest call, from its offer to its end."""
    voice_gain_db: float = 0.0
    """How much louder than its engine the bot speaks, in decibels."""
    line_lost_after_s: float = 20.0
    """How long a line may carry no media at all, after it was noticed, before the call ends with its session kept.
    One on hold may for as long as it likes."""


class Resumption(msgspec.Struct, frozen=True):
    """What a call back brings with it: the dialplan position it takes up, and how long the caller was away."""

    session: str
    step: str
    away_s: float


class Call:
    """`handle` and `on_deadline` take the moment and return what to do. After `Release` every input is ignored."""

    def __init__(
        self,
        call_id: str,
        control: Control,
        program: Program,
        *,
        options: CallOptions,
        resumption: Resumption | None = None,
    ) -> None:
        self.id = call_id
        self.line: LineState = "offered"
        self.line_is_silent = False
        self.step = resumption.step if resumption else ""
        self._control = control
        self._options = options
        self._out: list[c.AnyCommand] = []
        self._now = 0.0
        self._program = program(control, self._step_entered)
        self._waiting: Request | None = None
        self._wakes_at: float | None = None
        self._ends_at: float | None = None
        self._lost_at: float | None = None
        self._held = False
        self._moving = Moving(call_id)
        self._ordered = Ordered(call_id)
        if resumption:
            control.resumed_away_s = resumption.away_s

    def start(self, now: float) -> list[c.AnyCommand]:
        """The call was offered and admitted: run the dialplan up to its first wait."""
        self._now = now
        self._ends_at = now + self._options.max_s
        self._resume(None)
        return self._take()

    def handle(self, received: c.AnyInput, now: float) -> list[c.AnyCommand]:
        self._now = now
        if self.line == "ended":
            return []
        match received:
            case c.LineEnded(reason=reason, by=by) if not self._moving.outlives(received):
                self._finish(reason, by)
            case c.Stop(reason=reason, by=by):
                self._hang_up(reason, by)
            case c.LineHeld(on=on):
                self._hold(on)
            case c.LineSilent(on=on):
                self.line_is_silent = on
                self._watch_for_media()
            case c.LineAnswered(codec=codec) if self.line == "answering":
                self.line = "up"
                self._watch_for_media()
                self._record(e.CallAnswered(now, self.id, codec))
                self._answer_request(received)
            case c.TransferOrdered(to=to) if self.may_be_transferred:
                self._out += self._ordered.begin(to, now)
            case c.TransferTold() if self._ordered.due is not None:
                self._record(progress(received, now, self.id))
                self._out += self._ordered.told(received, now)
                if received.succeeded:
                    self._hang_up("transferred", "gateway")
            case c.TransferTold() | c.TargetRang() | c.TargetAnswered() | c.TargetEnded():
                self._record(progress(received, now, self.id))
                self._answer_request(received)
            case c.TransferAsked() | c.SuccessorRang() | c.SuccessorEnded() | c.LineMoved() | c.LineEnded():
                self._move(received)
            case _:
                self._answer_request(received)
        return self._take()

    @property
    def may_be_transferred(self) -> bool:
        """It is up, and nobody is just sending it elsewhere."""
        under_way = self._control.transferring or self._moving.under_way or self._ordered.due is not None
        return self.line == "up" and not under_way

    def _hold(self, on: bool) -> None:
        if on != self._held:
            self._held = on
            self._watch_for_media()
            self._record(e.CallHeld(self._now, self.id) if on else e.CallRetrieved(self._now, self.id))

    def _move(self, received: c.AnyInput) -> None:
        """Somebody is to take the caller's place, or has."""
        self._out += self._moving.handle(received, self._now, may=self.may_be_transferred)
        match received:
            case c.LineEnded():
                # Nobody is there until the successor is.
                self._hold(True)
            case c.LineMoved(caller=caller):
                self._hold(False)
                if caller:
                    self._control.meet(caller)
            case c.SuccessorEnded() if (left := self._moving.left) is not None:
                self._finish(left.reason, left.by)
            case _:
                pass

    def next_deadline(self) -> float | None:
        if self.line == "ended":
            return None
        deadlines = (self._wakes_at, self._ends_at, self._gives_up_at, self._ordered.due)
        return min((due for due in deadlines if due is not None), default=None)

    def on_deadline(self, now: float) -> list[c.AnyCommand]:
        self._now = now
        if self.line == "ended":
            return []
        if self._ends_at is not None and now >= self._ends_at:
            self._hang_up("limit", "gateway")
        elif self._gives_up_at is not None and now >= self._gives_up_at:
            self._hang_up("line_lost", "caller")
        elif self._ordered.due is not None and now >= self._ordered.due:
            self._out += self._ordered.end("no_answer", now)
        elif self._wakes_at is not None and now >= self._wakes_at:
            self._resume_after_wait()
        return self._take()

    def _watch_for_media(self) -> None:
        """A dead line is given up; but one that still rings, or is held, need carry nothing."""
        lost = self.line_is_silent and self.line == "up" and not self._held
        self._lost_at = self._now + self._options.line_lost_after_s if lost else None

    @property
    def _gives_up_at(self) -> float | None:
        """When a silent line ends the call; not while somebody is called who is to take its place."""
        return None if self._moving.under_way else self._lost_at

    def _answer_request(self, received: c.AnyInput) -> None:
        if self._waiting is not None and self._waiting.until and isinstance(received, self._waiting.until):
            self._out += self._waiting.after
            self._resume(received)

    def _resume_after_wait(self) -> None:
        if self._waiting is None:
            raise MisuseError("a deadline without a waiting step")
        self._out += self._waiting.after
        self._resume(None)

    def _resume(self, result: c.AnyInput | None) -> None:
        """Run the dialplan until it waits again, ends, or breaks. A broken action costs its call, politely."""
        self._waiting = self._wakes_at = None
        self._control.now = self._now
        try:
            request = self._program.send(result)
        except StopIteration:
            self._hang_up("hangup", "bot")
            return
        except GatewayError as error:
            self._break(type(error).__name__, str(error))
            return
        except Exception as error:  # an action is anybody's code: whatever it raises ends this call alone
            self._break("internal", f"{type(error).__name__}: {error}")
            return
        self._record_noted()
        self._begin(request)

    def _begin(self, request: Request) -> None:
        for command in request.commands:
            if isinstance(command, c.Release):
                self._finish(command.reason, command.by)
                return
            self._out.append(command)
            if isinstance(command, c.AnswerLine):
                self.line = "answering"
        self._waiting = request
        if request.seconds is not None:
            self._wakes_at = self._now + request.seconds

    def _break(self, code: str, message: str) -> None:
        self._record(e.ErrorOccurred(self._now, self.id, code, f"step {self.step}: {message}"))
        self._hang_up("error", "gateway")

    def _hang_up(self, reason: e.EndReason, by: e.Side) -> None:
        unanswered = self.line == "offered"
        self._out.append(c.RejectLine(503 if reason == "shutdown" else 480) if unanswered else c.HangUpLine())
        self._finish(reason, by)

    def _finish(self, reason: e.EndReason, by: e.Side) -> None:
        self._end_program()
        self._out.append(c.Release(reason, by))

    def _end_program(self) -> None:
        """What the dialplan was in the midst of ends first, and says so."""
        self.line = "ended"
        self._waiting = self._wakes_at = None
        self._program.close()
        self._record_noted()
        self._out += self._moving.close(self._now) + self._ordered.end("left", self._now)

    def _step_entered(self, position: str) -> None:
        self.step = position
        self._record(e.StepEntered(self._now, self.id, position))

    def _record_noted(self) -> None:
        for note in self._control.take_noted():
            self._record(note(self._now, self.id))

    def _record(self, event: e.AnyEvent) -> None:
        self._out.append(c.Record(event))

    def _take(self) -> list[c.AnyCommand]:
        out, self._out = self._out, []
        return out
