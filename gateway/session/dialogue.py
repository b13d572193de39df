"""The agent's side of a conversation: its reply in progress, what it expects, and what it asked to keep."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from gateway.core.events import AgentRemembered, AgentReplied
from gateway.core.speech import Expectation
from gateway.session.commands import AnyCommand, AskAgent, CancelAgent, Log
from gateway.session.playback import Playback
from gateway.session.ports import AgentAct, CallerSaid, Context, Expect, Finish, Opened, Prompted, Remember, Say
from gateway.session.sentences import SentenceCutter
from gateway.session.words import joined


@dataclass
class Reply:
    """What an agent answers to one turn. `audible` once the caller heard any of it."""

    turn: int
    prompted: Prompted
    state_before: dict[str, Any]
    second_try: bool = False
    running: bool = True
    audible: bool = False
    text: str = ""
    finish: Finish | None = None
    expects: bool = False
    remembered: bool = False
    cutter: SentenceCutter = field(default_factory=SentenceCutter)

    @property
    def answering(self) -> str | None:
        """What the caller said, as long as the bot's turn is inaudible and can be taken back; None afterwards."""
        if self.audible or isinstance(self.prompted, Opened):
            return None
        return self.prompted.text if isinstance(self.prompted, CallerSaid) else ""


@dataclass
class EarlyReply:
    """What an agent answers to a turn that may go on: kept back until the turn is over."""

    turn: int
    prompted: CallerSaid
    acts: list[AgentAct] = field(default_factory=list)
    running: bool = True


class Dialogue:
    """Asks the agent, passes its words to the playback, and takes back what was never heard."""

    def __init__(self, call: str, context: Context, playback: Playback) -> None:
        self._call, self._context, self._playback = call, context, playback
        self.reply: Reply | None = None
        self.early: EarlyReply | None = None
        self.expectation = Expectation()
        self.unanswered: CallerSaid | None = None
        """Taken back by `withdraw`; it must be asked again, with or without more."""

    @property
    def running(self) -> bool:
        return self.reply is not None and self.reply.running

    @property
    def expects_nothing_yet(self) -> bool:
        """The agent is writing its question; what may answer it is not known."""
        return self.reply is not None and self.reply.running and not self.reply.expects

    def has_finished(self, turn: int) -> bool:
        """The agent said that this is its last turn."""
        reply = self._running(turn)
        return reply is not None and reply.finish is not None

    def begin(self) -> None:
        """A new dialogue: nothing of the former one is left."""
        self.reply, self.early, self.expectation, self.unanswered = None, None, Expectation(), None

    def ask(self, turn: int, prompted: Prompted) -> list[AnyCommand]:
        """Let the agent answer; what it was asked before and never answered audibly comes along."""
        unanswered, self.unanswered = self.unanswered, None
        if isinstance(prompted, CallerSaid) and unanswered is not None:
            prompted = _continued(unanswered, prompted)
        commands = self.cancel()
        self.reply = Reply(turn, prompted, deepcopy(self._context.state))
        return [*commands, AskAgent(turn, prompted)]

    def ask_early(self, turn: int, text: str) -> list[AnyCommand]:
        """Let the agent begin while the caller may still go on."""
        commands = self.drop_early()
        self.early = EarlyReply(turn, CallerSaid(text))
        return [*commands, AskAgent(turn, self.early.prompted, early=True)]

    def drop_early(self) -> list[AnyCommand]:
        early, self.early = self.early, None
        return [CancelAgent(early.turn)] if early is not None and early.running else []

    def adopt_early(self, now: float) -> list[AnyCommand]:
        """The early reply is the reply."""
        early, self.early = self.early, None
        if early is None:
            return []
        self.reply = Reply(early.turn, early.prompted, deepcopy(self._context.state))
        commands = [command for act in early.acts for command in self.acted(early.turn, act, now)]
        return commands if early.running else [*commands, *self.done(early.turn, now)]

    def acted(self, turn: int, act: AgentAct, now: float) -> list[AnyCommand]:
        if self.early is not None and self._is_early(turn):
            self.early.acts.append(act)
            return []
        reply = self._running(turn)
        if reply is None or reply.finish is not None:
            return []
        if isinstance(act, Say):
            self._speak(reply, act.text, act.prompt)
            return []
        for piece in reply.cutter.pause():
            self._playback.say(piece)
        match act:
            case Expect(expectation=expectation):
                self.expectation, reply.expects = expectation, True
            case Remember(state=state):
                return [self._remember(reply, state, now)]
            case Finish():
                reply.finish = act
        return []

    def done(self, turn: int, now: float) -> list[AnyCommand]:
        """The agent finished writing."""
        if self.early is not None and self._is_early(turn):
            self.early.running = False
            return []
        reply = self._running(turn)
        if reply is None:
            return []
        reply.running = False
        for piece in reply.cutter.flush():
            self._playback.say(piece)
        if not reply.expects:
            self.expectation = Expectation()
        return [Log(AgentReplied(now, self._call, turn, " ".join(reply.text.split())))]

    def ended(self, turn: int) -> bool:
        """The agent failed; whether anybody waits for it. An early start that fails was for nothing, that is all."""
        if self._is_early(turn):
            self.early = None
            return False
        reply = self._running(turn)
        if reply is not None:
            reply.running = False
        return reply is not None

    def try_again(self, now: float) -> list[AnyCommand]:
        """After a failure: ask the same once more, as if for the first time. Empty when that makes no sense."""
        reply = self.reply
        if reply is None or reply.second_try or reply.text:
            return []
        commands = self._forget(reply, now)
        self.reply = Reply(reply.turn, reply.prompted, reply.state_before, second_try=True)
        return [*commands, AskAgent(reply.turn, reply.prompted)]

    def cancel(self) -> list[AnyCommand]:
        """Whatever the agent is writing is not wanted any more; what it asked to keep stays."""
        commands = self.drop_early()
        reply, self.reply = self.reply, None
        return [*commands, *([CancelAgent(reply.turn)] if reply is not None and reply.running else [])]

    def withdraw(self, now: float) -> list[AnyCommand]:
        """The caller was not finished: take the question back, to ask it with what follows."""
        reply = self.reply
        commands = self.cancel()
        if reply is not None:
            commands += self._forget(reply, now)
            if isinstance(reply.prompted, CallerSaid):
                self.unanswered = reply.prompted
        return commands

    def _is_early(self, turn: int) -> bool:
        return self.early is not None and self.early.running and self.early.turn == turn

    def _running(self, turn: int) -> Reply | None:
        reply = self.reply
        return reply if reply is not None and reply.running and reply.turn == turn else None

    def _speak(self, reply: Reply, text: str, prompt: str | None) -> None:
        """A stored prompt is whole by itself; other text is joined until a piece is complete."""
        pieces = reply.cutter.flush() if prompt else reply.cutter.feed(text)
        for piece in pieces:
            self._playback.say(piece)
        if prompt:
            self._playback.say(text, prompt)
        reply.text += f" {text} " if prompt else text

    def _remember(self, reply: Reply, state: dict[str, Any], now: float) -> AnyCommand:
        """The agent may go on changing its own copy; the record must not change with it."""
        self._context.state, reply.remembered = deepcopy(state), True
        return Log(AgentRemembered(now, self._call, deepcopy(state)))

    def _forget(self, reply: Reply, now: float) -> list[AnyCommand]:
        """As if this turn had not been answered: a call back must not find slots of a question taken back."""
        self._context.state = deepcopy(reply.state_before)
        return [Log(AgentRemembered(now, self._call, reply.state_before))] if reply.remembered else []


def _continued(first: CallerSaid, then: CallerSaid) -> CallerSaid:
    if not then.text and not then.digits:
        return first
    sure = min(first.confidence, then.confidence) if first.text and then.text else then.confidence
    return CallerSaid(
        text=joined(first.text, then.text),
        digits=first.digits + then.digits,
        confidence=sure,
        interrupted=first.interrupted or then.interrupted,
    )
