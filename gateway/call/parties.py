"""Who is on the lines of a call: its caller, and while it is transferred a target or a successor as well.

The shell of transfers: the machine says what it wants (`gateway.call.transferring`, `gateway.call.moving`), this keeps
the lines. Each line sits in a seat, and what it tells means what the seat says it does: a target's hang-up is not the
caller's, and whoever has left tells nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Literal, TypeAlias

import structlog

from gateway.call import commands as c
from gateway.call.ports import Dial, Incoming, Line, LineFactory, Placing, SuccessorFactory, Tell
from gateway.core import events as e
from gateway.core.errors import GatewayError, PeerError
from gateway.core.loops import Latch
from gateway.media import commands as media
from gateway.media.ports import MediaControl, Said

log = structlog.get_logger()

LEAVES_WITHIN_S = 3.0
"""How long a peer that handed us on may take to say goodbye, before we do."""

Role: TypeAlias = Literal["caller", "target", "successor", "leaving"]
Told: TypeAlias = c.AnyInput | e.DigitPressed


class Seat:
    """`arrives` is set while a new caller has not confirmed that it is there, and says how it came."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.line: Line | None = None
        """None until the way there is known."""
        self.arrives: Literal["refer", "replaces"] | None = None
        self.who = ""
        self.left: Latch[bool] = Latch()

    def leave(self) -> None:
        self.role = "leaving"
        if self.line is not None:
            self.line.hang_up()
            self.line.release()


class Parties:
    """`tell` is told what the call's machine is to know, `hear` the keys that are for the conversation."""

    def __init__(
        self,
        call_id: str,
        incoming: Incoming,
        *,
        control: MediaControl,
        dial: Dial,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        tell: Callable[[c.AnyInput], None],
        hear: Callable[[e.DigitPressed], None],
        read: Callable[[str], bool],
    ) -> None:
        """`read` says whether a text of the caller's was taken."""
        self._id, self._trunk = call_id, incoming.trunk
        self._control, self._dial, self._spawn, self._tell, self._hear = control, dial, spawn, tell, hear
        self._read = read
        self._numbers = count(2)
        self._caller = Seat("caller")
        self._target: Seat | None = None
        self._target_leg = ""
        self._successor: Seat | None = None
        self.joined = False
        """Caller and target hear each other, and nobody else."""

    def open(self, line: LineFactory, record: str | None, trace: str | None) -> None:
        self._caller.line = line(self._id, self._tell_from(self._caller), record, trace)

    @property
    def line(self) -> Line:
        """The caller's."""
        assert self._caller.line is not None, "a call begins with a line"
        return self._caller.line

    @property
    def dialog(self) -> str:
        """The handle of the caller's dialog; "" where there is none."""
        referral = self.line.referral
        return referral.dialog if referral is not None else ""

    def release(self) -> None:
        """The call is over, for everybody."""
        self.drop_target()
        self._drop_successor()
        self.line.release()

    # What the machine wants

    def refer(self, to: str, *, attended: bool) -> None:
        target = self._target.line.referral if attended and self._target and self._target.line else None
        referral = self.line.referral
        if referral is None or (attended and target is None):
            self._tell(c.TransferTold(405, refused=True))
        else:
            referral.refer(to, target.dialog if target is not None else "")

    def call_target(self, order: c.CallTarget) -> None:
        self.drop_target()
        step = order.step
        seat = self._target = Seat("target")
        trunk = step.trunk or ("" if ":" in step.to else self._trunk)
        placing = Placing(step.to, trunk, step.caller, step.ring_s)
        self._spawn(self._seat_target(seat, placing))

    def drop_target(self) -> None:
        seat, self._target = self._target, None
        if seat is not None:
            self._part()
            seat.leave()
            self._control.unsubscribe(self._target_leg)

    def join(self) -> None:
        if self._target is not None:
            self.joined = True
            self._control.send(media.Bridge(self._id, self._target_leg))

    def call_successor(self, order: c.CallSuccessor) -> None:
        self._drop_successor()
        seat = self._successor = Seat("successor")
        seat.arrives, seat.who = "refer", number_in(order.to)
        headers = (("Replaces", order.replaces), ("Referred-By", order.referred_by))
        given = tuple((name, value) for name, value in headers if value)
        self._spawn(self._seat_successor(seat, Placing(order.to, self._trunk, headers=given)))

    def answer_transfer(self, status: int) -> None:
        if (referral := self.line.referral) is not None:
            referral.answer_transfer(status)

    def report_transfer(self, status: int) -> None:
        if (referral := self.line.referral) is not None:
            referral.report_transfer(status)

    # Somebody takes the caller's place

    def replace_caller(self, line: SuccessorFactory, who: str) -> None:
        """Raises `PeerError` when nobody may."""
        referral = self.line.referral
        if referral is None or not referral.accepts_transfers:
            raise PeerError("this call's peer may not be replaced", status_hint=403)
        seat = Seat("caller")
        seat.arrives, seat.who = "replaces", who
        seat.line = line(f"{self._id}.{next(self._numbers)}", self._tell_from(seat), self.line)
        self._take_place(seat)
        seat.line.answer()

    def _take_place(self, seat: Seat) -> None:
        former, self._caller = self._caller, seat
        seat.role, former.role = "caller", "leaving"
        self._spawn(self._see_out(former))

    async def _see_out(self, former: Seat) -> None:
        await former.left.get(within_s=LEAVES_WITHIN_S)
        former.leave()

    async def _seat_target(self, seat: Seat, placing: Placing) -> None:
        try:
            line = await self._dial(placing)
            if seat is self._target:
                leg = self._target_leg = f"{self._id}.{next(self._numbers)}"
                self._control.subscribe(leg, lambda said: self._target_leg_said(seat, said))
                seat.line = line(leg, self._tell_from(seat), None)
                seat.line.answer()
        except GatewayError as error:
            log.warning("transfer.no_way", call=self._id, error=str(error))
            if seat is self._target:
                self._tell(c.TargetEnded("unreachable"))

    async def _seat_successor(self, seat: Seat, placing: Placing) -> None:
        try:
            line = await self._dial(placing)
            if seat is self._successor:
                seat.line = line(f"{self._id}.{next(self._numbers)}", self._tell_from(seat), self.line)
                seat.line.answer()
        except GatewayError as error:
            log.warning("transfer.no_way", call=self._id, error=str(error))
            if seat is self._successor:
                self._successor = None
                self._tell(c.SuccessorEnded("rejected" if isinstance(error, PeerError) else "unreachable"))

    def _drop_successor(self) -> None:
        seat, self._successor = self._successor, None
        if seat is not None:
            seat.leave()

    # What the lines tell

    def _tell_from(self, seat: Seat) -> Tell:
        return lambda told: self._told(seat, told)

    def _told(self, seat: Seat, told: Told) -> None:
        if isinstance(told, c.TextCame):
            # Others may come to the caller's place, or hear the caller; what they write is not the caller's word.
            taken = seat.role == "caller" and self._read(told.text)
            if seat.line is not None:
                seat.line.answer_text(told.number, taken=taken)
            return
        match seat.role:
            case "caller":
                self._caller_told(seat, told)
            case "target":
                self._target_told(seat, told)
            case "successor":
                self._successor_told(seat, told)
            case "leaving" if isinstance(told, c.LineEnded):
                seat.left.set(True)
            case _:
                pass

    def _caller_told(self, seat: Seat, told: Told) -> None:
        match told:
            case e.DigitPressed():
                self._hear(told)
            case c.LineAnswered(codec=codec) if (by := seat.arrives) is not None:
                seat.arrives = None
                self._tell(c.LineMoved(by, codec, seat.who))
            case _:
                self._tell(told)

    def _target_told(self, seat: Seat, told: Told) -> None:
        match told:
            case e.DigitPressed() if self.joined:
                _press(self.line, told)
            case c.LineRang(status=status):
                self._tell(c.TargetRang(status))
            case c.LineAnswered():
                self._tell(c.TargetAnswered())
            case c.LineEnded(reason=reason):
                self._part()
                self._tell(c.TargetEnded(reason))
            case c.TransferAsked():
                # They were called for this caller; where they would send them is not theirs to say.
                if seat.line is not None and (referral := seat.line.referral) is not None:
                    referral.answer_transfer(603)
            case _:
                pass

    def _successor_told(self, seat: Seat, told: Told) -> None:
        match told:
            case c.LineRang(status=status):
                self._tell(c.SuccessorRang(status))
            case c.LineAnswered():
                self.report_transfer(200)
                self._successor = None
                self._take_place(seat)
                self._caller_told(seat, told)
            case c.LineEnded(reason=reason):
                self._drop_successor()
                self._tell(c.SuccessorEnded(reason))
            case _:
                pass

    def _target_leg_said(self, seat: Seat, said: Said) -> None:
        match said:
            case e.DigitPressed():
                self._target_told(seat, said)
            case media.Report() if seat.line is not None:
                seat.line.media_said(said)
            case _:
                pass

    def press_for_target(self, key: e.DigitPressed) -> None:
        """The caller's keys, while they are for the target."""
        if self._target is not None and self._target.line is not None:
            _press(self._target.line, key)

    def _part(self) -> None:
        if self.joined:
            self.joined = False
            self._control.send(media.Bridge(self._id, None))


def _press(line: Line, key: e.DigitPressed) -> None:
    """A tone has crossed the bridge with the audio it is part of."""
    if key.method != "inband":
        line.press(key.digit)


def number_in(address: str) -> str:
    """The user part of an address, or the number it is."""
    user = address.partition(":")[2] if ":" in address else address
    return user.partition("@")[0].partition(";")[0]
