"""What a conversation is doing, as one table. An error is an event, not a state."""

from __future__ import annotations

from typing import Literal, TypeAlias

from gateway.core.errors import MisuseError
from gateway.core.events import State

Cue: TypeAlias = Literal[
    "prepare",  # the bot works on what it will say: recognition finishes, the agent writes, the voice is made
    "speak",  # the first sample of something left for the caller
    "listen",  # the floor is the caller's
    "miss",  # the caller did not take it
    "end",  # the call is over
]

NEXT: dict[tuple[State, Cue], State] = {
    ("initial", "prepare"): "processing",
    ("initial", "listen"): "listening",
    ("initial", "end"): "ended",
    ("listening", "prepare"): "processing",
    ("listening", "speak"): "speaking",
    ("listening", "miss"): "away",
    ("listening", "end"): "ended",
    ("processing", "speak"): "speaking",
    ("processing", "listen"): "listening",
    ("processing", "end"): "ended",
    ("speaking", "prepare"): "processing",
    ("speaking", "listen"): "listening",
    ("speaking", "end"): "ended",
    ("away", "prepare"): "processing",
    ("away", "speak"): "speaking",
    ("away", "listen"): "listening",
    ("away", "end"): "ended",
}

RESTING: dict[Cue, State] = {"prepare": "processing", "speak": "speaking", "listen": "listening", "miss": "away"}
"""The state in which a cue changes nothing."""


def after(state: State, cue: Cue) -> State:
    """Where `cue` leads from `state`. Raises `MisuseError` for a transition that is not in the table."""
    if RESTING.get(cue) == state:
        return state
    try:
        return NEXT[state, cue]
    except KeyError:
        raise MisuseError(f"a conversation that is {state} cannot {cue}") from None
