"""What goes in and out of a `Call`.

In: `Input`s, what came of the line and of the conversation. Out: `Command`s for the line, the conversation and the
media leg, and `Record` for the call's log. The shell in `io.py` carries them out in order.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from gateway.core.events import AnyEvent, EndReason, Side
from gateway.core.speech import Expectation
from gateway.dialplan.control import BargeIn, BotStep, Prompt, TransferStep


class Command(msgspec.Struct, frozen=True, tag=True):
    """Imperative: what the call wants done."""


class RingLine(Command, frozen=True, tag=True):
    pass


class AnswerLine(Command, frozen=True, tag=True):
    """Pick up; the line reports `LineAnswered` when audio can flow, or `LineEnded`."""


class RejectLine(Command, frozen=True, tag=True):
    status: int
    reason: str | None = None


class HangUpLine(Command, frozen=True, tag=True):
    pass


class Say(Command, frozen=True, tag=True):
    prompt: Prompt
    barge_in: BargeIn


class Ask(Command, frozen=True, tag=True):
    prompt: Prompt
    expectation: Expectation
    barge_in: BargeIn


class Converse(Command, frozen=True, tag=True):
    """Hand over to an agent; `resumed` when the caller was cut off in this very conversation, `away_s` ago."""

    bot: BotStep
    resumed: bool
    away_s: float


class LoopBack(Command, frozen=True, tag=True):
    on: bool


class Tone(Command, frozen=True, tag=True):
    hz: float | None
    dbm0: float = 0.0


class Music(Command, frozen=True, tag=True):
    """Play a file round and round behind everything; None ends it."""

    file: str | None
    level_db: float = 0.0
    while_speaking_db: float = 0.0


class Press(Command, frozen=True, tag=True):
    digits: str


class ReferCaller(Command, frozen=True, tag=True):
    """Ask the caller's side to call `to` instead of us; `attended`: to take our place in the call with the target.

    What comes of it are `TransferTold`s.
    """

    to: str = ""
    attended: bool = False


class CallTarget(Command, frozen=True, tag=True):
    """Call the other party on a line of its own: `TargetRang`, then `TargetAnswered` or `TargetEnded`."""

    step: TransferStep


class DropTarget(Command, frozen=True, tag=True):
    """End the call with the target, and what joins it to the caller. Nothing when there is none."""


class JoinTarget(Command, frozen=True, tag=True):
    """Let caller and target hear each other, and nobody else, until `DropTarget`."""


class Entertain(Command, frozen=True, tag=True):
    """Play a WAV to the caller over and over, or with None the sound of ringing, until `Quieten`."""

    music: str | None


class Quieten(Command, frozen=True, tag=True):
    pass


class CallSuccessor(Command, frozen=True, tag=True):
    """Call somebody who is to take the caller's place: `SuccessorRang`, then `LineMoved` or `SuccessorEnded`.

    `replaces` is the Replaces value to call them with, `referred_by` who wants it (RFC 3892).
    """

    to: str
    replaces: str = ""
    referred_by: str = ""


class AnswerTransfer(Command, frozen=True, tag=True):
    """To `TransferAsked`: 202 to try it, or a refusal."""

    status: int


class ReportTransfer(Command, frozen=True, tag=True):
    status: int


class Record(Command, frozen=True, tag=True):
    """Append to the call's log, and to its session."""

    event: AnyEvent


class Release(Command, frozen=True, tag=True):
    """The call is over: stop the conversation, close the leg, then write `CallEnded` with the statistics."""

    reason: EndReason
    by: Side


AnyCommand: TypeAlias = (
    RingLine | AnswerLine | RejectLine | HangUpLine | Say | Ask | Converse | LoopBack | Tone | Music | Press | Record
    | ReferCaller | CallTarget | DropTarget | JoinTarget | Entertain | Quieten
    | CallSuccessor | AnswerTransfer | ReportTransfer | Release
)  # fmt: skip


class Input(msgspec.Struct, frozen=True, tag=True):
    """Past: what came of a command, or of the world."""


class LineAnswered(Input, frozen=True, tag=True):
    codec: str


class LineRang(Input, frozen=True, tag=True):
    """The telephone rings at the other end of a call we place."""

    status: int = 180


class LineEnded(Input, frozen=True, tag=True):
    """The far side hung up or cancelled, or the line failed."""

    reason: EndReason
    by: Side


class LineHeld(Input, frozen=True, tag=True):
    """`on` false: the hold is over."""

    on: bool


class LineSilent(Input, frozen=True, tag=True):
    """No media comes (`on`), or it comes again."""

    on: bool


class TextCame(Input, frozen=True, tag=True):
    """The far side wrote (RFC 3428); the line wants to know whether anybody took it, by this number."""

    text: str
    number: int = 0


class Said(Input, frozen=True, tag=True):
    heard_whole: bool


class Heard(Input, frozen=True, tag=True):
    text: str
    digits: str
    confidence: float
    silent: bool


class Finished(Input, frozen=True, tag=True):
    outcome: str
    data: dict[str, object] = {}


class TransferTold(Input, frozen=True, tag=True):
    """How the transfer we asked the caller's side for goes; 200 and up is the last word. `refused`: it will not try."""

    status: int
    refused: bool = False

    @property
    def succeeded(self) -> bool:
        return not self.refused and 200 <= self.status < 300


class TargetRang(Input, frozen=True, tag=True):
    status: int = 180


class TargetAnswered(Input, frozen=True, tag=True):
    pass


class TargetEnded(Input, frozen=True, tag=True):
    """Whether it never came about or is over."""

    reason: EndReason


class TransferAsked(Input, frozen=True, tag=True):
    """The caller's side wants us to call `to` in its stead."""

    to: str
    replaces: str = ""
    referred_by: str = ""


class TransferOrdered(Input, frozen=True, tag=True):
    """An operator wants the caller's side to call `to` instead."""

    to: str


class SuccessorRang(Input, frozen=True, tag=True):
    status: int = 180


class SuccessorEnded(Input, frozen=True, tag=True):
    """They will not take the caller's place."""

    reason: EndReason


class LineMoved(Input, frozen=True, tag=True):
    """Another peer has taken the caller's place. `caller` is who that is, "" when the same or not known."""

    by: Literal["refer", "replaces"]
    codec: str
    caller: str = ""


class Stop(Input, frozen=True, tag=True):
    """End the call from our side, whatever it is doing (drain, operator, takeover by a newer call)."""

    reason: EndReason
    by: Side = "gateway"


AnyInput: TypeAlias = (
    LineAnswered | LineRang | LineEnded | LineHeld | LineSilent | TextCame | Said | Heard | Finished | Stop
    | TransferTold | TargetRang | TargetAnswered | TargetEnded
    | TransferAsked | TransferOrdered | SuccessorRang | SuccessorEnded | LineMoved
)  # fmt: skip
