"""The conversation of one call: speech, transcripts, the agent's acts and played audio in; commands out. Sans-IO.

It does one thing at a time, begun by `say`, `ask` or `converse` and over with `SaidAll`, `Answered` or `Completed`.
After every input `_settled` derives what follows from the facts in `Scene`, so that no input has to think of all the
others.
"""

from __future__ import annotations

from gateway.core import events as e
from gateway.core.errors import MisuseError
from gateway.core.events import AnyEvent
from gateway.core.speech import Expectation
from gateway.session import commands as c
from gateway.session.answers import Answers
from gateway.session.commands import AnyCommand, AnyInput
from gateway.session.exchanges import Asking, BargeIn, Conversing, Exchange, Saying, Taken
from gateway.session.options import ConversationOptions as ConversationOptions
from gateway.session.ports import Prompted
from gateway.session.turns import due

SETTLES_WITHIN = 12
"""Rounds of consequences of one input. Two or three are usual; the limit turns a would-be hang into a delay."""


class Conversation(Answers):
    """`context` is shared with the agent: its history and state are kept here. `now` is in seconds, never falling."""

    # What can be asked of it

    def say(self, prompt_text: str, file: str | None, barge_in: BargeIn, now: float) -> list[AnyCommand]:
        """Speak; ends with `SaidAll`. Nobody waits for an answer."""
        if self.state == "ended":
            return []
        self._begin(Saying(barge_in))
        self._speak(prompt_text, file)
        return self._settled(now)

    def ask(
        self, text: str, file: str | None, expectation: Expectation, barge_in: BargeIn, now: float
    ) -> list[AnyCommand]:
        """Speak, then take one turn of the caller, by speech or by digits; ends with `Answered`."""
        if self.state == "ended":
            return []
        self._begin(Asking(barge_in, expectation))
        self._speak(text, file)
        return self._settled(now)

    def converse(self, prompted: Prompted, barge_in: BargeIn, now: float) -> list[AnyCommand]:
        """Let an agent lead until it finishes; ends with `Completed`, whose outcome is the agent's own word,
        `silent` when the caller stayed silent for `max_silent_turns`, or `failed`. Only the agent's own end is
        recorded as `DialogueCompleted`: after the others a call back goes on.
        """
        if self.state == "ended":
            return []
        self._begin(Conversing(barge_in))
        self._dialogue.begin()
        self._out += self._dialogue.ask(self._turns.next_turn(), prompted)
        return self._settled(now)

    def stop(self, now: float) -> list[AnyCommand]:
        """The call is over: cancel everything and record what was heard. Nothing comes of this conversation after."""
        if self.state == "ended":
            return []
        self._out += self._dialogue.cancel()
        self._follow(self._turns.drop_all(deaf=True), now)
        self._out += self._playback.cut_off(now)
        for over in self._playback.give_up_waiting(now):
            self._note_over(over, now)
        if self._scene.taken is not None:
            self._note_turn(self._scene.taken, now)
        self._scene.on_hold = False
        self._hold(now)
        self._move("end", now)
        return self._take_out()

    def handle(self, received: AnyInput | AnyEvent, now: float) -> list[AnyCommand]:
        """Never raises for anything that providers or callers do; inputs that nobody awaits any more are ignored.

        Events of hearing are logged here, in order with what they lead to; those of the line (held, retrieved, fell
        silent, recovered) are only taken note of.
        """
        if self.state == "ended":
            return []
        match received:
            case e.SpeechBegan(began_at=began_at):
                self._log(received)
                self._follow(self._turns.speech_began(began_at, now), now)
            case e.SpeechEnded(ended_at=ended_at):
                self._log(received)
                self._follow(self._turns.speech_ended(ended_at, now), now)
            case e.DigitPressed(digit=digit):
                self._log(received)
                self._press(digit, now)
            case e.TextReceived(text=text):
                self._log(received)
                self._read(text, now)
            case c.RecognitionProgressed() | c.RecognitionFinished() | c.RecognitionFailed():
                self._handle_recognition(received, now)
            case c.AgentActed() | c.AgentDone() | c.AgentFailed():
                self._handle_agent(received, now)
            case c.SpeechReady() | c.SpeechFailed() | c.PlayoutStarted() | c.PlayoutFinished():
                self._handle_playback(received, now)
            case e.CallHeld() | e.CallRetrieved():
                self._scene.on_hold = isinstance(received, e.CallHeld)
                self._follow(self._turns.cut(now), now)
            case e.LineFellSilent() | e.LineRecovered():
                self._scene.line_is_silent = isinstance(received, e.LineFellSilent)
                self._told_of_silent_line = False
            case _:
                pass
        return self._settled(now)

    def next_deadline(self) -> float | None:
        if self.state == "ended":
            return None
        times = (
            self._turns.deadline,
            self._keypad_at,
            self._flushed_by,
            self._filler_at,
            self._patience.dead_air_at,
            self._silence_at,
        )
        return min((time for time in times if time is not None), default=None)

    def on_deadline(self, now: float) -> list[AnyCommand]:
        """Do what is due by `now`; harmless when nothing is."""
        if self.state == "ended":
            return []
        self._follow(self._turns.on_deadline(now), now)
        if self._scene.keypad is not None and due(self._keypad_at, now):
            self._scene.keypad.complete = True
        if due(self._flushed_by, now):
            for over in self._playback.give_up_waiting(now):
                self._note_over(over, now)
        if due(self._patience.dead_air_at, now):
            self._end_dead_air(now)
        elif due(self._filler_at, now):
            self._patience.filled()
            self._say_aside(self.options.filler, self.options.filler_file)
        elif due(self._silence_at, now):
            self._notice_silence(now)
        return self._settled(now)

    @property
    def _keypad_at(self) -> float | None:
        """Digits that must not interrupt are answered when the bot has finished, not before."""
        keypad = self._scene.keypad
        return None if keypad is None or self._scene.bot_busy else keypad.deadline

    @property
    def _filler_at(self) -> float | None:
        return self._patience.filler_at if self._dialogue.running else None

    @property
    def _silence_at(self) -> float | None:
        """On a line that carries nothing the caller is asked once more, in case it is only a quiet phone. Further
        silences are the line's, and must not bring a dialogue to its end that a call back could go on with."""
        if self._scene.line_is_silent and self._told_of_silent_line:
            return None
        return self._patience.silence_at(self._scene.expectation)

    # Hearing

    def _handle_recognition(
        self, received: c.RecognitionProgressed | c.RecognitionFinished | c.RecognitionFailed, now: float
    ) -> None:
        turn = received.turn
        if not (self._turns.is_open(turn) or self._turns.is_settling(turn)):
            return
        match received:
            case c.RecognitionProgressed(transcript=transcript) if transcript.text != self._turns.text_of(turn):
                self._note_transcript(turn, transcript, now)
                self._follow(self._turns.progressed(turn, transcript.text, now), now)
            case c.RecognitionFinished(transcript=transcript) if self._turns.is_settling(turn):
                self._note_transcript(turn, transcript, now)
                self._follow(self._turns.finished(turn, transcript), now)
            case c.RecognitionFailed():
                self._recover_hearing(received, now)
            case _:
                pass

    # The agent and its voice

    def _handle_agent(self, received: c.AgentActed | c.AgentDone | c.AgentFailed, now: float) -> None:
        match received:
            case c.AgentActed(turn=turn, act=act):
                self._out += self._dialogue.acted(turn, act, now)
            case c.AgentDone(turn=turn):
                self._out += self._dialogue.done(turn, now)
            case c.AgentFailed(turn=turn) if self._dialogue.has_finished(turn):
                self._out += self._dialogue.done(turn, now)
            case c.AgentFailed(turn=turn):
                if self._dialogue.ended(turn):
                    self._recover_agent(received, now)

    def _handle_playback(
        self, received: c.SpeechReady | c.SpeechFailed | c.PlayoutStarted | c.PlayoutFinished, now: float
    ) -> None:
        match received:
            case c.SpeechReady(clip=clip, duration_s=duration_s, words=words):
                if (ready := self._playback.ready(clip, duration_s, words)) is not None:
                    self._log(e.UtteranceSynthesised(now, self.call, clip, ready.text, duration_s))
            case c.SpeechFailed():
                self._recover_voice(received, now)
            case c.PlayoutStarted(clip=clip):
                self._note_started(clip, now)
            case c.PlayoutFinished(clip=clip, played_s=played_s, complete=complete):
                if (over := self._playback.finished(clip, played_s, complete)) is not None:
                    self._note_over(over, now)

    # Silence

    def _notice_silence(self, now: float) -> None:
        exchange = self._scene.exchange
        count = exchange.silences + 1 if isinstance(exchange, Conversing) else 1
        self._told_of_silent_line = self._scene.line_is_silent
        self._log(e.SilenceNoticed(now, self.call, count))
        self._move("miss", now)
        self._scene.taken = Taken(self._turns.next_turn(), silent=True)
        if isinstance(exchange, Conversing):
            exchange.silences = count
            if 0 < self.options.max_silent_turns <= count:
                self._scene.outcome = c.Completed("silent")
            else:
                self._say_aside(self.options.away_prompt, self.options.away_file)

    # Consequences

    def _begin(self, exchange: Exchange) -> None:
        if self._scene.exchange is not None:
            raise MisuseError("the conversation is still busy with what it was asked before")
        self._scene.exchange, self._scene.outcome = exchange, None
        self._interrupted = self._apologising = False
        self._patience.answered()

    def _settled(self, now: float) -> list[AnyCommand]:
        """Follow the facts until they rest; what has to be done then, outcome last."""
        for _ in range(SETTLES_WITHIN):
            before = len(self._out)
            self._attend(now)
            self._out += self._playback.requests()
            self._prepare_early()
            self._answer(now)
            self._conclude(now)
            if len(self._out) == before:
                break
        self._hold(now)
        if (cue := self._scene.cue(self.state)) is not None:
            self._move(cue, now)
        if not self._playback.flushing:
            self._flushed_by = None
        hearing = self._turns.hearing or self._turns.settling
        awaited = self._scene.awaited
        self._patience.note(awaited, now, suspended=self._turns.hearing if awaited == "bot" else hearing)
        return self._take_out()

    def _attend(self, now: float) -> None:
        scene, turns = self._scene, self._turns
        turns.expectation = scene.expectation
        self._follow(turns.attend(scene.floor, scene.saying, ears=scene.ears, now=now), now)

    def _conclude(self, now: float) -> None:
        """End the exchange when all of it was said and heard."""
        exchange, reply = self._scene.exchange, self._dialogue.reply
        if exchange is None or self._scene.bot_busy or self._playback.flushing:
            return
        self._apologising = False
        if self._scene.outcome is not None:
            self._end(self._scene.outcome, now)
        elif isinstance(exchange, Saying):
            self._end(c.SaidAll(exchange.whole), now)
        elif isinstance(exchange, Conversing) and reply is not None:
            self._failures = 0
            if reply.finish is not None:
                self._log(e.DialogueCompleted(now, self.call, reply.finish.outcome, reply.finish.data))
                self._end(c.Completed(reply.finish.outcome, reply.finish.data), now)

    def _hold(self, now: float) -> None:
        """Pause the playout as long as an interruption is suspected or nobody listens, and not a moment longer."""
        current = self._playback.current
        wanted = self._turns.suspicious or self._scene.on_hold
        if wanted and not self._playback.paused:
            self._playback.pause(now)
            self._out.append(c.PausePlayout())
            if current is not None:
                self._log(e.PlaybackPaused(now, self.call, current.id))
        elif self._playback.paused and not wanted:
            self._playback.resume(now)
            self._out.append(c.ResumePlayout())
            if current is not None:
                self._log(e.PlaybackResumed(now, self.call, current.id))
