"""A conversation with everything around it simulated: a voice, an ear, a mind, a playout and a clock, all scripted."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.core import events as e
from gateway.core.speech import Expectation, Transcript, Word
from gateway.session import commands as c
from gateway.session.conversation import Conversation, ConversationOptions
from gateway.session.ports import AgentAct, Context, Prompted

E = TypeVar("E", bound=e.Event)
C = TypeVar("C", bound=c.Command)

WORD_S = 0.4
"""Every word of the simulated voice takes this long."""
SURE_AFTER_S = 0.064
LAG_S = 0.22
"""How long after the end of speech the simulated detector is sure of it."""


@dataclass
class Fails:
    """A scripted answer that is none."""

    category: str = "network"


class Hangs:
    """A scripted answer that never comes."""


@dataclass
class Clip:
    number: int
    duration_s: float
    left_s: float
    started: bool = False


@dataclass
class Playout:
    """Plays clips in order, tells when each begins and ends, and can be held."""

    clips: deque[Clip] = field(default_factory=deque)
    held: bool = False
    since: float = 0.0


Script = list[tuple[float, AgentAct | Fails | Hangs]]
"""Acts of an agent, each with the seconds since it was asked."""


class Parlour:
    def __init__(self, options: ConversationOptions | None = None, **context: Any) -> None:
        self.now = 100.0
        self.context = Context("call", "alice", "bot", **context)
        self.options = options or ConversationOptions()
        self.conversation = Conversation("call", self.options, self.context)
        self.commands: list[c.AnyCommand] = []
        self.events: list[e.AnyEvent] = []
        self.outcomes: list[c.AnyCommand] = []
        self.playout = Playout()
        self.agent: Callable[[Prompted], Script] = lambda prompted: []
        self.asked: list[Prompted] = []
        self.understands: deque[str | Fails | Hangs | tuple[str, float]] = deque()
        self.voice_fails: deque[Fails | Hangs | None] = deque()
        self.voice_s = 0.05
        self.recognition_s = 0.1
        self.flush_s = 0.02
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = 0
        self._cancelled_agents: set[int] = set()
        self._agent_run = 0
        self._finishing: dict[int, int] = {}
        self._making: set[int] = set()

    # The bot is told what to do

    def say(self, text: str, *, barge_in: Any = "on", file: str | None = None) -> None:
        self._carry_out(self.conversation.say(text, file, barge_in, self.now))

    def ask(self, text: str, expectation: Expectation | None = None, *, barge_in: Any = "on") -> None:
        self._carry_out(self.conversation.ask(text, None, expectation or Expectation(), barge_in, self.now))

    def converse(self, prompted: Prompted, *, barge_in: Any = "on") -> None:
        self._carry_out(self.conversation.converse(prompted, barge_in, self.now))

    def stop(self) -> None:
        self._carry_out(self.conversation.stop(self.now))

    # The caller

    def speaks(
        self, for_s: float, text: str | Fails | Hangs | None = None, *, interim: Iterable[tuple[float, str]] = ()
    ) -> None:
        """From now on, for so long. `text` is what the recogniser will make of the turn this belongs to."""
        began = self.now
        if text is not None:
            self.understands.append(text)
        self.at(began + SURE_AFTER_S, lambda: self.tell(e.SpeechBegan(self.now, "call", began)))
        for after_s, partial in interim:
            self.at(began + after_s, lambda partial=partial: self._hear_partly(partial))
        self.at(began + for_s + LAG_S, lambda: self.tell(e.SpeechEnded(self.now, "call", began + for_s)))

    def presses(self, digits: str) -> None:
        for digit in digits:
            self.tell(e.DigitPressed(self.now, "call", digit, 100))

    # Time

    def advance(self, seconds: float) -> None:
        """Let everything happen that is due within `seconds`, each at its moment."""
        until = self.now + seconds
        for _ in range(10_000):
            moments = [
                m for m in (self._next_due(), self._next_mark(), self.conversation.next_deadline()) if m is not None
            ]
            nearest = min(moments, default=until)
            if nearest > until:
                break
            self._move_to(max(self.now, nearest))
            self._run_due()
            self._run_marks()
            deadline = self.conversation.next_deadline()
            if deadline is not None and deadline <= self.now:
                self._carry_out(self.conversation.on_deadline(self.now))
            if not moments:
                break
        else:
            raise AssertionError("the conversation never comes to rest")
        self._move_to(until)

    def until(self, kind: type[E], within_s: float = 30.0) -> E:
        """Advance until the next event of this kind."""
        known = len(self.events)
        for _ in range(round(within_s / 0.005)):
            for event in self.events[known:]:
                if isinstance(event, kind):
                    return event
            self.advance(0.005)
        raise AssertionError(f"no {kind.__name__} within {within_s} s; there was {self.events[known:]}")

    def at(self, moment: float, deed: Callable[[], None]) -> None:
        self._counter += 1
        heapq.heappush(self._due, (moment, self._counter, deed))

    def tell(self, told: c.AnyInput | e.AnyEvent) -> None:
        self._carry_out(self.conversation.handle(told, self.now))

    # What to look at

    def logged(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def commanded(self, kind: type[C]) -> list[C]:
        return [command for command in self.commands if isinstance(command, kind)]

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.logged(e.StateChanged)]

    @property
    def history(self) -> list[tuple[str, str]]:
        return [(message.role, message.text) for message in self.context.history]

    # The simulated world

    def _carry_out(self, commands: list[c.AnyCommand]) -> None:
        for command in commands:
            self.commands.append(command)
            match command:
                case c.Log(event=event):
                    self.events.append(event)
                case c.Answered() | c.SaidAll() | c.Completed():
                    self.outcomes.append(command)
                case c.FinishRecognition(turn=turn):
                    self._recognise(turn)
                case c.CancelRecognition(turn=turn):
                    self._finishing.pop(turn, None)
                case c.AskAgent():
                    self._ask_agent(command)
                case c.CancelAgent():
                    self._agent_run += 1
                case c.Speak():
                    self._synthesise(command)
                case c.CancelSpeech(clip=clip):
                    self._making.discard(clip)
                case c.PausePlayout():
                    self.playout.held = True
                case c.ResumePlayout():
                    self.playout.held, self.playout.since = False, self.now
                case c.FlushPlayout():
                    self._flush()

    def _recognise(self, turn: int) -> None:
        answer = self.understands.popleft() if self.understands else ""
        self._counter += 1
        attempt = self._finishing[turn] = self._counter

        def finish() -> None:
            if self._finishing.get(turn) != attempt:
                return
            del self._finishing[turn]
            match answer:
                case Fails(category=category):
                    self.tell(c.RecognitionFailed(turn, "stt.scripted", category, "scripted"))
                case str():
                    self.tell(c.RecognitionFinished(turn, Transcript(answer, True)))

        if not isinstance(answer, Hangs):
            self.at(self.now + self.recognition_s, finish)

    def _hear_partly(self, text: str) -> None:
        turns = [command.turn for command in self.commanded(c.StartRecognition)]
        if turns:
            self.tell(c.RecognitionProgressed(turns[-1], Transcript(text, False)))

    def _ask_agent(self, command: c.AskAgent) -> None:
        self.asked.append(command.prompted)
        self._agent_run += 1
        run, script = self._agent_run, self.agent(command.prompted)
        ends_at, closed = 0.0, False

        def only_now(deed: Callable[[], None]) -> Callable[[], None]:
            return lambda: deed() if self._agent_run == run else None

        for after_s, act in script:
            ends_at = after_s
            if isinstance(act, Hangs):
                closed = True
            elif isinstance(act, Fails):
                failed = c.AgentFailed(command.turn, "agent.scripted", act.category, "scripted")
                self.at(self.now + after_s, only_now(lambda failed=failed: self.tell(failed)))
                closed = True
            else:
                acted = c.AgentActed(command.turn, act)
                self.at(self.now + after_s, only_now(lambda acted=acted: self.tell(acted)))
        if not closed:
            self.at(self.now + ends_at, only_now(lambda: self.tell(c.AgentDone(command.turn))))

    def _synthesise(self, command: c.Speak) -> None:
        trouble = self.voice_fails.popleft() if self.voice_fails else None
        self._making.add(command.clip)

        def ready() -> None:
            if command.clip not in self._making:
                return
            self._making.discard(command.clip)
            if isinstance(trouble, Fails):
                self.tell(c.SpeechFailed(command.clip, "tts.scripted", trouble.category, "scripted"))
                return
            tokens = command.text.split()
            words = tuple(Word(token, at * WORD_S, (at + 1) * WORD_S) for at, token in enumerate(tokens))
            duration = len(tokens) * WORD_S
            if not self.playout.clips:
                self.playout.since = self.now
            self.playout.clips.append(Clip(command.clip, duration, duration))
            self.tell(c.SpeechReady(command.clip, duration, words))

        if not isinstance(trouble, Hangs):
            self.at(self.now + self.voice_s, ready)

    def _flush(self) -> None:
        self._play_until(self.now)
        for clip in self.playout.clips:
            told = c.PlayoutFinished(clip.number, clip.duration_s - clip.left_s, False)
            self.at(self.now + self.flush_s, lambda told=told: self.tell(told))
        self.playout.clips.clear()
        self.playout.held = False

    def _next_due(self) -> float | None:
        return self._due[0][0] if self._due else None

    def _next_mark(self) -> float | None:
        """When the playout will have something to tell."""
        if self.playout.held or not self.playout.clips:
            return None
        clip = self.playout.clips[0]
        return self.playout.since + (clip.left_s if clip.started else 0.0)

    def _move_to(self, moment: float) -> None:
        self._play_until(moment)
        self.now = moment

    def _play_until(self, moment: float) -> None:
        if not self.playout.held and self.playout.clips and self.playout.clips[0].started:
            clip = self.playout.clips[0]
            clip.left_s = max(0.0, clip.left_s - (moment - self.playout.since))
        self.playout.since = moment

    def _run_due(self) -> None:
        while self._due and self._due[0][0] <= self.now:
            heapq.heappop(self._due)[2]()

    def _run_marks(self) -> None:
        for told in self._marks():
            self.tell(told)

    def _marks(self) -> Iterator[c.AnyInput]:
        while self.playout.clips and not self.playout.held:
            clip = self.playout.clips[0]
            if not clip.started:
                clip.started, self.playout.since = True, self.now
                yield c.PlayoutStarted(clip.number)
            elif clip.left_s <= 1e-9:
                self.playout.clips.popleft()
                yield c.PlayoutFinished(clip.number, clip.duration_s, True)
            else:
                return
