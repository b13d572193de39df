"""What goes in and out of a `Call`.

In: `Input`s, what came of the line and of the conversation. Out: `Command`s for the line, the conversation and the
media leg, and `Record` for the call's log. The shell in `io.py` carries them out in order.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from gateway.core.events import AnyEvent, EndReason, Side
from gateway.core.speech import Expectation
from gateway.dialplan.control import BargeIn, BotStep, Prompt


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


class Record(Command, frozen=True, tag=True):
    """Append to the call's log, and to its session."""

    event: AnyEvent


class Release(Command, frozen=True, tag=True):
    """The call is over: stop the conversation, close the leg, then write `CallEnded` with the statistics."""

    reason: EndReason
    by: Side


AnyCommand: TypeAlias = (
    RingLine | AnswerLine | RejectLine | HangUpLine | Say | Ask | Converse | LoopBack | Tone | Music | Press | Record
    | Release
)  # fmt: skip


class Input(msgspec.Struct, frozen=True, tag=True):
    """Past: what came of a command, or of the world."""


class LineAnswered(Input, frozen=True, tag=True):
    codec: str


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


class Stop(Input, frozen=True, tag=True):
    """End the call from our side, whatever it is doing (drain, operator, takeover by a newer call)."""

    reason: EndReason
    by: Side = "gateway"


AnyInput: TypeAlias = LineAnswered | LineEnded | LineHeld | LineSilent | Said | Heard | Finished | Stop
