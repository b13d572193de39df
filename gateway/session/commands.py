"""What goes in and out of a `Conversation` beside the log's own events.

In: the events of hearing (`SpeechBegan`, `SpeechEnded`, `DigitPressed`) from the log vocabulary, and the inputs
below, by which the shell reports what came of the commands. Out: commands, and `Log` for the call's record.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from gateway.core.events import AnyEvent
from gateway.core.speech import Expectation, Transcript, Word
from gateway.session.ports import AgentAct, Prompted


class Command(msgspec.Struct, frozen=True, tag=True):
    """Imperative: what the conversation wants done."""


class StartRecognition(Command, frozen=True, tag=True):
    """Open the recogniser for `turn`; audio of the speech that began flows to it until finish or cancel."""

    turn: int
    expectation: Expectation


class FinishRecognition(Command, frozen=True, tag=True):
    """The turn is over: get the final transcript, as `RecognitionFinished`."""

    turn: int


class CancelRecognition(Command, frozen=True, tag=True):
    turn: int


class AskAgent(Command, frozen=True, tag=True):
    """Let the agent answer; its acts come as `AgentActed`, then `AgentDone` or `AgentFailed`.

    `early`: the turn is not over, this is what it sounds like so far. History does not hold it yet; the agent's
    context must be given it as if it did.
    """

    turn: int
    prompted: Prompted
    early: bool = False


class CancelAgent(Command, frozen=True, tag=True):
    turn: int


class Speak(Command, frozen=True, tag=True):
    """Synthesise (or take from `file`) and queue for playout as `clip`; ends with `SpeechReady` or `SpeechFailed`."""

    clip: int
    text: str
    file: str | None = None


class CancelSpeech(Command, frozen=True, tag=True):
    """Stop synthesising `clip`. What is queued already is dropped by `FlushPlayout`."""

    clip: int


class PausePlayout(Command, frozen=True, tag=True):
    pass


class ResumePlayout(Command, frozen=True, tag=True):
    pass


class FlushPlayout(Command, frozen=True, tag=True):
    """Every clip begun or queued is answered by `PlayoutFinished`. A pause ends with it."""


class Log(Command, frozen=True, tag=True):
    """Append to the call's record (and session)."""

    event: AnyEvent


class Answered(Command, frozen=True, tag=True):
    """`ask` is over; what the caller said."""

    text: str
    digits: str
    confidence: float
    silent: bool


class SaidAll(Command, frozen=True, tag=True):
    """`say` is over; `heard_whole` false when the caller cut it off."""

    heard_whole: bool


class Completed(Command, frozen=True, tag=True):
    """`converse` is over: the agent finished and the caller heard it all."""

    outcome: str
    data: dict[str, object] = {}


AnyCommand: TypeAlias = (
    StartRecognition | FinishRecognition | CancelRecognition | AskAgent | CancelAgent | Speak | CancelSpeech
    | PausePlayout | ResumePlayout | FlushPlayout | Log | Answered | SaidAll | Completed
)  # fmt: skip


class Input(msgspec.Struct, frozen=True, tag=True):
    """Past: what came of a command."""


class RecognitionProgressed(Input, frozen=True, tag=True):
    turn: int
    transcript: Transcript


class RecognitionFinished(Input, frozen=True, tag=True):
    turn: int
    transcript: Transcript


class RecognitionFailed(Input, frozen=True, tag=True):
    turn: int
    what: str
    category: str
    message: str


class AgentActed(Input, frozen=True, tag=True):
    turn: int
    act: AgentAct


class AgentDone(Input, frozen=True, tag=True):
    turn: int


class AgentFailed(Input, frozen=True, tag=True):
    turn: int
    what: str
    category: str
    message: str


class SpeechReady(Input, frozen=True, tag=True):
    """All of the clip's audio is queued. `words` are timed from its start; none where the voice does not tell.

    A `CancelSpeech` that came in time is answered by this too, with what had been queued until then.
    """

    clip: int
    duration_s: float
    words: tuple[Word, ...] = ()


class SpeechFailed(Input, frozen=True, tag=True):
    """The rest of the clip will not come. What is queued of it, `queued_s`, is played and ends as a clip does."""

    clip: int
    what: str
    category: str
    message: str
    queued_s: float = 0.0
    words: tuple[Word, ...] = ()


class PlayoutStarted(Input, frozen=True, tag=True):
    clip: int


class PlayoutFinished(Input, frozen=True, tag=True):
    clip: int
    played_s: float
    complete: bool


AnyInput: TypeAlias = (
    RecognitionProgressed | RecognitionFinished | RecognitionFailed | AgentActed | AgentDone | AgentFailed
    | SpeechReady | SpeechFailed | PlayoutStarted | PlayoutFinished
)  # fmt: skip
