"""How the caller's answer comes about, spoken, pressed or written, and goes to whoever asked."""

from __future__ import annotations

from gateway.session import commands as c
from gateway.session.exchanges import Asking, Conversing, Exchange, Saying, Taken
from gateway.session.keypad import Keypad
from gateway.session.ports import CallerSaid, CallerSilent
from gateway.session.recovery import Recovery
from gateway.session.words import joined


class Answers(Recovery):
    """Speech becomes a turn by the turn taker's signals; keys and texts become one here. One at a time is passed on."""

    # Keys and texts

    def _press(self, digit: str, now: float) -> None:
        exchange = self._scene.exchange
        if exchange is None or self._scene.outcome is not None:
            return
        if isinstance(exchange, Saying):
            if exchange.barge_in != "off" and self._playback.busy:
                self._interrupt("digit", now)
        elif self._dialogue.expects_nothing_yet:
            self._typed_ahead += digit
        elif self._scene.expectation.digits_max > 0:
            self._collect(exchange, digit, now)

    def _collect(self, exchange: Exchange, digit: str, now: float) -> None:
        """Digits win over speech that is being heard, and over the bot unless its step forbids it."""
        self._follow(self._turns.drop_all(deaf=True), now)
        if self._scene.bot_busy and exchange.barge_in != "off":
            self._interrupt("digit", now)
        if self._scene.keypad is None:
            self._scene.keypad = Keypad(self._scene.expectation)
        self._scene.keypad.press(digit, now)

    @property
    def takes_text(self) -> bool:
        """Whether a text would be the caller's answer to anything; while the bot only says something it is not."""
        return isinstance(self._scene.exchange, Asking | Conversing) and self._scene.outcome is None

    def _read(self, text: str, now: float) -> None:
        """A text is the caller's turn at once; over the bot it interrupts as a key does, or waits where nothing may."""
        exchange = self._scene.exchange
        if exchange is None or not self.takes_text:
            return
        self._scene.keypad, self._typed_ahead = None, ""
        self._written = joined(self._written, text)
        if self._scene.bot_busy and exchange.barge_in != "off":
            self._interrupt("text", now)

    # Passing on

    def _answer(self, now: float) -> None:
        """Pass a turn on that is complete, once it is known what the caller had heard by then."""
        scene = self._scene
        if self._typed_ahead and not self._dialogue.expects_nothing_yet:
            self._use_typed_ahead(now)
        if scene.keypad is not None and scene.keypad.complete and not scene.bot_busy and scene.taken is None:
            scene.taken = Taken(self._turns.next_turn(), digits=scene.keypad.keys)
            scene.keypad = None
        if self._written and not scene.bot_busy:
            self._take_written()
        if self._playback.flushing or scene.outcome is not None:
            return
        if scene.taken is not None:
            taken, scene.taken = scene.taken, None
            self._note_turn(taken, now)
            self._pass_on(taken, now)
        elif self._dialogue.unanswered is not None and scene.quiet:
            self._out += self._dialogue.ask(self._turns.next_turn(), CallerSaid(""))

    def _prepare_early(self) -> None:
        """Let the agent begin in the caller's pause; drop what it began when there is no turn to answer after all."""
        scene, early, paused = self._scene, self._dialogue.early, self._turns.paused
        if early is not None and not (self._turns.hearing or self._turns.settling or scene.taken):
            self._out += self._dialogue.drop_early()
        if paused is None or not isinstance(scene.exchange, Conversing) or scene.floor != "caller":
            return
        begun_with = early.prompted.text if early is not None else None
        undisturbed = scene.taken is None and scene.outcome is None and self._dialogue.unanswered is None
        if undisturbed and self._preemption.worth(*paused, begun_with):
            self._out += self._dialogue.ask_early(*paused)

    def _use_typed_ahead(self, now: float) -> None:
        """Keys that came while the question was being prepared are the first of its answer."""
        exchange, scene = self._scene.exchange, self._scene
        keys, self._typed_ahead = self._typed_ahead, ""
        while keys and exchange is not None and scene.expectation.digits_max > 0 and exchange.barge_in != "off":
            if scene.keypad is not None and scene.keypad.complete:
                self._typed_ahead = keys
                return
            self._collect(exchange, keys[0], now)
            keys = keys[1:]

    def _pass_on(self, taken: Taken, now: float) -> None:
        exchange, interrupted = self._scene.exchange, self._interrupted
        self._interrupted = False
        if isinstance(exchange, Asking):
            self._failures = 0
            self._end(c.Answered(taken.text, taken.digits, taken.confidence, taken.silent), now)
        elif isinstance(exchange, Conversing) and taken.silent:
            self._out += self._dialogue.ask(taken.turn, CallerSilent(exchange.silences))
        elif isinstance(exchange, Conversing):
            exchange.silences = 0
            self._ask(taken.turn, CallerSaid(taken.text, taken.digits, taken.confidence, interrupted), now)

    def _ask(self, turn: int, said: CallerSaid, now: float) -> None:
        early = self._dialogue.early
        usable = early is not None and not said.digits and self._preemption.fits(early.prompted.text, said.text)
        self._out += self._dialogue.adopt_early(now) if usable else self._dialogue.ask(turn, said)
