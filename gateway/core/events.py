"""The event log of a call: what happened, in the past tense, small and typed.

A call's events are at once its record, its debugging view and the golden file of its replay. `at` is in seconds on
the event clock (monotonic when live, virtual in replay); `call` is the call's id. Audio never travels as an event.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Door = Literal["sip", "browser", "replay"]
Side = Literal["caller", "bot", "gateway"]
State = Literal["initial", "listening", "processing", "speaking", "away", "ended"]
EndReason = Literal[
    "hangup",  # a side said goodbye in the signalling
    "cancelled",  # the caller gave up before we answered
    "rejected",  # the dialplan or we refused it; or the called party refused ours
    "busy",  # the called party talks to somebody else
    "no_answer",  # the called party did not pick up
    "unreachable",  # no target of a call of ours gave a sign of life, or had room
    "transferred",  # the caller talks to somebody else now, without us
    "line_lost",  # the media died without a goodbye
    "timeout",  # a protocol timer ran out (no ACK, no session refresh)
    "limit",  # the call or session grew too long
    "shutdown",  # the gateway stopped
    "error",  # our fault
]


TransferOutcome = Literal[
    "connected", "moved", "finished", "left", "busy", "no_answer", "rejected", "unreachable", "refused"
]


class Event(msgspec.Struct, frozen=True, tag=True):
    """The root of all events; `tag` is the class name, under the key `type` on disk."""

    at: float
    call: str


# The call and its line


class CallStarted(Event, frozen=True, tag=True):
    """`caller` and `called` are user parts or numbers; an anonymous caller is the empty string.

    `headers` are what the caller's side wrote, `facts` what the gateway believes (`trunk`, `account`, ...).
    """

    door: Door
    caller: str
    called: str
    route: str
    headers: dict[str, str] = {}
    facts: dict[str, str] = {}


class CallAnswered(Event, frozen=True, tag=True):
    codec: str


class CallHeld(Event, frozen=True, tag=True):
    """The other side put us on hold: nothing we say is heard."""


class CallRetrieved(Event, frozen=True, tag=True):
    """The hold ended."""


class LineFellSilent(Event, frozen=True, tag=True):
    """No media has come from the caller for `for_s` seconds; comfort noise and RTCP count as media."""

    for_s: float


class LineRecovered(Event, frozen=True, tag=True):
    """Media comes again after `LineFellSilent`."""


class AudioInterrupted(Event, frozen=True, tag=True):
    """The process that carried the call's audio died; at `at` another one took over. Nothing was heard either way for
    `for_s`, which is silence in the recording. A clip that was being played went on at its second `goes_on_at_s`."""

    for_s: float
    goes_on_at_s: float | None = None


class TransferStarted(Event, frozen=True, tag=True):
    """Somebody (`by`) wants this call to be with somebody else. `way` `move`: the conversation goes on with `to`."""

    way: Literal["blind", "attended", "bridge", "move"]
    to: str
    by: Side


class TransferProgressed(Event, frozen=True, tag=True):
    """How a transfer goes, in SIP's numbers: what the peer we referred tells, or what our own call to the other party
    (`target`) or in our place (`successor`) came to. 0 ends such a call without one, for `reason`.

    `refused`: the peer does not try at all.
    """

    of: Literal["referred", "target", "successor"]
    status: int
    reason: str = ""
    refused: bool = False


class TransferEnded(Event, frozen=True, tag=True):
    """`connected`: without us; `finished`: they talked through us, and the target hung up; `left`: the caller did."""

    outcome: TransferOutcome


class CallMoved(Event, frozen=True, tag=True):
    """The conversation goes on with another peer, at its telephone. `by` is how it came; `caller` who is there now,
    as far as is known."""

    by: Literal["refer", "replaces"]
    codec: str
    caller: str = ""


class CallEnded(Event, frozen=True, tag=True):
    """`by` is who ended it; `duration_s` counts from `CallStarted`; `stats` is everything worth knowing for the one
    closing log line."""

    reason: EndReason
    by: Side
    duration_s: float
    stats: dict[str, Any] = {}


# The session that outlives the call


class SessionStarted(Event, frozen=True, tag=True):
    session: str


class SessionResumed(Event, frozen=True, tag=True):
    """A caller came back within the window. `step` is where the dialplan goes on; `away_s` how long they were gone."""

    session: str
    step: str
    away_s: float


class StepEntered(Event, frozen=True, tag=True):
    """The dialplan position, `route/index:action`."""

    step: str


class VariableSet(Event, frozen=True, tag=True):
    name: str
    value: str


class AgentRemembered(Event, frozen=True, tag=True):
    """The agent's own state at a safe point: what it needs to go on after a dropped line."""

    state: dict[str, Any]


class DialogueCompleted(Event, frozen=True, tag=True):
    """The agent reached its end; a session with this event is not resumed."""

    outcome: str
    data: dict[str, Any] = {}


# Listening


class StateChanged(Event, frozen=True, tag=True):
    previous: State
    state: State


class SpeechBegan(Event, frozen=True, tag=True):
    """The detector found speech; `at` is when it was sure, `began_at` when the speech itself began."""

    began_at: float
    probability: float = 1.0
    """The detector's, in hundredths: what is behind these depends on the processor."""


class SpeechEnded(Event, frozen=True, tag=True):
    """`ended_at` is where the speech itself ended; the detector needed the rest to be sure."""

    ended_at: float


class TranscriptHeard(Event, frozen=True, tag=True):
    """Text from the recogniser for `turn`. Interim texts of a turn replace one another."""

    turn: int
    text: str
    final: bool
    confidence: float = 1.0


class DigitPressed(Event, frozen=True, tag=True):
    """One event a press, however many packets carried it."""

    digit: str
    duration_ms: int
    method: Literal["rfc4733", "info", "inband", "page"] = "rfc4733"


class TextReceived(Event, frozen=True, tag=True):
    """The caller wrote instead of speaking. One line, no control characters; the turn it becomes follows."""

    text: str


class UserTurnEnded(Event, frozen=True, tag=True):
    """The caller finished. Text is empty when only digits or only silence came."""

    turn: int
    text: str
    digits: str = ""
    silent: bool = False
    confidence: float = 1.0


# Speaking


class AgentReplied(Event, frozen=True, tag=True):
    """The agent finished writing its reply to `turn` ("generation complete")."""

    turn: int
    text: str


class UtteranceSynthesised(Event, frozen=True, tag=True):
    """All audio of the clip exists; `duration_s` of it."""

    clip: int
    text: str
    duration_s: float


class UtteranceStarted(Event, frozen=True, tag=True):
    """The first sample of the clip left for the caller."""

    clip: int


class UtterancePlayed(Event, frozen=True, tag=True):
    """The clip is over for the caller: `heard` is exactly the words whose audio was played."""

    clip: int
    heard: str
    played_s: float
    complete: bool


class PlaybackPaused(Event, frozen=True, tag=True):
    """On suspicion of a barge-in; nothing is lost yet."""

    clip: int


class PlaybackResumed(Event, frozen=True, tag=True):
    """A false alarm: the clip goes on from the same sample."""

    clip: int


class BargedIn(Event, frozen=True, tag=True):
    """The caller interrupted. `by` is what decided it."""

    clip: int
    by: Literal["words", "duration", "digit", "text"]


class FalseAlarm(Event, frozen=True, tag=True):
    """What sounded like an interruption was none (noise, an echo, "uh-huh")."""

    clip: int
    text: str = ""


class SilenceNoticed(Event, frozen=True, tag=True):
    """The caller said nothing for the expected time; the `count`-th time in a row."""

    count: int


# Trouble and by-products


class ProviderFailed(Event, frozen=True, tag=True):
    """`what` names the room and provider, as in `stt.pocketsphinx`."""

    what: str
    category: str
    message: str
    retrying: bool


class ErrorOccurred(Event, frozen=True, tag=True):
    code: str
    message: str


class RecordingStarted(Event, frozen=True, tag=True, omit_defaults=True):
    path: str
    wideband: bool = False
    """Of 16 kHz, as the call began in wideband; else of 8."""


class RecordingFailed(Event, frozen=True, tag=True):
    """The recording, or the packet trace for replay, stopped (disk full, slow disk); the call goes on."""

    message: str
    what: Literal["recording", "trace"] = "recording"


AnyEvent: TypeAlias = (
    CallStarted | CallAnswered | CallHeld | CallRetrieved | LineFellSilent | LineRecovered | CallEnded
    | AudioInterrupted
    | TransferStarted | TransferProgressed | TransferEnded | CallMoved
    | SessionStarted | SessionResumed | StepEntered | VariableSet | AgentRemembered | DialogueCompleted
    | StateChanged | SpeechBegan | SpeechEnded | TranscriptHeard | DigitPressed | TextReceived | UserTurnEnded
    | AgentReplied | UtteranceSynthesised | UtteranceStarted | UtterancePlayed | PlaybackPaused | PlaybackResumed
    | BargedIn | FalseAlarm | SilenceNoticed
    | ProviderFailed | ErrorOccurred | RecordingStarted | RecordingFailed
)  # fmt: skip

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def completes(event: AnyEvent) -> bool:
    """Whether a session ends with it: the bot has finished, or the dialplan has run to its end or refused the call.

    What is left open is what somebody else cut off, and may be gone on with.
    """
    return isinstance(event, DialogueCompleted) or (isinstance(event, CallEnded) and event.by == "bot")


def encode(event: Event) -> bytes:
    """One event as one line of JSON (no newline), the same bytes for the same event always."""
    return _encoder.encode(event)


def decode(line: bytes | str) -> AnyEvent:
    """The inverse of `encode`. Raises `msgspec.ValidationError` with the place of the fault."""
    return _decoder.decode(line)
