"""The words between the gateway and its page, over the data channel `gateway` or Server-Sent Events.

To the page: a call's events, as in its log, but only those that concern the caller, and without what is none of a
browser's business (paths, other parties' headers, agents' memory, statistics).
From the page: `{"type": "digit", "digit": "5"}`.
"""

from __future__ import annotations

import msgspec

from gateway.core import events as e
from gateway.core.errors import PeerError

CHANNEL = "gateway"

_SHOWN: tuple[type[e.Event], ...] = (
    e.CallAnswered, e.CallEnded, e.SessionStarted, e.SessionResumed, e.DialogueCompleted,
    e.StateChanged, e.SpeechBegan, e.SpeechEnded, e.TranscriptHeard, e.DigitPressed, e.UserTurnEnded,
    e.AgentReplied, e.UtteranceSynthesised, e.UtteranceStarted, e.UtterancePlayed,
    e.PlaybackPaused, e.PlaybackResumed, e.BargedIn, e.FalseAlarm, e.SilenceNoticed, e.ErrorOccurred,
)  # fmt: skip


class Digit(msgspec.Struct, frozen=True, tag="digit"):
    digit: str


_decoder = msgspec.json.Decoder(Digit)


def for_page(event: e.AnyEvent) -> bytes | None:
    """The event as the page may see it, one JSON object; None when it is not for the page."""
    return e.encode(_redacted(event)) if isinstance(event, _SHOWN) else None


def digit_from_page(message: str | bytes) -> str:
    """The digit a page's message carries. Raises `PeerError` for anything else."""
    try:
        digit = _decoder.decode(message).digit
    except msgspec.MsgspecError as error:
        raise PeerError(f"not a message we know: {error}") from None
    if len(digit) != 1 or digit not in "0123456789*#ABCD":
        raise PeerError("not a digit of a telephone")
    return digit


def _redacted(event: e.AnyEvent) -> e.Event:
    match event:
        case e.CallEnded():
            return msgspec.structs.replace(event, stats={})
        case e.DialogueCompleted():
            return msgspec.structs.replace(event, data={})
        case e.SessionStarted() | e.SessionResumed():
            return msgspec.structs.replace(event, session="")
        case e.ErrorOccurred():
            return msgspec.structs.replace(event, message="")
    return event
