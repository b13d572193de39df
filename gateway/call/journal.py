"""The log of one call and its way into the session: every event once, in order, numbered without gaps."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gateway.core import events as e
from gateway.store.ports import Numbered


class Journal:
    """Keeps all events of the call; hands out, in batches, those the store has not acknowledged yet."""

    def __init__(self, *, next_sequence: int = 1) -> None:
        self.events: list[e.AnyEvent] = []
        self._next = next_sequence
        self._pending: list[Numbered] = []

    def add(self, event: e.AnyEvent) -> None:
        self.events.append(event)
        self._pending.append(Numbered(self._next, event))
        self._next += 1

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    def pending(self) -> list[Numbered]:
        """What the store still lacks. Stays pending until `acknowledged`, so that a failed append is tried again."""
        return list(self._pending)

    def acknowledged(self, up_to: int) -> None:
        self._pending = [one for one in self._pending if one.sequence > up_to]


def summary(events: list[e.AnyEvent]) -> dict[str, Any]:
    """What the closing log line says of a conversation, counted from the call's events."""
    counts = Counter(type(event) for event in events)
    return {
        "turns": sum(isinstance(event, e.UserTurnEnded) and not event.silent for event in events),
        "barge_ins": counts[e.BargedIn],
        "false_alarms": counts[e.FalseAlarm],
        "digits": counts[e.DigitPressed],
        "errors": counts[e.ErrorOccurred] + counts[e.ProviderFailed],
        "outcome": next((event.outcome for event in reversed(events) if isinstance(event, e.DialogueCompleted)), None),
        "resumed": counts[e.SessionResumed] > 0,
        "response_ms": _response_ms(events),
    }


def lost_recording(events: list[e.AnyEvent]) -> str | None:
    """Why what the closing log line calls the recording is not whole; None where it is."""
    failures = [event for event in events if isinstance(event, e.RecordingFailed) and event.what == "recording"]
    return failures[0].message if failures else None


def _response_ms(events: list[e.AnyEvent]) -> float | None:
    """Median time from the end of the caller's speech to the bot's first sample after the turn it ended."""
    gaps: list[float] = []
    speech_ended: float | None = None
    turn_over = False
    for event in events:
        match event:
            case e.SpeechEnded(ended_at=ended_at):
                speech_ended, turn_over = ended_at, False
            case e.UserTurnEnded(silent=False):
                turn_over = True
            case e.UtteranceStarted(at=at) if turn_over and speech_ended is not None:
                gaps.append((at - speech_ended) * 1000)
                speech_ended, turn_over = None, False
            case _:
                pass
    return round(sorted(gaps)[len(gaps) // 2], 1) if gaps else None
