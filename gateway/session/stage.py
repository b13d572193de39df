"""What a conversation is made of, and its elementary deeds. `Conversation` decides which of them, and when."""

from __future__ import annotations

from typing import Literal

from gateway.core import events as e
from gateway.core.events import AnyEvent
from gateway.core.speech import Transcript
from gateway.session import commands as c
from gateway.session.commands import AnyCommand
from gateway.session.context import add_heard, add_said
from gateway.session.detector import DefaultTurnDetector
from gateway.session.dialogue import Dialogue
from gateway.session.exchanges import Outcome, Saying, Taken
from gateway.session.keypad import written_keys
from gateway.session.options import ConversationOptions
from gateway.session.patience import Patience
from gateway.session.playback import Over, Playback
from gateway.session.ports import Context, TurnDetector
from gateway.session.preemption import Preemption
from gateway.session.scene import Scene
from gateway.session.sentences import SentenceCutter
from gateway.session.signals import Dismissed, Interrupted, Signal, TurnClosed, TurnDropped, TurnOpened, TurnTaken
from gateway.session.states import Cue, after
from gateway.session.turns import TurnTaker
from gateway.session.words import joined

FLUSHED_WITHIN_S = 0.5
"""How long the playout may take to say what was heard of a clip that was cut off; then the clock decides."""


class Stage:
    """Gathers commands in order; `_take_out` hands them over, the outcome of what was asked last."""

    def __init__(
        self, call: str, options: ConversationOptions, context: Context, detector: TurnDetector | None = None
    ) -> None:
        self.call, self.options, self.context = call, options, context
        self.state: e.State = "initial"
        self._out: list[AnyCommand] = []
        self._told: Outcome | None = None
        self._playback = Playback()
        self._dialogue = Dialogue(call, context, self._playback)
        self._turns = TurnTaker(options, detector or DefaultTurnDetector(options.silence_ms))
        self._scene = Scene(self._playback, self._dialogue, self._turns)
        self._patience = Patience(options)
        self._preemption = Preemption(options)
        self._typed_ahead = ""
        self._written = ""
        self._interrupted = False
        self._flushed_by: float | None = None
        self._asides: list[int] = []
        self._retried_turn = 0
        self._failures = 0
        self._apologising = False
        self._told_of_silent_line = False

    # What the turn taker's signals mean

    def _follow(self, signals: list[Signal], now: float) -> None:
        for signal in signals:
            match signal:
                case TurnOpened(turn=turn):
                    self._out.append(c.StartRecognition(turn, self._scene.expectation))
                case TurnClosed(turn=turn):
                    self._out.append(c.FinishRecognition(turn))
                case TurnDropped(turn=turn):
                    self._out.append(c.CancelRecognition(turn))
                case Interrupted(by=by):
                    self._interrupt(by, now)
                case Dismissed(text=text):
                    self._log(e.FalseAlarm(now, self.call, self._current, text))
                case TurnTaken():
                    self._take(signal)

    def _take(self, turn: TurnTaken) -> None:
        """A turn to answer, unless it was a noise. One that still waits and this one are a single turn."""
        if not turn.text and turn.spoken_s * 1000 < self.options.noise_ms:
            return
        waiting = self._scene.taken
        text = joined(waiting.text, turn.text) if waiting is not None else turn.text
        self._scene.taken = Taken(turn.turn, text, confidence=turn.confidence if turn.text else 0.0)

    def _take_written(self) -> None:
        """A text is a turn as it stands; with one that still waits it is a single turn."""
        waiting, text, self._written = self._scene.taken, self._written, ""
        if waiting is None or waiting.silent:
            keys = written_keys(text, self._scene.expectation)
            self._scene.taken = Taken(self._turns.next_turn(), "" if keys else text, digits=keys)
        else:
            waiting.confidence = waiting.confidence if waiting.text else 1.0
            waiting.text = joined(waiting.text, text)

    def _interrupt(self, by: Literal["words", "duration", "digit", "text"], now: float) -> None:
        """The bot loses the floor. What it only prepared is taken back when the caller goes on speaking."""
        self._log(e.BargedIn(now, self.call, self._current, by))
        reply = self._dialogue.reply
        if by != "digit" and reply is not None and reply.answering is not None:
            self._out += self._dialogue.withdraw(now)
        else:
            self._interrupted = self._playback.audible
            self._out += self._dialogue.cancel()
        self._cut_off(now)
        if isinstance(self._scene.exchange, Saying):
            self._scene.outcome = self._scene.exchange.failed

    # The voice

    def _speak(self, text: str, file: str | None) -> None:
        if file is not None:
            self._playback.say(text, file)
            return
        cutter = SentenceCutter()
        for piece in (*cutter.feed(text), *cutter.flush()):
            self._playback.say(piece)

    def _say_aside(self, text: str, file: str | None) -> None:
        """Something of our own, beside what the agent says."""
        if text or file:
            self._asides.append(self._playback.say(text, file))

    def _cut_off(self, now: float) -> None:
        self._out += self._playback.cut_off(now)
        self._flushed_by = now + FLUSHED_WITHIN_S if self._playback.flushing else None

    def _say_no_more(self, now: float) -> None:
        """Let the clip that is being heard, and what is queued behind it, play to its end; drop what is not made."""
        if not self._playback.audible:
            self._cut_off(now)
        else:
            self._out += self._playback.drop_unmade()

    def _end(self, outcome: Outcome, now: float) -> None:
        """What was asked of the conversation is over."""
        self._told = outcome
        self._out += self._dialogue.cancel()
        if self._scene.bot_busy:
            self._cut_off(now)
        self._follow(self._turns.drop_all(), now)
        self._scene.exchange = self._scene.outcome = self._scene.keypad = self._scene.taken = None
        self._typed_ahead = self._written = ""
        self._dialogue.begin()

    # The record

    @property
    def _current(self) -> int:
        """The clip being heard; 0 when nothing is audible yet."""
        return self._playback.current.id if self._playback.current is not None else 0

    def _note_transcript(self, turn: int, heard: Transcript, now: float) -> None:
        self._log(e.TranscriptHeard(now, self.call, turn, heard.text, heard.final, heard.confidence))

    def _note_turn(self, taken: Taken, now: float) -> None:
        self._log(e.UserTurnEnded(now, self.call, taken.turn, taken.text, taken.digits, taken.silent, taken.confidence))
        add_said(self.context.history, taken.text, taken.digits)
        self._patience.answered()

    def _note_started(self, clip: int, now: float) -> None:
        if not self._playback.started(clip, now):
            return
        self._log(e.UtteranceStarted(now, self.call, clip))
        self._patience.bot_audible()
        if self._dialogue.reply is not None and clip not in self._asides:
            self._dialogue.reply.audible = True

    def _note_over(self, over: Over, now: float) -> None:
        self._log(e.UtterancePlayed(now, self.call, over.clip, over.heard, over.played_s, over.complete))
        add_heard(self.context.history, over.heard)
        if self._scene.keypad is not None:
            self._scene.keypad.prompt_over(now)
        if isinstance(self._scene.exchange, Saying) and not over.complete:
            self._scene.exchange.whole = False

    def _log_failure(self, what: str, category: str, message: str, now: float, *, retrying: bool) -> None:
        self._log(e.ProviderFailed(now, self.call, what, category, message, retrying))

    def _move(self, cue: Cue, now: float) -> None:
        state = after(self.state, cue)
        if state != self.state:
            self._log(e.StateChanged(now, self.call, self.state, state))
            self.state = state

    def _log(self, event: AnyEvent) -> None:
        self._out.append(c.Log(event))

    def _take_out(self) -> list[AnyCommand]:
        out, self._out = self._out, []
        if self._told is not None:
            out.append(self._told)
            self._told = None
        return out
