"""The shell of a conversation: carries its commands out with real providers, and tells it what came of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import structlog

from gateway.core.clock import Clock
from gateway.core.events import AnyEvent
from gateway.core.loops import Alarm
from gateway.core.speech import Expectation
from gateway.session import commands as c
from gateway.session.commands import AnyCommand, AnyInput
from gateway.session.context import add_said
from gateway.session.conversation import Conversation
from gateway.session.exchanges import BargeIn, Outcome
from gateway.session.levels import bytes_per_second
from gateway.session.ports import Agent, CallerSaid, Context, Playout, Prompted, SpeechToText, TextToSpeech
from gateway.session.worker import CLOSING_WITHIN_S, Hearing, Speaking, Stored, Thinking, Worker, provider_name

log = structlog.get_logger()

LoadPrompt: TypeAlias = Callable[[str], bytes | None]
"""The 8 kHz 16-bit mono audio of a stored prompt, by its name; None when there is none. Quick."""
Step: TypeAlias = Callable[[float], list[AnyCommand]]

KEPT_S = 30.0
"""How much of the speech that is going on is kept for a turn that opens late."""


class ConversationRunner:
    """Runs one conversation. All methods but `close` return at once; outcomes come by `on_outcome`.

    `on_outcome` may ask for the next thing right away. Providers are shared with other calls and are not closed here.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        stt: SpeechToText,
        tts: TextToSpeech,
        agents: Callable[[str], Agent] | Agent,
        playout: Playout,
        clock: Clock,
        log: Callable[[AnyEvent], None],
        load_prompt: LoadPrompt,
        load_wide_prompt: LoadPrompt = lambda name: None,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        """`load_wide_prompt` gives 16 kHz of what `load_prompt` gives 8 kHz of, twice as many samples."""
        self.conversation = conversation
        self._stt, self._tts, self._agents, self._playout = stt, tts, agents, playout
        self._clock, self._log, self._load_prompt, self._on_outcome = clock, log, load_prompt, on_outcome
        self._load_wide_prompt = load_wide_prompt
        self._agent_name = ""
        self._steps: deque[Step] = deque()
        self._stepping = False
        self._alarm = Alarm(clock, lambda: self._do(conversation.on_deadline))
        self._stretch: deque[tuple[bytes, bool]] = deque()
        self._stretch_bytes = 0
        self._stretch_over = False
        self._hearings: dict[int, Hearing] = {}
        self._speakings: dict[int, Speaking] = {}
        self._thinking: Thinking | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}

    def say(self, text: str, file: str | None = None, barge_in: BargeIn = "on") -> None:
        self._do(lambda now: self.conversation.say(text, file, barge_in, now))

    def ask(self, text: str, file: str | None, expectation: Expectation, barge_in: BargeIn = "on") -> None:
        self._do(lambda now: self.conversation.ask(text, file, expectation, barge_in, now))

    def converse(self, agent: str, options: dict[str, Any], prompted: Prompted, barge_in: BargeIn = "on") -> None:
        """Hand over to the agent of that name; `options` reach it in its context."""

        def begin(now: float) -> list[AnyCommand]:
            self._agent_name = agent
            self.conversation.context.options = dict(options)
            return self.conversation.converse(prompted, barge_in, now)

        self._do(begin)

    def handle(self, received: AnyInput | AnyEvent) -> None:
        """Events of hearing, and what the playout tells."""
        self._do(lambda now: self.conversation.handle(received, now))

    def hear(self, audio: bytes, speech: bool, last: bool, began_at: float) -> None:
        """A piece of the caller's speech, in the recogniser's format. `last` ends the stretch of speech."""
        if self._stretch_over:
            self._forget_stretch()
        self._stretch.append((audio, speech))
        self._stretch_bytes += len(audio)
        self._stretch_over = last
        while self._stretch_bytes > KEPT_S * bytes_per_second(self._stt.audio_format):
            self._stretch_bytes -= len(self._stretch.popleft()[0])
        for hearing in self._hearings.values():
            hearing.hear(audio, speech)

    async def close(self) -> None:
        """End the conversation, recording what was heard, and let go of the providers' streams. May come twice."""
        self._do(self.conversation.stop)
        self._alarm.cancel()
        workers: list[Worker] = [*self._hearings.values(), *self._speakings.values()]
        if self._thinking is not None:
            workers.append(self._thinking)
        for worker in workers:
            worker.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=2 * CLOSING_WITHIN_S)

    # One step at a time

    def _do(self, step: Step) -> None:
        """Take a step and carry out what it wants. Steps that come meanwhile wait: the conversation is not entered
        while the commands of its last step are still being carried out."""
        self._steps.append(step)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._steps:
                for command in self._steps.popleft()(self._clock.now()):
                    self._carry_out(command)
        finally:
            self._stepping = False
        self._alarm.set(self.conversation.next_deadline())

    def _carry_out(self, command: AnyCommand) -> None:
        match command:
            case c.Log(event=event):
                self._log(event)
            case c.StartRecognition():
                self._start_hearing(command)
            case c.FinishRecognition(turn=turn) if turn in self._hearings:
                self._hearings[turn].finish()
            case c.CancelRecognition(turn=turn) if turn in self._hearings:
                self._hearings.pop(turn).cancel()
            case c.AskAgent():
                self._think(command)
            case c.CancelAgent() if self._thinking is not None:
                self._thinking.cancel()
                self._thinking = None
            case c.Speak():
                self._speak(command)
            case c.CancelSpeech(clip=clip) if clip in self._speakings:
                self._speakings.pop(clip).cancel()
            case c.PausePlayout():
                self._playout.pause()
            case c.ResumePlayout():
                self._playout.resume()
            case c.FlushPlayout():
                self._playout.flush()
            case c.Answered() | c.SaidAll() | c.Completed():
                self._on_outcome(command)
            case _:
                pass  # it ended by itself at the same moment

    # Workers

    @property
    def _within_s(self) -> float:
        return self.conversation.options.reply_within_s

    def _start_hearing(self, command: c.StartRecognition) -> None:
        """A second start of the same turn is a second try: it is given all that the first one heard."""
        former = self._hearings.pop(command.turn, None)
        if former is not None:
            former.cancel()
        hearing = Hearing(
            self._stt,
            command.turn,
            command.expectation,
            self.handle,
            within_s=self._within_s,
            chunk_max_s=self.conversation.options.chunk_max_s,
        )
        known = [] if self._stretch_over else list(self._stretch)
        for audio, speech in former.pieces if former is not None else known:
            hearing.hear(audio, speech)
        self._hearings[command.turn] = hearing
        self._watch(hearing, lambda: self._heard(hearing))

    def _heard(self, hearing: Hearing) -> None:
        if self._hearings.get(hearing.turn) is hearing:
            del self._hearings[hearing.turn]

    def _speak(self, command: c.Speak) -> None:
        stored = self._stored(command.file)
        speaking = Speaking(self._tts, command, stored, self._playout, self.handle, self._within_s)
        self._speakings[command.clip] = speaking
        self._watch(speaking, lambda: self._speakings.pop(command.clip, None))

    def _think(self, command: c.AskAgent) -> None:
        try:
            agent = self._agents(self._agent_name) if callable(self._agents) else self._agents
        except Exception as error:
            what = provider_name("agent", self._agents) if not self._agent_name else f"agent.{self._agent_name}"
            self.handle(c.AgentFailed(command.turn, what, "bad_request", f"no such agent: {error}"))
            return
        context = self._context(command)
        self._thinking = Thinking(agent, command.turn, command.prompted, context, self.handle, self._within_s)
        self._watch(self._thinking, lambda: None)

    def _context(self, command: c.AskAgent) -> Context:
        context = self.conversation.context
        if not command.early or not isinstance(command.prompted, CallerSaid):
            return context
        history = list(context.history)
        add_said(history, command.prompted.text, command.prompted.digits)
        return msgspec.structs.replace(context, history=history)

    def _stored(self, name: str | None) -> Stored | None:
        """A prompt that cannot be read is spoken instead."""
        if name is None:
            return None
        try:
            pcm = self._load_prompt(name)
            wide = self._load_wide_prompt(name) if pcm and self._playout.wideband else None
            return None if pcm is None else Stored(pcm, wide or b"")
        except Exception as error:
            log.warning("prompt.unreadable", prompt=name, error=repr(error))
            return None

    def _watch(self, worker: Worker, over: Callable[[], object]) -> None:
        self._tasks[worker.task] = None

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.pop(task, None)
            over()

        worker.task.add_done_callback(done)

    def _forget_stretch(self) -> None:
        self._stretch.clear()
        self._stretch_bytes = 0
