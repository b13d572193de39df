"""A session's stored events folded into what a call back needs to go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.core import events as e
from gateway.core.events import AnyEvent
from gateway.session.context import add_heard, add_said
from gateway.session.ports import Message
from gateway.session.words import estimated, heard


class Remembered(msgspec.Struct, frozen=True):
    """Where a session stands.

    `step` is the dialplan position last entered, None when there was none, `answered` whether a call was picked up.
    `agent_state` is what the agent last asked to keep, `history` what both sides said, the bot's part as far as it was
    heard. `unanswered` is a last turn of the caller to which no reply had been heard when the line dropped: it stands
    in the history too, and an agent that is opened anew asks its question again. `completed` sessions are not resumed.
    """

    step: str | None = None
    variables: dict[str, str] = {}
    agent_state: dict[str, Any] = {}
    history: list[Message] = []
    completed: bool = False
    unanswered: str = ""
    outcome: str | None = None
    answered: bool = False


def fold(events: Iterable[AnyEvent]) -> Remembered:
    """All events of a session, in order, over however many calls; unknown ones do not matter."""
    folding = _Folding()
    for event in events:
        folding.take(event)
    folding.end_call()
    return folding.result()


@dataclass
class _Folding:
    step: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    agent_state: dict[str, Any] = field(default_factory=dict)
    history: list[Message] = field(default_factory=list)
    completed: bool = False
    unanswered: str = ""
    outcome: str | None = None
    answered: bool = False
    _texts: dict[int, e.UtteranceSynthesised] = field(default_factory=dict)
    _playing: e.UtteranceStarted | None = None
    _held_s: float = 0.0
    _held_at: float | None = None
    _last_at: float = 0.0

    def take(self, event: AnyEvent) -> None:
        match event:
            case e.CallStarted():
                self.end_call()
            case e.StepEntered(step=step):
                self.step = step
            case e.CallAnswered():
                self.answered = True
            case e.VariableSet(name=name, value=value):
                self.variables[name] = value
            case e.AgentRemembered(state=state):
                self.agent_state = state
            case e.DialogueCompleted(outcome=outcome):
                self.completed, self.outcome = True, outcome
            case e.CallEnded():
                self.completed = self.completed or e.completes(event)
            case e.UserTurnEnded(text=text, digits=digits, silent=False):
                add_said(self.history, text, digits)
                self.unanswered = text or digits
            case e.UtteranceSynthesised(clip=clip):
                self._texts[clip] = event
            case e.UtteranceStarted():
                self._playing, self._held_s, self._held_at = event, 0.0, None
            case e.PlaybackPaused(at=at):
                self._held_at = at
            case e.PlaybackResumed(at=at) if self._held_at is not None:
                self._held_s, self._held_at = self._held_s + at - self._held_at, None
            case e.UtterancePlayed(heard=words):
                self._playing = None
                self._was_heard(words)
            case _:
                pass
        self._last_at = event.at

    def end_call(self) -> None:
        """A clip whose end was never recorded (the gateway was killed): what was certainly played of it by the last
        event counts as heard."""
        clip = self._texts.get(self._playing.clip) if self._playing is not None else None
        if clip is not None and self._playing is not None:
            until = self._held_at if self._held_at is not None else self._last_at
            played_s = until - self._playing.at - self._held_s
            self._was_heard(heard(clip.text, estimated(clip.text, clip.duration_s), played_s))
        self._playing, self._texts = None, {}

    def result(self) -> Remembered:
        return Remembered(
            self.step,
            self.variables,
            self.agent_state,
            self.history,
            self.completed,
            self.unanswered,
            self.outcome,
            self.answered,
        )

    def _was_heard(self, words: str) -> None:
        add_heard(self.history, words)
        if words:
            self.unanswered = ""
