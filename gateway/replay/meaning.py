"""What must be equal for two events to mean the same.

A replay of a live call cannot repeat to the microsecond what a busy machine did: its timers rang late by some
milliseconds, and two things that happened at once were logged in either order. So events are held together as
this table says; docs/replay.md shows it to operators.

    exact     words, turns, digits, decisions, slots, outcomes: equal, whatever the tolerance
    times     moments, counted from the start of the call: equal within the tolerance
    spans     lengths of time: equal within the tolerance
    ids       numbers and names given in order: paired one to one, whatever they are
    (others)  probabilities, statistics of the network, paths and wordings of errors: not compared

Events keep their order within a lane (the caller, the bot, its voice's synthesis, the states, the call and its line,
the way through the dialplan); between lanes only times count. A line is held or transferred by people outside while a
step begins by itself, so these two do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import msgspec

from gateway.core import events as e

Lane: TypeAlias = Literal["call", "plan", "caller", "bot", "voice", "state"]

LANES: tuple[Lane, ...] = ("call", "plan", "caller", "bot", "voice", "state")


class Rule(msgspec.Struct, frozen=True):
    lane: Lane
    exact: tuple[str, ...] = ()
    times: tuple[str, ...] = ("at",)
    spans: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    strict_only: bool = False
    """Compared only when there is no tolerance at all: live, its coming and going is a matter of milliseconds."""


RULES: dict[type[e.Event], Rule] = {
    e.CallStarted: Rule("call", exact=("caller", "called", "route")),
    e.CallAnswered: Rule("call", exact=("codec",)),
    e.CallHeld: Rule("call"),
    e.CallRetrieved: Rule("call"),
    e.LineFellSilent: Rule("call", spans=("for_s",)),
    e.LineRecovered: Rule("call"),
    e.AudioInterrupted: Rule("call", spans=("for_s",)),
    e.TransferStarted: Rule("call", exact=("way", "to", "by")),
    e.TransferProgressed: Rule("call", exact=("of", "status", "reason", "refused")),
    e.TransferEnded: Rule("call", exact=("outcome",)),
    e.CallMoved: Rule("call", exact=("by", "codec", "caller")),
    e.CallEnded: Rule("call", exact=("reason", "by"), spans=("duration_s",)),
    e.SessionStarted: Rule("call", ids=("session",)),
    e.SessionResumed: Rule("call", exact=("step",), spans=("away_s",), ids=("session",)),
    e.StepEntered: Rule("plan", exact=("step",)),
    e.VariableSet: Rule("plan", exact=("name", "value")),
    e.AgentRemembered: Rule("plan", exact=("state",)),
    e.DialogueCompleted: Rule("plan", exact=("outcome", "data")),
    e.ErrorOccurred: Rule("plan", exact=("code",)),
    e.ProviderFailed: Rule("plan", exact=("what", "category", "retrying")),
    e.StateChanged: Rule("state", exact=("previous", "state")),
    e.SpeechBegan: Rule("caller", times=("at", "began_at")),
    e.SpeechEnded: Rule("caller", times=("at", "ended_at")),
    e.TranscriptHeard: Rule("caller", exact=("text", "final"), ids=("turn",)),
    e.DigitPressed: Rule("caller", exact=("digit", "method")),
    e.TextReceived: Rule("caller", exact=("text",)),
    e.UserTurnEnded: Rule("caller", exact=("text", "digits", "silent"), ids=("turn",)),
    e.SilenceNoticed: Rule("caller", exact=("count",)),
    e.AgentReplied: Rule("bot", exact=("text",), ids=("turn",)),
    e.UtteranceSynthesised: Rule("voice", exact=("text",), spans=("duration_s",), ids=("clip",)),
    e.UtteranceStarted: Rule("bot", ids=("clip",)),
    e.UtterancePlayed: Rule("bot", exact=("heard", "complete"), spans=("played_s",), ids=("clip",)),
    e.PlaybackPaused: Rule("bot", ids=("clip",)),
    e.PlaybackResumed: Rule("bot", ids=("clip",)),
    e.BargedIn: Rule("bot", exact=("by",), ids=("clip",)),
    e.FalseAlarm: Rule("bot", exact=("text",), ids=("clip",)),
}
"""An event that is not here (where a recording went) has no meaning for the conversation."""

_INTERIM = msgspec.structs.replace(RULES[e.TranscriptHeard], strict_only=True)


def rule_for(event: e.AnyEvent, *, strict: bool) -> Rule | None:
    """None for what is not compared."""
    rule = RULES.get(type(event))
    if isinstance(event, e.TranscriptHeard) and not event.final:
        rule = _INTERIM
    return rule if rule is not None and (strict or not rule.strict_only) else None


class Meaning(msgspec.Struct, frozen=True):
    """An event as it is compared: `key` exactly, `times` and `spans` by tolerance, `ids` by pairing."""

    event: e.AnyEvent
    lane: Lane
    key: bytes
    times: tuple[float, ...]
    spans: tuple[float, ...]
    ids: tuple[tuple[str, str | int], ...]

    @property
    def at(self) -> float:
        return self.times[0]


def meanings(events: tuple[e.AnyEvent, ...], *, strict: bool) -> Iterator[Meaning]:
    """In order, with times counted from the first event."""
    start = events[0].at if events else 0.0
    for event in events:
        rule = rule_for(event, strict=strict)
        if rule is not None:
            yield _meaning(event, rule, start)


def _meaning(event: e.AnyEvent, rule: Rule, start: float) -> Meaning:
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    return Meaning(
        event,
        rule.lane,
        _key(event, {name: values[name] for name in rule.exact}),
        tuple(values[name] - start for name in rule.times),
        tuple(values[name] for name in rule.spans),
        tuple((name, values[name]) for name in rule.ids),
    )


def _key(event: e.AnyEvent, exact: dict[str, Any]) -> bytes:
    return msgspec.json.encode([type(event).__name__, exact], order="deterministic")
